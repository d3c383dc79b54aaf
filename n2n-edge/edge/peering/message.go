package peering

import (
	"net/netip"
	"time"

	"sonic-netservices/internal/n2n"
)

// Message takes a clear message, any but a PACKET, that came from an address.
func (m *Machine) Message(now time.Time, from netip.AddrPort, b []byte) {
	h, err := n2n.ParseHeader(b)
	if err != nil {
		m.malformed(err)
		return
	}
	if h.Community != m.cfg.Community {
		m.Counts.Community++
		return
	}
	fromSupernode := h.Flags&n2n.FromSupernode != 0
	if fromSupernode && m.supernodeAt(from) == nil {
		if h.Type != n2n.TypePeerInfo || !m.otherPort(now, from, b) {
			m.Counts.Stranger++
		}
		return
	}
	switch h.Type {
	case n2n.TypeRegister:
		var r n2n.Register
		if err = r.Decode(b); err == nil {
			m.peerRegister(now, from, &r)
		}
	case n2n.TypeRegisterAck:
		var a n2n.RegisterAck
		if err = a.Decode(b); err == nil {
			m.peerAck(now, from, &a)
		}
	case n2n.TypeRegisterSuperAck, n2n.TypeRegisterSuperNak, n2n.TypePeerInfo, n2n.TypeReRegisterSuper:
		if !fromSupernode {
			m.Counts.Stranger++
			return
		}
		err = m.supernodeMessage(now, from, h.Type, b)
	default:
		m.Counts.NotForUs++
	}
	if err != nil {
		m.malformed(err)
	}
}

func (m *Machine) supernodeMessage(now time.Time, from netip.AddrPort, t n2n.Type, b []byte) error {
	switch t {
	case n2n.TypeRegisterSuperAck:
		var a n2n.RegisterSuperAck
		if err := a.Decode(b); err != nil {
			return err
		}
		m.registerAck(now, from, &a)
	case n2n.TypeRegisterSuperNak:
		var a n2n.RegisterSuperNak
		if err := a.Decode(b); err != nil {
			return err
		}
		m.registerNak(now, from, &a)
	case n2n.TypePeerInfo:
		var i n2n.PeerInfo
		if err := i.Decode(b); err != nil {
			return err
		}
		if i.MAC.IsZero() {
			m.pong(now, from, &i)
		} else {
			m.peerInfo(now, &i)
		}
	case n2n.TypeReRegisterSuper:
		switch {
		case m.cfg.Secret == nil: // nobody says so where there are no keys to change
			m.Counts.NotForUs++
		case from == m.currentAddr():
			m.note("the supernode's keys have changed", "supernode", from)
			m.waiting, m.nextTry = false, now
			m.tickSupernodes(now)
		}
	}
	return nil
}

// otherPort takes the second answer of a supernode to a ping, from a port that we never sent to: it proves a NAT that lets
// everybody in. It may overtake the first answer.
func (m *Machine) otherPort(now time.Time, from netip.AddrPort, b []byte) bool {
	var i n2n.PeerInfo
	if i.Decode(b) != nil || !i.MAC.IsZero() {
		return false
	}
	for _, s := range m.supernodes {
		asked := !s.pinged.IsZero() || now.Sub(s.pong) < bootstrap
		if s.addr.Addr() == from.Addr() && asked && (i.Src == s.mac || s.mac.IsZero()) {
			m.fullCone = true
			return true
		}
	}
	return false
}

func (m *Machine) malformed(err error) { m.Counts.Malformed[n2n.ReasonOf(err)]++ }
