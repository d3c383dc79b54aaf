package edge

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/offload"
	"sonic-netservices/n2n-edge/edge/tap"
	"sonic-netservices/n2n-edge/edge/udp"
)

// box is a NAT box. It lets in only who was sent to, from that port.
type box struct {
	net    *udp.Network
	public netip.Addr
	draws  *rand.Rand // another port for each receiver; nil: one for all
}

// behind is where every host behind a box is.
var behind = netip.MustParseAddr("192.168.1.2")

func (b *box) open() (udp.Socket, error) {
	s := &inside{box: b, outer: map[netip.AddrPort]udp.Socket{}, sent: map[[2]netip.AddrPort]bool{}, come: make(chan udp.Burst, 1024), done: make(chan struct{})}
	if b.draws == nil {
		outer, err := s.leave(netip.AddrPort{})
		if err != nil {
			return nil, err
		}
		s.one = outer
	}
	return s, nil
}

// inside is a socket behind a box.
type inside struct {
	udp.Socket // what nobody calls here
	box        *box
	one        udp.Socket // nil: there is one for each receiver
	come       chan udp.Burst
	done       chan struct{}
	once       sync.Once
	pumps      sync.WaitGroup

	mu     sync.Mutex
	closed bool
	outer  map[netip.AddrPort]udp.Socket // by receiver
	sent   map[[2]netip.AddrPort]bool    // from, to
}

// leave takes a port of the box. mu is held, or s not shared yet.
func (s *inside) leave(to netip.AddrPort) (udp.Socket, error) {
	port := uint16(0)
	if s.box.draws != nil {
		port = uint16(1024 + s.box.draws.IntN(64512))
	}
	outer, err := s.box.net.Open(netip.AddrPortFrom(s.box.public, port))
	if err != nil {
		return nil, err
	}
	s.outer[to] = outer
	s.pumps.Go(func() {
		room := []udp.Received{{Buf: make([]byte, udp.MaxReceive)}}
		for {
			if _, err := outer.Receive(room); err != nil {
				return
			}
			r := &room[0]
			at := netip.AddrPortFrom(s.box.public, outer.Port())
			s.mu.Lock()
			welcome := s.sent[[2]netip.AddrPort{at, r.From}]
			s.mu.Unlock()
			if welcome {
				select {
				case s.come <- udp.Burst{To: r.From, Data: bytes.Clone(r.Buf[:r.N]), Segment: r.Segment}:
				default:
				}
			}
		}
	})
	return outer, nil
}

func (s *inside) Send(bursts []udp.Burst) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return udp.ErrClosed
	}
	for _, b := range bursts {
		outer := s.one
		if outer == nil {
			outer = s.outer[b.To]
		}
		if outer == nil {
			var err error
			if outer, err = s.leave(b.To); err != nil {
				return err
			}
		}
		s.sent[[2]netip.AddrPort{netip.AddrPortFrom(s.box.public, outer.Port()), b.To}] = true
		if err := outer.Send([]udp.Burst{b}); err != nil {
			return err
		}
	}
	return nil
}

func (s *inside) Receive(b []udp.Received) (int, error) {
	select {
	case <-s.done:
		return 0, udp.ErrClosed
	case burst := <-s.come:
		b[0].N, b[0].Segment, b[0].From = copy(b[0].Buf, burst.Data), burst.Segment, burst.To
		return 1, nil
	}
}

func (s *inside) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, outer := range s.outer {
		outer.Close()
	}
	s.mu.Unlock()
	s.once.Do(func() { close(s.done) })
	s.pumps.Wait()
	return nil
}

func (s *inside) Port() uint16                              { return 4000 }
func (s *inside) Source(netip.AddrPort) (netip.Addr, error) { return behind, nil }
func (s *inside) Features() udp.Features                    { return udp.Features{} }

// An edge behind a NAT that draws ports and one behind a NAT that filters find each other by a fan; what they then send goes by
// the socket that was found, in both directions, and the other sockets are closed.
func TestFan(t *testing.T) {
	for _, args := range [][]string{{"-transform", "null"}, {"-transform", "speck", "-header-encryption", "-workers", "2"}} {
		network := udp.NewNetwork()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		second := netip.MustParseAddrPort("192.0.2.2:7654")
		var socks []udp.Socket
		var key *n2n.HeaderKey
		if len(args) > 2 {
			key = n2n.NewHeaderKey(config(t, 1, args...).community)
		}
		for at, others := range map[netip.AddrPort][]netip.AddrPort{supernodeAt: {second}, second: nil} {
			sock, err := network.Open(at)
			if err != nil {
				t.Fatal(err)
			}
			socks = append(socks, sock)
			sn := &supernode{sock: sock, edges: map[n2n.MAC]netip.AddrPort{}, key: key, others: others}
			all.Go(sn.run)
		}
		boxes := []*box{{network, at(1), rand.New(rand.NewPCG(1, 2))}, {network, at(2), nil}}
		var edges []*Edge
		var kernels []*tap.Fake
		for i, b := range boxes {
			sock, err := b.open()
			if err != nil {
				t.Fatal(err)
			}
			kernel := tap.NewFake("mem", 256)
			more := append([]string{"-fan-draws", "16384", "-fan-rate", "10000"}, args...)
			e, err := newEdge(config(t, byte(i+1), more...), Identity{MAC: mac(byte(i + 1))},
				Doors{kernel, sock, b.open, still{behind}, resolveTo(supernodeAt)}, quiet())
			if err != nil {
				t.Fatal(err)
			}
			edges, kernels = append(edges, e), append(kernels, kernel)
			all.Go(func() {
				if err := e.run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		w := &world{a: edges[0], b: edges[1], kernelA: kernels[0], kernelB: kernels[1]}
		back := frame(60, 9)
		copy(back, append(append([]byte{}, back[6:12]...), back[:6]...)) // from edge 2 to edge 1
		for end := time.Now().Add(20 * time.Second); !direct(w.a) || !direct(w.b); {
			w.await(t, offload.Header{}, frame(100, 1))
			w.kernelB.Send(offload.Header{}, back)
			if time.Now().After(end) {
				t.Fatalf("%v: not direct: %+v\n%+v", args, w.a.status().Peering, w.b.status().Peering)
			}
		}
		if at := w.b.status().Peering.Peers[0].Addr; at.Addr() != boxes[0].public {
			t.Errorf("%v: direct to %v", args, at)
		}
		relayed := w.a.table.find(mac(2)).SentRelay.Load()
		w.await(t, offload.Header{}, frame(300, 2))
		if n := w.a.table.find(mac(2)).SentRelay.Load(); n != relayed {
			t.Errorf("%v: %d frames went by the supernode", args, n-relayed)
		}
		w.a.fans.mu.Lock()
		if ways := w.a.fans.ways.Load(); ways == nil || len(*ways) != 1 || len(w.a.fans.open) != 0 {
			t.Errorf("%v: ways %v, and %d fans are still open", args, ways, len(w.a.fans.open))
		}
		w.a.fans.mu.Unlock()
		cancel()
		time.AfterFunc(100*time.Millisecond, func() {
			for _, s := range socks {
				s.Close()
			}
		})
		all.Wait()
	}
}
