package n2n

import "net/netip"

// MaxSockLen is the room a sock takes at most: family, port, an IPv6 address.
const MaxSockLen = 20

// sockLen is the length of a sock that is there, 0 for none.
func sockLen(s netip.AddrPort) int {
	switch {
	case !s.IsValid():
		return 0
	case s.Addr().Unmap().Is4():
		return 8
	}
	return MaxSockLen
}

// appendSock writes an address and port. An IPv4 address in IPv6 clothes, as a socket for both families gives it, is
// written as the IPv4 address it is: ntop reads no other. An invalid one becomes 0.0.0.0:0, which keeps the layout of a
// message that must have one.
func appendSock(b []byte, s netip.AddrPort) []byte {
	port := s.Port()
	switch a := s.Addr().Unmap(); {
	case !s.IsValid():
		return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	case a.Is4():
		ip := a.As4()
		return append(append(b, 0, 0, byte(port>>8), byte(port)), ip[:]...)
	default:
		ip := a.As16()
		return append(append(b, 0x80, 0, byte(port>>8), byte(port)), ip[:]...)
	}
}

// appendSockIf writes a sock that is there.
func appendSockIf(b []byte, s netip.AddrPort) []byte {
	if !s.IsValid() {
		return b
	}
	return appendSock(b, s)
}
