package overlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Attacker is a host whose packets come from wherever it likes.
type Attacker struct {
	Addr netip.Addr // its own
	fd   int
}

// StartAttacker makes one of a site.
func (b *Bed) StartAttacker(site string) (*Attacker, error) {
	at, err := b.Site(site)
	if err != nil {
		return nil, err
	}
	a := &Attacker{Addr: at.Public}
	err = b.InNetns(site, func() (err error) {
		a.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attacker at %s: %w", site, err)
	}
	return a, nil
}

// Send sends a datagram from any address. It is not cut: 1,400 bytes fit everywhere.
func (a *Attacker) Send(from, to netip.AddrPort, payload []byte) error {
	src, dst := from.Addr().As4(), to.Addr().As4()
	b := make([]byte, 0, 28+len(payload))
	b = append(b, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0) // the kernel writes length, number and checksum
	b = append(append(b, src[:]...), dst[:]...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(b, 0, 0) // no checksum
	b = append(b, payload...)
	if err := unix.Sendto(a.fd, b, 0, &unix.SockaddrInet4{Addr: dst}); err != nil {
		return fmt.Errorf("attack %v from %v: %w", to, from, err)
	}
	return nil
}

// Stop ends it.
func (a *Attacker) Stop() { unix.Close(a.fd) }

// Heard is a datagram that passed.
type Heard struct {
	At       time.Time
	From, To netip.AddrPort
	Payload  []byte
}

// Ear hears the UDP of a site.
type Ear struct {
	fd   int
	done chan struct{}
	all  sync.WaitGroup

	mu   sync.Mutex
	list []Heard
}

// maxHeard bounds what an ear keeps: the newest of it.
const maxHeard = 20_000

// Listen hears what comes to a site and leaves it, over its cable.
func (b *Bed) Listen(site string) (*Ear, error) {
	e := &Ear{done: make(chan struct{})}
	err := b.InNetns(site, func() (err error) {
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(e.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		return unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000})
	})
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", site, err)
	}
	e.all.Go(e.run)
	return e, nil
}

func (e *Ear) run() {
	buf := make([]byte, 1<<16)
	for {
		select {
		case <-e.done:
			return
		default:
		}
		n, _, err := unix.Recvfrom(e.fd, buf, 0)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			return
		}
		if h, ok := parseUDP(buf[:n]); ok {
			e.mu.Lock()
			if len(e.list) >= maxHeard {
				e.list = append(e.list[:0], e.list[maxHeard/2:]...)
			}
			e.list = append(e.list, h...)
			e.mu.Unlock()
		}
	}
}

// What the kernel says of a packet before it (struct virtio_net_hdr): one may be several datagrams that it has not cut yet.
const (
	vnetLen    = 10
	etherLen   = 14
	vnetUDP    = 5 // type, at 1: datagrams
	vnetSizeAt = 4 // of each
)

// parseUDP reads the datagrams of a frame of IPv4; the payloads are copies.
func parseUDP(b []byte) (list []Heard, ok bool) {
	if len(b) < vnetLen+etherLen || b[vnetLen+12] != 0x08 || b[vnetLen+13] != 0x00 {
		return nil, false
	}
	size := 0
	if b[1] == vnetUDP {
		size = int(binary.NativeEndian.Uint16(b[vnetSizeAt:]))
	}
	h, ok := parseOne(b[vnetLen+etherLen:])
	if !ok || size == 0 {
		return []Heard{h}, ok
	}
	for part := range slices.Chunk(h.Payload, size) {
		list = append(list, Heard{h.At, h.From, h.To, part})
	}
	return list, true
}

func parseOne(b []byte) (h Heard, ok bool) {
	if len(b) < 28 || b[0] != 0x45 || b[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return h, false
	}
	n := int(binary.BigEndian.Uint16(b[24:]))
	if n < 8 || 20+n > len(b) {
		return h, false
	}
	return Heard{At: time.Now(), From: netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), binary.BigEndian.Uint16(b[20:])),
		To: netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), binary.BigEndian.Uint16(b[22:])), Payload: slices.Clone(b[28 : 20+n])}, true
}

// Heard gives what was heard so far.
func (e *Ear) Heard() []Heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// Stop ends it.
func (e *Ear) Stop() {
	close(e.done)
	e.all.Wait()
	unix.Close(e.fd)
}
