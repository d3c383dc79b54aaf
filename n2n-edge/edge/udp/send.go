package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

type sendScratch struct {
	messages [maxBatch]message
	iov      [maxBatch]unix.Iovec
	names    [maxBatch]unix.RawSockaddrInet6
	control  [maxBatch][controlLen]byte
	used     int
	first    error
}

func (s *socket) Send(bursts []Burst) error {
	c := s.scratch.Get().(*sendScratch)
	c.used, c.first = 0, nil
	s.mu.RLock()
	gso := s.features.Load().GSO
	for i := range bursts {
		b := &bursts[i]
		if b.Segment <= 0 || b.Segment >= len(b.Data) {
			s.queue(c, b, b.Data, 0)
			continue
		}
		step := b.Segment
		if gso && int64(b.Segment) < s.tooLong.Load() {
			step *= min(MaxSegments, MaxBurst/b.Segment)
		}
		for at := 0; at < len(b.Data); at += step {
			s.queue(c, b, b.Data[at:min(at+step, len(b.Data))], b.Segment)
		}
	}
	s.flush(c)
	s.mu.RUnlock()
	err := c.first
	clear(c.iov[:])
	s.scratch.Put(c)
	return err
}

// queue makes a message of data: one datagram, or several when it is longer than segment.
func (s *socket) queue(c *sendScratch, b *Burst, data []byte, segment int) {
	if len(data) == 0 {
		return
	}
	if c.used == maxBatch {
		s.flush(c)
	}
	i := c.used
	m := &c.messages[i]
	n, ok := s.name(&c.names[i], b.To)
	if !ok {
		c.fail(b.To, unix.EAFNOSUPPORT)
		return
	}
	m.Name, m.Namelen = (*byte)(unsafe.Pointer(&c.names[i])), n
	c.iov[i].Base = &data[0]
	c.iov[i].SetLen(len(data))
	m.Iov, m.Iovlen = &c.iov[i], 1
	control := c.control[i][:0]
	if segment > 0 && len(data) > segment {
		var v [2]byte
		binary.NativeEndian.PutUint16(v[:], uint16(segment))
		control = appendControl(control, unix.SOL_UDP, unix.UDP_SEGMENT, v[:])
	}
	if b.TTL > 0 {
		var v [4]byte
		binary.NativeEndian.PutUint32(v[:], uint32(b.TTL))
		if b.To.Addr().Unmap().Is4() {
			control = appendControl(control, unix.SOL_IP, unix.IP_TTL, v[:])
		} else {
			control = appendControl(control, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, v[:])
		}
	}
	m.Control = nil
	if len(control) > 0 {
		m.Control = &control[0]
	}
	m.SetControllen(len(control))
	c.used++
}

// appendControl adds a control message; b has room.
func appendControl(b []byte, level, kind int32, value []byte) []byte {
	at := len(b)
	b = b[:at+unix.CmsgSpace(len(value))]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(value)))
	copy(b[at+unix.CmsgLen(0):], value)
	return b
}

// name writes a receiver's address as the descriptor's family has it.
func (s *socket) name(r *unix.RawSockaddrInet6, to netip.AddrPort) (uint32, bool) {
	port := (*[2]byte)(unsafe.Pointer(&r.Port)) // at the same place in both
	binary.BigEndian.PutUint16(port[:], to.Port())
	switch ip := to.Addr(); {
	case !ip.IsValid():
		return 0, false
	case s.v6:
		r.Family, r.Flowinfo, r.Addr, r.Scope_id = unix.AF_INET6, 0, ip.As16(), 0
		return unix.SizeofSockaddrInet6, true
	case ip.Unmap().Is4():
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(r))
		v4.Family, v4.Addr = unix.AF_INET, ip.Unmap().As4()
		return unix.SizeofSockaddrInet4, true
	}
	return 0, false
}

// flush sends what is queued. The kernel stops at the first message it does not like; that one is dealt with, the others
// go on.
func (s *socket) flush(c *sendScratch) {
	for at := 0; at < c.used; {
		got, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&c.messages[at])), uintptr(c.used-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(got)
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS:
			fds := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
			if n, err := unix.Poll(fds[:], 100); err == nil && n == 0 || errno == unix.ENOBUFS {
				c.fail(address(&c.names[at]), errno)
				at++
			}
		default:
			if segment := c.segment(at); segment > 0 && s.refused(errno, segment) {
				s.oneByOne(c, at, segment)
			} else {
				c.fail(address(&c.names[at]), errno)
			}
			at++
		}
	}
	c.used = 0
}

// refused notes that the kernel does not take a burst, and says whether that was the reason of an error.
func (s *socket) refused(errno unix.Errno, segment int) bool {
	switch errno {
	case unix.EIO: // the network card cannot complete checksums
		f := *s.features.Load()
		f.GSO = false
		s.features.Store(&f)
	case unix.EINVAL, unix.EMSGSIZE: // a segment is longer than the way's MTU
		s.tooLong.Store(min(s.tooLong.Load(), int64(segment)))
	default:
		return false
	}
	return true
}

// oneByOne sends the datagrams of a refused burst.
func (s *socket) oneByOne(c *sendScratch, at, segment int) {
	m := c.messages[at]
	m.Control = nil
	m.SetControllen(0)
	data := unsafe.Slice(c.iov[at].Base, c.iov[at].Len)
	for len(data) > 0 {
		n := min(segment, len(data))
		iov := unix.Iovec{Base: &data[0]}
		iov.SetLen(n)
		m.Iov = &iov
		if _, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m.Msghdr)), 0); errno != 0 {
			c.fail(address(&c.names[at]), errno)
		}
		data = data[n:]
	}
}

// segment is the length of each datagram of a message, 0 when it is one.
func (c *sendScratch) segment(at int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.control[at][0]))
	if c.messages[at].Control == nil || h.Level != unix.SOL_UDP || h.Type != unix.UDP_SEGMENT {
		return 0
	}
	return int(binary.NativeEndian.Uint16(c.control[at][unix.CmsgLen(0):]))
}

// fail keeps the first error.
func (c *sendScratch) fail(to netip.AddrPort, errno unix.Errno) {
	if c.first == nil && !errors.Is(errno, unix.EBADF) {
		c.first = fmt.Errorf("udp: send to %v: %w", to, errno)
	}
}
