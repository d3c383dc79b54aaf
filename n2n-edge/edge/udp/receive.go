package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxBatch is how many messages go through the kernel in one call.
const maxBatch = 64

// message is struct mmsghdr.
type message struct {
	unix.Msghdr
	n uint32
	_ [4]byte
}

const controlLen = 64

type receiveScratch struct {
	messages [maxBatch]message
	iov      [maxBatch]unix.Iovec
	names    [maxBatch]unix.RawSockaddrInet6
	control  [maxBatch][controlLen]byte
}

func (s *socket) Receive(b []Received) (int, error) {
	b = b[:min(len(b), maxBatch)]
	r := &s.rx
	for i := range b {
		r.iov[i].Base = &b[i].Buf[0]
		r.iov[i].SetLen(len(b[i].Buf))
	}
	for {
		for i := range b {
			m := &r.messages[i]
			m.Name, m.Namelen = (*byte)(unsafe.Pointer(&r.names[i])), unix.SizeofSockaddrInet6
			m.Iov, m.Iovlen = &r.iov[i], 1
			m.Control = &r.control[i][0]
			m.SetControllen(controlLen)
		}
		s.mu.RLock()
		fd := s.fd
		n, errno := -1, unix.EAGAIN
		if fd >= 0 {
			var got uintptr
			got, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.messages)), uintptr(len(b)), 0, 0, 0)
			n = int(got)
		}
		s.mu.RUnlock()
		switch errno {
		case 0:
			for i := range n {
				b[i].N = int(r.messages[i].n)
				b[i].From = address(&r.names[i])
				b[i].Segment = r.segment(i, b[i].N)
			}
			return n, nil
		case unix.EAGAIN:
			if err := s.wait(fd); err != nil {
				return 0, err
			}
		case unix.EINTR, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH: // ICMP: of somebody, not of the socket
		default:
			if s.closed.Load() {
				return 0, ErrClosed
			}
			return 0, fmt.Errorf("udp: receive: %w", errno)
		}
	}
}

// wait returns when there may be something, or another descriptor.
func (s *socket) wait(fd int) error {
	fds := [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(s.wake), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds[:], -1); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("udp: poll: %w", err)
	}
	if s.closed.Load() {
		return ErrClosed
	}
	if fds[1].Revents != 0 {
		var drain [8]byte
		_, _ = unix.Read(s.wake, drain[:])
	}
	return nil
}

// address reads what the kernel wrote. The structures of IPv4 and IPv6 begin alike.
func address(name *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	switch name.Family {
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), binary.BigEndian.Uint16(port[:]))
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), binary.BigEndian.Uint16(port[:]))
	}
	return netip.AddrPort{}
}

// segment reads how long each of the joined datagrams is.
func (r *receiveScratch) segment(i, n int) int {
	c := r.control[i][:]
	left := int(r.messages[i].Controllen)
	if left < unix.CmsgLen(4) {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	if h.Level != unix.SOL_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	size := int(binary.NativeEndian.Uint32(c[unix.CmsgLen(0):]))
	if size <= 0 || size >= n {
		return 0
	}
	return size
}
