package udp

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Network is an underlay in memory: its sockets reach each other, in order and without loss as long as there is room.
type Network struct {
	mu      sync.Mutex
	sockets map[netip.AddrPort]*fake
	next    uint16
}

// NewNetwork makes an underlay without sockets.
func NewNetwork() *Network {
	return &Network{sockets: map[netip.AddrPort]*fake{}, next: 40000}
}

// Open binds a socket at an address of this network.
func (n *Network) Open(at netip.AddrPort) (Socket, error) {
	f := &fake{net: n, want: at, come: make(chan Burst, 1024), done: make(chan struct{})}
	return f, f.bind()
}

type fake struct {
	net  *Network
	want netip.AddrPort
	at   atomic.Pointer[netip.AddrPort]
	come chan Burst // To is the sender
	done chan struct{}
	once sync.Once
}

func (f *fake) bind() error {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	at := f.want
	if at.Port() == 0 {
		f.net.next++
		at = netip.AddrPortFrom(at.Addr(), f.net.next)
	}
	if f.net.sockets[at] != nil {
		return fmt.Errorf("udp: bind %v: in use", at)
	}
	f.net.sockets[at] = f
	f.at.Store(&at)
	return nil
}

func (f *fake) unbind() {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	delete(f.net.sockets, *f.at.Load())
}

func (f *fake) Receive(b []Received) (int, error) {
	select {
	case <-f.done:
		return 0, ErrClosed
	default:
	}
	select {
	case <-f.done:
		return 0, ErrClosed
	case burst := <-f.come:
		b[0].N, b[0].Segment, b[0].From = copy(b[0].Buf, burst.Data), burst.Segment, burst.To
		return 1, nil
	}
}

func (f *fake) Send(bursts []Burst) error {
	var first error
	for _, b := range bursts {
		if !b.To.IsValid() {
			first = fmt.Errorf("udp: send to %v: no address", b.To)
			continue
		}
		step := len(b.Data)
		if b.Segment > 0 && b.Segment < len(b.Data) {
			step = b.Segment * min(MaxSegments, MaxBurst/b.Segment)
		}
		f.net.mu.Lock()
		to := f.net.sockets[b.To]
		f.net.mu.Unlock()
		for at := 0; to != nil && at < len(b.Data); at += step {
			part := Burst{To: *f.at.Load(), Data: append([]byte(nil), b.Data[at:min(at+step, len(b.Data))]...)}
			if b.Segment < len(part.Data) {
				part.Segment = b.Segment
			}
			select {
			case to.come <- part:
			default: // no room: lost
			}
		}
	}
	return first
}

func (f *fake) Rebind() error {
	select {
	case <-f.done:
		return ErrClosed
	default:
	}
	f.unbind()
	return f.bind()
}

func (f *fake) Port() uint16 { return f.at.Load().Port() }

func (f *fake) Source(netip.AddrPort) (netip.Addr, error) { return f.want.Addr(), nil }

func (f *fake) Features() Features { return Features{GSO: true, GRO: true, IPv6: true} }

func (f *fake) Close() error {
	f.once.Do(func() { close(f.done); f.unbind() })
	return nil
}
