package n2n

import (
	"encoding/binary"
	"net/netip"
)

// RegisterSuper registers an edge, or one supernode with another, at a supernode.
//
// A draw has a zero MAC and subnet: the edge asks for an address before it has a device, and is not kept.
type RegisterSuper struct {
	Header
	Cookie  uint32 // fresh and random; the answer has it, too
	MAC     MAC
	Sock    netip.AddrPort // from an edge: the local address it prefers; relayed: its public one
	Subnet  Subnet
	Desc    Desc
	Auth    Auth
	KeyTime uint32 // between supernodes: the second the dynamic key is made of; else 0
	Rest    []byte // what follows; ntop takes no notice
}

// Decode reads a clear REGISTER_SUPER.
func (m *RegisterSuper) Decode(b []byte) error {
	if err := m.expect(b, TypeRegisterSuper); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.Cookie = r.u32(FieldCookie)
	m.MAC = r.mac(FieldMAC)
	m.Sock = r.sockIf(&m.Header, FieldSock)
	m.Subnet, m.Desc = r.subnet(), r.desc()
	m.Auth = r.auth()
	m.KeyTime = r.u32(FieldKeyTime)
	m.Rest = r.rest
	return r.err
}

// Append writes the message.
func (m *RegisterSuper) Append(b []byte) []byte {
	b = m.append(b, TypeRegisterSuper, m.Sock.IsValid())
	b = binary.BigEndian.AppendUint32(b, m.Cookie)
	b = append(b, m.MAC[:]...)
	b = appendSockIf(b, m.Sock)
	b = m.Subnet.append(b)
	b = append(b, m.Desc[:]...)
	b = m.Auth.append(b)
	b = binary.BigEndian.AppendUint32(b, m.KeyTime)
	return append(b, m.Rest...)
}

// UnregisterSuper takes an edge off a supernode's list at once. Nobody answers it.
type UnregisterSuper struct {
	Header
	Auth Auth
	MAC  MAC
	Rest []byte
}

// Decode reads a clear UNREGISTER_SUPER.
func (m *UnregisterSuper) Decode(b []byte) error {
	if err := m.expect(b, TypeUnregisterSuper); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.Auth = r.auth()
	m.MAC = r.mac(FieldMAC)
	m.Rest = r.rest
	return r.err
}

// Append writes the message.
func (m *UnregisterSuper) Append(b []byte) []byte {
	b = m.append(b, TypeUnregisterSuper, false)
	b = m.Auth.append(b)
	b = append(b, m.MAC[:]...)
	return append(b, m.Rest...)
}

// RegisterSuperAck is a supernode's yes.
type RegisterSuperAck struct {
	Header
	Cookie     uint32         // of the REGISTER_SUPER
	MAC        MAC            // the supernode's own
	Subnet     Subnet         // assigned to who asked for one
	Lifetime   uint16         // seconds; ntop says 15 and nobody heeds it
	Sock       netip.AddrPort // where the edge was seen; always there
	Auth       Auth
	Supernodes SupernodeList // the other ones
	KeyTime    uint32
	Rest       []byte
}

// Decode reads a clear REGISTER_SUPER_ACK. Supernodes is a part of b.
func (m *RegisterSuperAck) Decode(b []byte) error {
	if err := m.expect(b, TypeRegisterSuperAck); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.Cookie = r.u32(FieldCookie)
	m.MAC = r.mac(FieldMAC)
	m.Subnet = r.subnet()
	m.Lifetime = r.u16(FieldLifetime)
	m.Sock = r.sock(FieldSock)
	m.Auth = r.auth()
	m.Supernodes = r.take(int(r.u8(FieldSupernodes))*supernodeLen, FieldSupernodes)
	m.KeyTime = r.u32(FieldKeyTime)
	m.Rest = r.rest
	return r.err
}

// Append writes the message, with the first MaxSupernodes of the list.
func (m *RegisterSuperAck) Append(b []byte) []byte {
	n := min(m.Supernodes.Len(), MaxSupernodes)
	b = m.append(b, TypeRegisterSuperAck, true)
	b = binary.BigEndian.AppendUint32(b, m.Cookie)
	b = append(b, m.MAC[:]...)
	b = m.Subnet.append(b)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	b = appendSock(b, m.Sock)
	b = m.Auth.append(b)
	b = append(b, byte(n))
	b = append(b, m.Supernodes[:n*supernodeLen]...)
	b = binary.BigEndian.AppendUint32(b, m.KeyTime)
	return append(b, m.Rest...)
}

// RegisterSuperNak is a supernode's no: another edge holds the MAC or the address with another token.
type RegisterSuperNak struct {
	Header
	Cookie uint32
	MAC    MAC // of the edge that is refused, not the supernode's
	Auth   Auth
	Rest   []byte
}

// Decode reads a clear REGISTER_SUPER_NAK.
func (m *RegisterSuperNak) Decode(b []byte) error {
	if err := m.expect(b, TypeRegisterSuperNak); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	m.Cookie = r.u32(FieldCookie)
	m.MAC = r.mac(FieldMAC)
	m.Auth = r.auth()
	m.Rest = r.rest
	return r.err
}

// Append writes the message.
func (m *RegisterSuperNak) Append(b []byte) []byte {
	b = m.append(b, TypeRegisterSuperNak, true) // ntop says that a sock is there, and there is none
	b = binary.BigEndian.AppendUint32(b, m.Cookie)
	b = append(b, m.MAC[:]...)
	b = m.Auth.append(b)
	return append(b, m.Rest...)
}

// ReRegisterSuper tells all edges of a community with users to register at once: the dynamic key has changed.
type ReRegisterSuper struct {
	Header
	Rest []byte
}

// Decode reads a RE_REGISTER_SUPER that a HeaderKey has opened.
func (m *ReRegisterSuper) Decode(b []byte) error {
	if err := m.expect(b, TypeReRegisterSuper); err != nil {
		return err
	}
	m.Rest = b[HeaderLen:]
	return nil
}

// Append writes the message.
func (m *ReRegisterSuper) Append(b []byte) []byte {
	return append(m.append(b, TypeReRegisterSuper, false), m.Rest...)
}
