package serve

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"sonic-netservices/n2n-supernode/rendezvous"
)

// sender sends through a reader's socket. Each goroutine that sends has its own.
type sender struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	six  bool // addresses of the socket are IPv6, also those that are IPv4 in disguise
	gso  bool // the kernel cuts what leaves

	out    vector
	filled int // messages in out
	left   int // the first of them that is not sent yet
	err    error
	call   func(fd uintptr) bool

	lost *atomic.Uint64 // messages that the kernel refused
}

// another makes a sender one for the same socket.
func (u *udp) another() *sender {
	s := &sender{conn: u.conn, raw: u.raw, six: u.six, gso: u.gso, lost: u.lost}
	s.call = s.sendmmsg
	return s
}

func (s *sender) sendmmsg(fd uintptr) bool {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.out.headers[s.left])), uintptr(s.filled-s.left), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return false
	}
	if s.err = nil; errno != 0 {
		s.err = errno
		return true
	}
	s.left += int(n)
	return true
}

// flush sends what goes by UDP, and gives the rest to elsewhere. Messages that follow each other, of one way and one
// length, leave as one that the kernel cuts.
func (s *sender) flush(out *rendezvous.Out, elsewhere func(rendezvous.Send, []byte)) {
	for i := 0; i < len(out.Sends); {
		first := out.Sends[i]
		if first.To.Conn != 0 || first.OtherPort {
			elsewhere(first, out.Message(first))
			i++
			continue
		}
		size, end, next := first.End-first.Start, first.End, i+1
		for s.gso && next < len(out.Sends) && next-i < maxSegments {
			t := out.Sends[next]
			if t.To != first.To || t.OtherPort || t.Start != end || t.End-t.Start > size || t.End-first.Start > maxBurst {
				break
			}
			end = t.End
			next++
			if t.End-t.Start < size {
				break // only the last may be shorter
			}
		}
		if s.add(out.Bytes[first.Start:end], first.To.Addr, next-i, size) {
			s.drain()
		}
		i = next
	}
	s.drain()
}

// add puts a message, or a burst of them, into the vector, and says whether that is full.
func (s *sender) add(bytes []byte, to netip.AddrPort, burst, size int) bool {
	if !s.six && !to.Addr().Is4() {
		s.lost.Add(uint64(burst))
		return false
	}
	if burst == 1 {
		size = 0
	}
	s.out.sending(s.filled, bytes, to, s.six, size)
	s.filled++
	return s.filled == slots
}

// drain sends the vector. What the kernel does not take is left out; a burst that it does not cut is cut here.
func (s *sender) drain() {
	for s.left < s.filled {
		if err := s.raw.Write(s.call); err != nil {
			break // closed
		}
		if s.err == nil {
			continue
		}
		h := &s.out.headers[s.left].hdr
		if h.Controllen > 0 {
			if errors.Is(s.err, unix.EIO) || errors.Is(s.err, unix.EOPNOTSUPP) {
				slog.Info("the network cuts no bursts: messages leave one by one", "err", s.err)
				s.gso = false
			}
			s.cut(s.left)
		} else {
			s.lost.Add(1)
		}
		s.left++
	}
	s.filled, s.left = 0, 0
}

// cut sends the datagrams of the i-th burst one by one.
func (s *sender) cut(i int) {
	size := int(*(*uint16)(unsafe.Pointer(&s.out.control[i][unix.SizeofCmsghdr])))
	bytes := unsafe.Slice(s.out.iovs[i].Base, s.out.iovs[i].Len)
	for len(bytes) > 0 {
		n := min(size, len(bytes))
		if _, err := s.conn.WriteToUDPAddrPort(bytes[:n], s.out.from(i)); err != nil {
			s.lost.Add(1)
		}
		bytes = bytes[n:]
	}
}
