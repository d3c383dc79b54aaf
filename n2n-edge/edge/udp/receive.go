package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
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

// Calls that do not wait are made without telling Go's scheduler (RawSyscall): it would first wake its watchdog, which on an
// idle machine sleeps, too, and every packet would wait for that. Waiting is the poller's.

type receiveScratch struct {
	messages [maxBatch]message
	iov      [maxBatch]unix.Iovec
	names    [maxBatch]unix.RawSockaddrInet6
	control  [maxBatch][controlLen]byte

	try   func(fd uintptr) bool // receive: made once, so that a call costs no memory
	room  int
	n     int
	errno unix.Errno
}

// receive is a call in the hands of the runtime's poller, which waits and tries again when it says no.
func (r *receiveScratch) receive(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages)), uintptr(r.room), 0, 0, 0)
	r.n, r.errno = int(n), errno
	return errno != unix.EAGAIN
}

func (s *socket) Receive(b []Received) (int, error) {
	b = b[:min(len(b), maxBatch)]
	r := &s.rx
	r.room = len(b)
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
		d := s.now.Load()
		if err := d.raw.Read(r.try); err != nil {
			if again, err := s.gone(d, err); !again {
				return 0, err
			}
			continue
		}
		switch r.errno {
		case 0:
			for i := range r.n {
				b[i].N = int(r.messages[i].n)
				b[i].From = address(&r.names[i])
				b[i].Segment = r.segment(i, b[i].N)
			}
			return r.n, nil
		case unix.EINTR, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH: // ICMP: of somebody, not of the socket
		default:
			return 0, fmt.Errorf("udp: receive: %w", r.errno)
		}
	}
}

// gone says whether a descriptor was replaced, and the new one is to be read. While there is none it waits.
func (s *socket) gone(d *descriptor, err error) (again bool, _ error) {
	if !d.closed.Load() {
		return false, fmt.Errorf("udp: receive: %w", err)
	}
	for {
		s.mu.Lock()
		closed, next := s.closed, s.now.Load()
		s.mu.Unlock()
		switch {
		case closed:
			return false, ErrClosed
		case next != d:
			return true, nil
		}
		time.Sleep(100 * time.Millisecond) // a port that somebody else has taken: Rebind is called again
	}
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
