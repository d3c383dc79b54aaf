package serve

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	slots    = 32      // datagrams in one system call
	slotSize = 1 << 16 // the kernel joins datagrams of one flow up to this size
	ctlSize  = 64      // room for what the kernel says about a datagram

	solUDP     = unix.SOL_UDP
	udpSegment = unix.UDP_SEGMENT
	udpGRO     = unix.UDP_GRO

	maxSegments = 64     // of one datagram that the kernel cuts
	maxBurst    = 65_000 // its bytes
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// vector is the memory of one recvmmsg or sendmmsg. What the kernel is to see does not move: it is allocated once.
type vector struct {
	headers [slots]mmsghdr
	iovs    [slots]unix.Iovec
	names   [slots]unix.RawSockaddrInet6
	control [slots][ctlSize]byte
}

// receiving readies the vector for recvmmsg into buf.
func (v *vector) receiving(buf []byte) {
	for i := range v.headers {
		v.iovs[i].Base = &buf[i*slotSize]
		v.iovs[i].SetLen(slotSize)
		h := &v.headers[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&v.names[i])), uint32(unsafe.Sizeof(v.names[i]))
		h.Iov = &v.iovs[i]
		h.SetIovlen(1)
		h.Control = &v.control[i][0]
		h.SetControllen(ctlSize)
	}
}

// again readies the first n for the next call: the kernel has written over what it was told.
func (v *vector) again(n int) {
	for i := range n {
		h := &v.headers[i].hdr
		h.Namelen = uint32(unsafe.Sizeof(v.names[i]))
		h.SetControllen(ctlSize)
		h.Flags = 0
	}
}

// from gives where the i-th datagram came from.
func (v *vector) from(i int) netip.AddrPort {
	n := &v.names[i]
	port := (*[2]byte)(unsafe.Pointer(&n.Port))
	p := binary.BigEndian.Uint16(port[:])
	if n.Family == unix.AF_INET {
		n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(n4.Addr), p)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(n.Addr).Unmap(), p)
}

// segment gives the length of the datagrams that were joined to the i-th one, 0 when it is one.
func (v *vector) segment(i int) int {
	b := v.control[i][:]
	if n := int(v.headers[i].hdr.Controllen); n < len(b) {
		b = b[:n]
	}
	for len(b) >= unix.SizeofCmsghdr {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		n := int(c.Len)
		if n < unix.SizeofCmsghdr || n > len(b) {
			return 0
		}
		if c.Level == solUDP && c.Type == udpGRO && n >= unix.SizeofCmsghdr+4 {
			return int(*(*int32)(unsafe.Pointer(&b[unix.SizeofCmsghdr])))
		}
		b = b[min(len(b), unix.CmsgSpace(n-unix.SizeofCmsghdr)):]
	}
	return 0
}

// sending readies the i-th message: bytes to an address, cut by the kernel every segment bytes when that is not 0.
func (v *vector) sending(i int, bytes []byte, to netip.AddrPort, six bool, segment int) {
	v.iovs[i].Base = unsafe.SliceData(bytes)
	v.iovs[i].SetLen(len(bytes))
	m := &v.headers[i]
	m.len = 0
	h := &m.hdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&v.names[i])), v.name(i, to, six)
	h.Iov = &v.iovs[i]
	h.SetIovlen(1)
	h.Control = nil
	h.SetControllen(0)
	if segment > 0 {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&v.control[i][0]))
		c.Level, c.Type = solUDP, udpSegment
		c.SetLen(unix.CmsgLen(2))
		*(*uint16)(unsafe.Pointer(&v.control[i][unix.SizeofCmsghdr])) = uint16(segment)
		h.Control = &v.control[i][0]
		h.SetControllen(unix.CmsgSpace(2))
	}
}

// name writes an address as the socket's family has it.
func (v *vector) name(i int, to netip.AddrPort, six bool) uint32 {
	n := &v.names[i]
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&n.Port))[:], to.Port())
	if six {
		n.Family, n.Flowinfo, n.Scope_id = unix.AF_INET6, 0, 0
		n.Addr = to.Addr().As16()
		return uint32(unsafe.Sizeof(*n))
	}
	n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
	n4.Family = unix.AF_INET
	n4.Addr = to.Addr().As4()
	return uint32(unsafe.Sizeof(*n4))
}
