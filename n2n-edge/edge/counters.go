package edge

import "sync/atomic"

// drop says why a frame or packet went nowhere.
type drop uint8

const (
	dropNoWay     drop = iota // neither a straight way nor a supernode
	dropFiltered              // not of this host, or multicast where that is off
	dropLoop                  // our own packet, which a route leads into the overlay that it carries
	dropFrame                 // the kernel gave what cannot be cut
	dropSend                  // the socket refused
	dropPace                  // too much for a peer that takes its time
	dropMalformed             // not a packet of this protocol
	dropKey                   // header of another key, or clear where it has to be encrypted
	dropReplay                // stamped too early or too late
	dropStranger              // says it is from a supernode and is not
	dropCommunity             // of another one
	dropMAC                   // for somebody else
	dropTransform             // encrypted in another way
	dropPayload               // does not decrypt or decompress
	dropTAP                   // the kernel did not take the frame
	drops
)

var dropNames = [drops]string{"no_way", "filtered", "loop", "frame", "send", "pace", "malformed", "key", "replay", "stranger", "community",
	"mac", "transform", "payload", "tap"}

// counters are of the whole edge.
type counters struct {
	drops    [drops]atomic.Uint64
	read     atomic.Uint64 // frames from the kernel, as it gave them
	written  atomic.Uint64 // frames to the kernel, joined
	sent     atomic.Uint64 // packets
	received atomic.Uint64
}

func (c *counters) drop(d drop) { c.drops[d].Add(1) }
