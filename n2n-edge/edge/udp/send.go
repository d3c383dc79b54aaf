package udp

import (
	"encoding/binary"
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

	try   func(fd uintptr) bool // send: made once, so that a call costs no memory
	at    int                   // the first message that is not sent yet
	n     int
	errno unix.Errno
}

// send is a call in the hands of the runtime's poller, which waits and tries again when it says no.
func (c *sendScratch) send(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&c.messages[c.at])), uintptr(c.used-c.at), 0, 0, 0)
	c.n, c.errno = int(n), errno
	return errno != unix.EAGAIN
}

func (s *socket) Send(bursts []Burst) error {
	c := s.scratch.Get().(*sendScratch)
	c.used, c.first = 0, nil
	d := s.now.Load()
	gso := d.features.Load().GSO
	for i := range bursts {
		b := &bursts[i]
		if b.Segment <= 0 || b.Segment >= len(b.Data) {
			d.queue(c, b, b.Data, 0)
			continue
		}
		step := b.Segment
		if gso && int64(b.Segment) < d.tooLong.Load() {
			step *= min(MaxSegments, MaxBurst/b.Segment)
		}
		for at := 0; at < len(b.Data); at += step {
			d.queue(c, b, b.Data[at:min(at+step, len(b.Data))], b.Segment)
		}
	}
	d.flush(c)
	err := c.first
	clear(c.iov[:])
	s.scratch.Put(c)
	return err
}

// queue makes a message of data: one datagram, or several when it is longer than segment.
func (d *descriptor) queue(c *sendScratch, b *Burst, data []byte, segment int) {
	if len(data) == 0 {
		return
	}
	if c.used == maxBatch {
		d.flush(c)
	}
	i := c.used
	m := &c.messages[i]
	n, ok := d.name(&c.names[i], b.To)
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
func (d *descriptor) name(r *unix.RawSockaddrInet6, to netip.AddrPort) (uint32, bool) {
	port := (*[2]byte)(unsafe.Pointer(&r.Port)) // at the same place in both
	binary.BigEndian.PutUint16(port[:], to.Port())
	switch ip := to.Addr(); {
	case !ip.IsValid():
		return 0, false
	case d.v6:
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
func (d *descriptor) flush(c *sendScratch) {
	for c.at = 0; c.at < c.used; {
		if err := d.raw.Write(c.try); err != nil {
			if c.first == nil {
				c.first = fmt.Errorf("udp: send: %w", err) // closed
			}
			break
		}
		switch c.errno {
		case 0:
			c.at += c.n
		case unix.EINTR:
		default:
			if segment := c.segment(c.at); segment > 0 && d.refused(c.errno, segment) {
				d.oneByOne(c, segment)
			} else {
				c.fail(address(&c.names[c.at]), c.errno)
			}
			c.at++
		}
	}
	c.used = 0
}

// refused notes that the kernel does not take a burst, and says whether that was the reason of an error.
func (d *descriptor) refused(errno unix.Errno, segment int) bool {
	switch errno {
	case unix.EIO: // the network card cannot complete checksums
		f := *d.features.Load()
		f.GSO = false
		d.features.Store(&f)
	case unix.EINVAL, unix.EMSGSIZE: // a segment is longer than the way's MTU
		d.tooLong.Store(min(d.tooLong.Load(), int64(segment)))
	default:
		return false
	}
	return true
}

// oneByOne sends the datagrams of a refused burst.
func (d *descriptor) oneByOne(c *sendScratch, segment int) {
	one := &sendScratch{}
	one.try = one.send
	data := unsafe.Slice(c.iov[c.at].Base, c.iov[c.at].Len)
	for len(data) > 0 {
		n := min(segment, len(data))
		if one.used == maxBatch {
			d.flush(one)
		}
		one.names[one.used] = c.names[c.at]
		m := &one.messages[one.used]
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&one.names[one.used])), c.messages[c.at].Namelen
		one.iov[one.used].Base = &data[0]
		one.iov[one.used].SetLen(n)
		m.Iov, m.Iovlen = &one.iov[one.used], 1
		one.used++
		data = data[n:]
	}
	d.flush(one)
	if c.first == nil {
		c.first = one.first
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
	if c.first == nil {
		c.first = fmt.Errorf("udp: send to %v: %w", to, errno)
	}
}
