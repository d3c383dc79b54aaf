package edge

import (
	"net/netip"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/udp"
)

// arrival is a packet, opened.
type arrival struct {
	frame         []byte // of a PACKET
	message       []byte // of any other message, in clear
	kind          n2n.Type
	src           n2n.MAC
	fromSupernode bool
	sock          netip.AddrPort // where a supernode had it from
	sealed        bool           // the header was encrypted, and stamp counts
	stamp         n2n.Stamp
}

// opener decrypts packets, in place. Each goroutine that does has one.
type opener struct {
	e         *Edge
	transform n2n.Transform
	packet    n2n.Packet
	grown     []byte // frames that came compressed
}

func (e *Edge) newOpener() (*opener, error) {
	t, err := n2n.NewTransform(e.cfg.transform, []byte(e.cfg.Key), e.newRandom())
	if err != nil {
		return nil, err
	}
	return &opener{e: e, transform: t}, nil
}

// open appends what came in one message of the socket. The arrivals are parts of its buffer.
func (o *opener) open(list []arrival, r *udp.Received) []arrival {
	b := r.Buf[:r.N]
	size := r.Segment
	if size == 0 {
		size = len(b)
	}
	for len(b) > 0 {
		n := min(size, len(b))
		o.e.count.received.Add(1)
		var a arrival
		if d := o.one(&a, b[:n:n]); d == drops {
			list = append(list, a)
		} else {
			o.e.count.drop(d)
		}
		b = b[n:]
	}
	return list
}

// one opens a packet, or says why not.
func (o *opener) one(a *arrival, b []byte) drop {
	if o.e.keys != nil {
		var ok bool
		if b, ok = o.unseal(a, b); !ok {
			return dropKey
		}
	}
	h, err := n2n.ParseHeader(b)
	if err != nil {
		return dropMalformed
	}
	if h.Community != o.e.cfg.community {
		return dropCommunity
	}
	a.kind, a.fromSupernode = h.Type, h.Flags&n2n.FromSupernode != 0
	if h.Type != n2n.TypePacket {
		a.message = b
		return drops
	}
	p := &o.packet
	if err := p.Decode(b); err != nil {
		return dropMalformed
	}
	a.src, a.sock = p.Src, p.Sock
	switch {
	case p.Dst != o.e.mac && !p.Dst.IsBroadcast() && !o.e.cfg.Routing, p.Src == o.e.mac:
		return dropMAC
	case p.Transform != o.e.cfg.transform:
		return dropTransform
	case len(p.Payload) < o.transform.Overhead():
		return dropPayload
	}
	at := len(b) - len(p.Payload) + o.transform.Overhead()
	if a.frame, err = o.transform.Open(b[at:at], p.Payload); err != nil || len(a.frame) < 14 {
		return dropPayload
	}
	if p.Compression != n2n.CompressionNone {
		// Where frames grow they need room of their own, until the kernel has them.
		at := len(o.grown)
		if cap(o.grown)-at < n2n.MaxPacket {
			o.grown, at = make([]byte, 0, max(2*cap(o.grown), 1<<16)), 0
		}
		grown, err := n2n.Decompress(o.grown, p.Compression, a.frame)
		if err != nil || len(grown)-at < 14 {
			return dropPayload
		}
		o.grown, a.frame = grown, grown[at:len(grown):len(grown)]
	}
	return drops
}

// unseal decrypts the header. In a community with users it may be one of two keys; what is sealed by the static one has a
// trailer.
func (o *opener) unseal(a *arrival, b []byte) (clear []byte, ok bool) {
	a.sealed = true
	var err error
	if o.e.keys.secret == nil {
		a.stamp, _, err = o.e.keys.static.Open(b)
		return b, err == nil
	}
	if key := o.e.keys.dynamic.Load(); key != nil {
		if a.stamp, _, err = key.Open(b); err == nil {
			return b, true
		}
	}
	sealed, trailer, err := n2n.CutTrailer(b)
	if err != nil {
		return nil, false
	}
	if a.stamp, _, err = o.e.keys.static.Open(sealed); err != nil {
		return nil, false
	}
	// A NAK is for somebody who has no secret in common with the supernode, and has no true trailer.
	if h, err := n2n.ParseHeader(sealed); err != nil || h.Type == n2n.TypeRegisterSuperAck && o.e.keys.secret.Verify(trailer) != nil {
		return nil, false
	}
	return sealed, true
}
