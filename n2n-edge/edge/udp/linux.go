package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

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
	cfg Config
	now atomic.Pointer[descriptor] // nil: it could not be replaced

	mu     sync.Mutex // while the descriptor changes
	closed bool

	scratch sync.Pool
	rx      receiveScratch
}

// descriptor is one socket of the kernel. Rebind puts another one in its place.
type descriptor struct {
	file     *os.File
	raw      syscall.RawConn
	v6       bool
	port     uint16
	closed   atomic.Bool
	features atomic.Pointer[Features]
	// tooLong is the shortest segment that the kernel would not send in a burst, because it does not fit the way's MTU.
	tooLong atomic.Int64
}

// Open binds a socket.
func Open(cfg Config) (Socket, error) {
	s := &socket{cfg: cfg}
	s.rx.try = s.rx.receive
	s.scratch.New = func() any {
		c := new(sendScratch)
		c.try = c.send
		return c
	}
	d, err := open(cfg)
	if err != nil {
		return nil, err
	}
	s.now.Store(d)
	return s, nil
}

func open(cfg Config) (*descriptor, error) {
	const kind = unix.SOCK_DGRAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(unix.AF_INET6, kind, 0)
	v6 := err == nil && unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0) == nil
	if v6 {
		err = unix.Bind(fd, &unix.SockaddrInet6{Port: int(cfg.Port)})
	}
	if err == nil && !v6 || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) { // IPv6 is off
		if fd >= 0 {
			unix.Close(fd)
		}
		v6 = false
		if fd, err = unix.Socket(unix.AF_INET, kind, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(cfg.Port)})
		}
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("udp: bind port %d: %w", cfg.Port, err)
	}
	d := &descriptor{v6: v6}
	d.options(fd, cfg)
	name, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("udp: own port: %w", err)
	}
	switch a := name.(type) {
	case *unix.SockaddrInet6:
		d.port = uint16(a.Port)
	case *unix.SockaddrInet4:
		d.port = uint16(a.Port)
	}
	d.file = os.NewFile(uintptr(fd), "udp")
	if d.raw, err = d.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("udp: %w", err), d.file.Close())
	}
	return d, nil
}

// options sets what makes the socket fast, and notes what the kernel agreed to.
func (d *descriptor) options(fd int, cfg Config) {
	// DF off: a tunnel whose packets are too long for some link is slow, but works.
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	if d.v6 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
	}
	f := Features{IPv6: d.v6, ReceiveBuffer: buffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE),
		SendBuffer: buffer(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE)}
	if !cfg.NoOffload {
		_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
		f.GSO = err == nil
		f.GRO = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	}
	d.features.Store(&f)
	d.tooLong.Store(1 << 16)
}

// buffer asks for large buffers, beyond the system's limit where we may, and says what we got.
func buffer(fd, opt, force int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, wantBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, wantBuffer)
	}
	n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
	return n / 2 // the kernel doubles it for its own needs
}

func (s *socket) Features() Features {
	if d := s.now.Load(); d != nil {
		return *d.features.Load()
	}
	return Features{}
}

func (s *socket) Port() uint16 {
	if d := s.now.Load(); d != nil {
		return d.port
	}
	return 0
}

// Rebind closes the old descriptor first, as the port may be the same. Receive notices and goes on with the new one.
func (s *socket) Rebind() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	old := s.now.Load()
	var err error
	if old != nil && s.cfg.Port != 0 {
		err = old.close()
	}
	d, failed := open(s.cfg)
	if failed != nil {
		return errors.Join(err, failed)
	}
	s.now.Store(d)
	if old != nil && s.cfg.Port == 0 {
		err = old.close()
	}
	return err
}

// Close ends the socket and wakes who waits in Receive.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.now.Load().close()
}

// close ends a descriptor. The poller's own error for who waits has no name, so that a flag has to say what it means.
func (d *descriptor) close() error {
	if d.closed.Swap(true) {
		return nil
	}
	return d.file.Close()
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
