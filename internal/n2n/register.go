package n2n

import (
	"encoding/binary"
	"net/netip"
)

// Rank is the cookie of a REGISTER between edges: which way it went. Of several ways to a peer the highest wins.
type Rank uint32

const (
	RankForwarded Rank = 0x00001000 // by a supernode
	RankPort      Rank = 0x00004000 // to a guessed port
	RankRegular   Rank = 0x00010000 // straight to the public address
	RankMulticast Rank = 0x00400000 // found by multicast in the local network
	RankLocal     Rank = 0x01000000 // to the socket the peer prefers
)

// Register is how an edge makes itself known to another one, straight or by a supernode, and punches its way out.
type Register struct {
	Header
	Rank     Rank
	Src, Dst MAC            // Dst is zero in multicast
	Sock     netip.AddrPort // put in by a supernode on the way: where Src sends from
	Subnet   Subnet
	Desc     Desc
	Rest     []byte // what follows; ntop takes no notice
}

// Decode reads a clear REGISTER.
func (m *Register) Decode(b []byte) error {
	if err := m.expect(b, TypeRegister); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.Rank = Rank(r.u32(FieldCookie))
	m.Src, m.Dst = r.mac(FieldSrcMAC), r.mac(FieldDstMAC)
	m.Sock = r.sockIf(&m.Header, FieldSock)
	m.Subnet, m.Desc = r.subnet(), r.desc()
	m.Rest = r.rest
	return r.err
}

// Append writes the message.
func (m *Register) Append(b []byte) []byte {
	b = m.append(b, TypeRegister, m.Sock.IsValid())
	b = binary.BigEndian.AppendUint32(b, uint32(m.Rank))
	b = append(b, m.Src[:]...)
	b = append(b, m.Dst[:]...)
	b = appendSockIf(b, m.Sock)
	b = m.Subnet.append(b)
	b = append(b, m.Desc[:]...)
	return append(b, m.Rest...)
}

// RegisterAck answers a REGISTER that came straight. It is never relayed.
type RegisterAck struct {
	Header
	Rank Rank // of the REGISTER
	Dst  MAC  // who registered; it stands before Src on the wire
	Src  MAC  // who answers
	Sock netip.AddrPort
	Rest []byte
}

// Decode reads a clear REGISTER_ACK.
func (m *RegisterAck) Decode(b []byte) error {
	if err := m.expect(b, TypeRegisterAck); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.Rank = Rank(r.u32(FieldCookie))
	m.Dst, m.Src = r.mac(FieldDstMAC), r.mac(FieldSrcMAC)
	m.Sock = r.sockIf(&m.Header, FieldSock)
	m.Rest = r.rest
	return r.err
}

// Append writes the message.
func (m *RegisterAck) Append(b []byte) []byte {
	b = m.append(b, TypeRegisterAck, m.Sock.IsValid())
	b = binary.BigEndian.AppendUint32(b, uint32(m.Rank))
	b = append(b, m.Dst[:]...)
	b = append(b, m.Src[:]...)
	b = appendSockIf(b, m.Sock)
	return append(b, m.Rest...)
}
