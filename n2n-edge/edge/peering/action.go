package peering

import (
	"net/netip"

	"sonic-netservices/internal/n2n"
)

// Action is what the shell has to do.
type Action interface{ action() }

// Send sends a clear message; the shell encrypts it.
type Send struct {
	To      netip.AddrPort
	Message []byte
	TTL     int // of the IP packet; 0: as usual
}

// Fan opens more sockets, each on a port of its own, and sends the message to one address from each. The first one that a
// peer's REGISTER or REGISTER_ACK comes to from there becomes the way to that address, and all others are closed.
type Fan struct {
	To      netip.AddrPort
	Sockets int
	Message []byte
}

// Fold closes what is left of a fan: all of its sockets, or the one that became the way.
type Fold struct{ To netip.AddrPort }

// Route says the way to a peer. Without an address it is the supernode's.
type Route struct {
	MAC  n2n.MAC
	To   netip.AddrPort
	Fast bool // the peer takes bursts
}

// Pace says whether a peer runs ntop's edge: what goes to it by the supernode ends in its small buffer, too, however much the
// supernode takes.
type Pace struct {
	MAC n2n.MAC
	On  bool
}

// Relay says by which supernode go the frames without a direct way; an invalid address means by none.
type Relay struct {
	To   netip.AddrPort
	Fast bool // the supernode takes bursts
}

// Supernodes are those whose messages are taken for a supernode's.
type Supernodes struct{ Addrs []netip.AddrPort }

// Assign gives the device its address.
type Assign struct{ Subnet n2n.Subnet }

// Announce makes the edge known in its community, by gratuitous ARP.
type Announce struct{}

// Resolve looks up the addresses of a supernode.
type Resolve struct{ Name string }

// Rebind replaces the socket.
type Rebind struct{}

// LookAround asks for Local.
type LookAround struct{ Towards netip.AddrPort }

// Key changes the key of all headers but those of registering, in communities with users.
type Key struct{ Key n2n.DynamicKey }

// Note is for the log.
type Note struct {
	Text string
	Of   []any // key, value, ...
}

func (Send) action()       {}
func (Fan) action()        {}
func (Fold) action()       {}
func (Route) action()      {}
func (Pace) action()       {}
func (Relay) action()      {}
func (Supernodes) action() {}
func (Assign) action()     {}
func (Announce) action()   {}
func (Resolve) action()    {}
func (Rebind) action()     {}
func (LookAround) action() {}
func (Key) action()        {}
func (Note) action()       {}
