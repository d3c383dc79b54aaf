package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// wantBuffer is what is asked for each way. The kernel's 208 KiB hold some eighty packets: less than one burst of TCP.
const wantBuffer = 8 << 20

// Config says what socket is wanted.
type Config struct {
	Port uint16 // 0: any
	// NoOffload sends and receives datagrams one by one, as on a kernel that knows nothing else.
	NoOffload bool
}

type socket struct {
	cfg  Config
	wake int

	features atomic.Pointer[Features]
	// tooLong is the shortest segment that the kernel would not send in a burst, because it does not fit the way's MTU.
	tooLong atomic.Int64
	closed  atomic.Bool

	mu sync.RWMutex // held for writing while the descriptor changes
	fd int
	v6 bool
	at uint16

	scratch sync.Pool
	rx      receiveScratch
}

// Open binds a socket.
func Open(cfg Config) (Socket, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("udp: eventfd: %w", err)
	}
	s := &socket{cfg: cfg, wake: wake, fd: -1}
	s.scratch.New = func() any { return new(sendScratch) }
	if err := s.open(); err != nil {
		return nil, errors.Join(err, unix.Close(wake))
	}
	return s, nil
}

// open makes the descriptor; mu is held or nobody else is there yet.
func (s *socket) open() error {
	const kind = unix.SOCK_DGRAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(unix.AF_INET6, kind, 0)
	v6 := err == nil && unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0) == nil
	if v6 {
		err = unix.Bind(fd, &unix.SockaddrInet6{Port: int(s.cfg.Port)})
	}
	if err == nil && !v6 || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) { // IPv6 is off
		if fd >= 0 {
			unix.Close(fd)
		}
		v6 = false
		if fd, err = unix.Socket(unix.AF_INET, kind, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(s.cfg.Port)})
		}
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return fmt.Errorf("udp: bind port %d: %w", s.cfg.Port, err)
	}
	// DF off: a tunnel whose packets are too long for some link is slow, but works.
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
	}
	f := Features{IPv6: v6, ReceiveBuffer: buffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE),
		SendBuffer: buffer(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE)}
	if !s.cfg.NoOffload {
		_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
		f.GSO = err == nil
		f.GRO = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("udp: own port: %w", err)
	}
	switch a := name.(type) {
	case *unix.SockaddrInet6:
		s.at = uint16(a.Port)
	case *unix.SockaddrInet4:
		s.at = uint16(a.Port)
	}
	s.fd, s.v6 = fd, v6
	s.features.Store(&f)
	s.tooLong.Store(1 << 16)
	return nil
}

// buffer asks for large buffers, beyond the system's limit where we may, and says what we got.
func buffer(fd, opt, force int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, wantBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, wantBuffer)
	}
	n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
	return n / 2 // the kernel doubles it for its own needs
}

func (s *socket) Features() Features { return *s.features.Load() }

func (s *socket) Port() uint16 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.at
}

func (s *socket) Rebind() error {
	if s.closed.Load() {
		return ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
	err := s.open()
	s.ring()
	return err
}

// ring wakes who waits in Receive.
func (s *socket) ring() {
	one := [8]byte{1}
	_, _ = unix.Write(s.wake, one[:]) // EAGAIN: it rings already
}

// Close leaves the bell to the end of the process: who waits may be about to look at it again.
func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring()
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

// Source connects a socket of its own, which sends nothing, and looks where it is.
func (s *socket) Source(to netip.AddrPort) (netip.Addr, error) {
	family, addr := unix.AF_INET, unix.Sockaddr(nil)
	ip := to.Addr().Unmap()
	if ip.Is4() {
		addr = &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
	} else {
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: ip.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("udp: source towards %v: %w", to, err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, addr); err != nil {
		return netip.Addr{}, fmt.Errorf("udp: source towards %v: %w", to, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("udp: source towards %v: %w", to, err)
	}
	switch a := name.(type) {
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap(), nil
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr), nil
	}
	return netip.Addr{}, fmt.Errorf("udp: source towards %v: an address of another family", to)
}
