package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sonic-netservices/n2n-supernode/rendezvous"
)

// socketBuffer is how much of a burst the kernel keeps for us in each direction. ntop keeps what the system gives, 208 KiB,
// and loses what is more.
const socketBuffer = 8 << 20

// udp is one reader's socket, with what it has read and what it is to send. All readers' sockets have the same address; the
// kernel gives each flow to one of them.
type udp struct {
	sender

	in       vector
	inBuf    []byte
	received int
	recvErr  error
	recv     func(fd uintptr) bool
}

// listenUDP opens a reader's socket. Share says that more than one has this address.
func listenUDP(ctx context.Context, addr string, share bool, lost *atomic.Uint64) (*udp, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if share {
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
				return e
			}
		}
		return err
	}}
	conn, err := config.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	u := &udp{inBuf: make([]byte, slots*slotSize)}
	u.conn, u.lost = conn.(*net.UDPConn), lost
	if u.raw, err = u.conn.SyscallConn(); err != nil {
		conn.Close()
		return nil, err
	}
	if err := u.raw.Control(u.setup); err != nil {
		conn.Close()
		return nil, err
	}
	u.in.receiving(u.inBuf)
	u.recv, u.call = u.recvmmsg, u.sendmmsg
	return u, nil
}

// setup asks for what makes it fast. What the kernel does not have, it goes without.
func (u *udp) setup(fd uintptr) {
	s := int(fd)
	domain, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_DOMAIN)
	u.six = err == nil && domain == unix.AF_INET6
	for _, opt := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(s, unix.SOL_SOCKET, opt[0], socketBuffer) != nil {
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, opt[1], socketBuffer) // as much as the system allows
		}
	}
	// As ntop: what is too long for a link is cut on the way, not lost.
	_ = unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	if u.six {
		_ = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
	}
	_ = unix.SetsockoptInt(s, solUDP, udpGRO, 1) // the kernel joins what comes
	_, err = unix.GetsockoptInt(s, solUDP, udpSegment)
	u.gso = err == nil
}

func (u *udp) recvmmsg(fd uintptr) bool {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&u.in.headers[0])), slots, unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return false
	}
	u.received, u.recvErr = int(n), nil
	if errno != 0 {
		u.received, u.recvErr = 0, errno
	}
	return true
}

// read waits for datagrams and gives each to take, also those that the kernel has joined, one after the other.
func (u *udp) read(take func(from rendezvous.Path, b []byte)) error {
	if err := u.raw.Read(u.recv); err != nil {
		return err
	}
	if errors.Is(u.recvErr, unix.ECONNREFUSED) || errors.Is(u.recvErr, unix.EHOSTUNREACH) || errors.Is(u.recvErr, unix.ENETUNREACH) {
		return nil // of something sent before
	}
	if u.recvErr != nil {
		return fmt.Errorf("recvmmsg: %w", u.recvErr)
	}
	for i := range u.received {
		b := u.inBuf[i*slotSize:][:u.in.headers[i].len]
		from := rendezvous.Path{Addr: u.in.from(i)}
		n := u.in.segment(i)
		if n <= 0 {
			n = len(b)
		}
		for len(b) > 0 {
			end := min(n, len(b))
			take(from, b[:end:end])
			b = b[end:]
		}
	}
	u.in.again(u.received)
	return nil
}

// serveUDP reads until the socket is closed.
func (s *server) serveUDP(u *udp, w *rendezvous.Worker) error {
	var out rendezvous.Out
	var now time.Time
	take := func(from rendezvous.Path, b []byte) {
		if now.IsZero() {
			now = time.Now()
		}
		w.Packet(now, from, b, &out)
		if len(out.Bytes) > flushAt || len(out.Sends) > flushSends {
			u.flush(&out, s.sendElsewhere)
			out.Reset()
		}
	}
	for {
		now = time.Time{}
		if err := u.read(take); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("udp %s: %w", u.conn.LocalAddr(), err)
		}
		u.flush(&out, s.sendElsewhere)
		out.Reset()
	}
}

// A reader sends what it has when it is as much as this, so that a flood costs no more memory.
const (
	flushAt    = 1 << 20
	flushSends = 4096
)
