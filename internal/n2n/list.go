package n2n

import (
	"encoding/binary"
	"net/netip"
)

// Supernode is one of the others that a REGISTER_SUPER_ACK names.
type Supernode struct {
	Addr netip.AddrPort
	MAC  MAC
}

// SupernodeList is the list as it stands in the message. On the wire it is memory of ntop's process: the port is in host
// order, which is little-endian wherever ntop runs, and the families have Linux' numbers.
type SupernodeList []byte

const (
	supernodeLen = 26
	familyIPv4   = 2
	familyIPv6   = 10
)

// MaxSupernodes is how many an ACK names at most: ntop's edge has room for little more and does not count.
const MaxSupernodes = 40

// Len is how many supernodes are in the list.
func (l SupernodeList) Len() int { return len(l) / supernodeLen }

// At gives the i-th supernode, or an error when its family is none that we know.
func (l SupernodeList) At(i int) (s Supernode, err error) {
	e := l[i*supernodeLen:][:supernodeLen]
	var ip netip.Addr
	switch e[0] {
	case familyIPv4:
		ip = netip.AddrFrom4([4]byte(e[4:8]))
	case familyIPv6:
		ip = netip.AddrFrom16([16]byte(e[4:20])).Unmap()
	default:
		return s, refuse(ReasonValue, FieldSupernodeFamily)
	}
	return Supernode{netip.AddrPortFrom(ip, binary.LittleEndian.Uint16(e[2:])), MAC(e[20:])}, nil
}

// Append adds a supernode. One without an address is left out.
func (l SupernodeList) Append(s Supernode) SupernodeList {
	var e [supernodeLen]byte
	switch ip := s.Addr.Addr().Unmap(); {
	case ip.Is4():
		a := ip.As4()
		e[0] = familyIPv4
		copy(e[4:], a[:])
	case ip.Is6():
		a := ip.As16()
		e[0] = familyIPv6
		copy(e[4:], a[:])
	default:
		return l
	}
	binary.LittleEndian.PutUint16(e[2:], s.Addr.Port())
	copy(e[20:], s.MAC[:])
	return append(l, e[:]...)
}
