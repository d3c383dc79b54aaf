package edge

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
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
	port   func() uint16 // another one for each receiver; nil: one for all
}

// behind is where every host behind a box is.
var behind = netip.MustParseAddr("192.168.1.2")

func (b *box) open() (udp.Socket, error) {
	s := &inside{box: b, outer: map[netip.AddrPort]udp.Socket{}, sent: map[[2]netip.AddrPort]bool{}, come: make(chan udp.Burst, 1024), done: make(chan struct{})}
	if b.port == nil {
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
	if s.box.port != nil {
		port = s.box.port()
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

// behindBoxes starts two edges behind boxes, which two supernodes see, and waits until each has a straight way to the other.
func behindBoxes(t *testing.T, boxes [2]*box, args ...string) *world {
	network := udp.NewNetwork()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	second := netip.MustParseAddrPort("192.0.2.2:7654")
	var socks []udp.Socket
	var key *n2n.HeaderKey
	if cfg := config(t, 1, args...); cfg.HeaderEncryption {
		key = n2n.NewHeaderKey(cfg.community)
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
	t.Cleanup(func() {
		cancel()
		time.Sleep(100 * time.Millisecond) // for goodbyes
		for _, s := range socks {
			s.Close()
		}
		all.Wait()
	})
	var edges []*Edge
	var kernels []*tap.Fake
	for i, b := range boxes {
		b.net = network
		sock, err := b.open()
		if err != nil {
			t.Fatal(err)
		}
		kernel := tap.NewFake("mem", 256)
		e, err := newEdge(config(t, byte(i+1), args...), Identity{MAC: mac(byte(i + 1))},
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
	copy(back, append(bytes.Clone(back[6:12]), back[:6]...)) // from edge 2 to edge 1
	for end := time.Now().Add(20 * time.Second); !direct(w.a) || !direct(w.b); {
		w.await(t, offload.Header{}, frame(100, 1))
		w.kernelB.Send(offload.Header{}, back)
		if time.Now().After(end) {
			t.Fatalf("not direct: %+v\n%+v", w.a.status().Peering, w.b.status().Peering)
		}
	}
	if at := w.b.status().Peering.Peers[0].Addr; at.Addr() != boxes[0].public {
		t.Errorf("direct to %v", at)
	}
	relayed := w.a.table.find(mac(2)).SentRelay.Load()
	w.await(t, offload.Header{}, frame(300, 2))
	if n := w.a.table.find(mac(2)).SentRelay.Load(); n != relayed {
		t.Errorf("%d frames went by the supernode", n-relayed)
	}
	return w
}

// An edge behind a NAT that draws ports and one behind a NAT that filters find each other by a fan; what they then send goes by
// the socket that was found, in both directions, and the other sockets are closed.
func TestFan(t *testing.T) {
	for _, args := range []string{"-transform null", "-transform speck -header-encryption -workers 2"} {
		t.Run(args, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			boxes := [2]*box{{public: at(1), port: func() uint16 { return uint16(1024 + random.IntN(64512)) }}, {public: at(2)}}
			w := behindBoxes(t, boxes, append(strings.Fields(args), "-fan-draws", "16384", "-fan-rate", "10000")...)
			w.a.fans.mu.Lock()
			defer w.a.fans.mu.Unlock()
			if ways := w.a.fans.ways.Load(); ways == nil || len(*ways) != 1 || len(w.a.fans.open) != 0 {
				t.Errorf("ways %v, and %d fans are still open", ways, len(w.a.fans.open))
			}
		})
	}
}

// A NAT that counts ports up is left and entered without a fan: the next port is guessed.
func TestPortPrediction(t *testing.T) {
	next := uint16(30000)
	boxes := [2]*box{{public: at(1), port: func() uint16 { next++; return next }}, {public: at(2)}}
	w := behindBoxes(t, boxes, "-transform", "null", "-fan-sockets", "0")
	if at := w.b.status().Peering.Peers[0].Addr; at.Port() < 30002 || at.Port() > 30020 {
		t.Errorf("direct to %v", at)
	}
}

// A peer that has found a socket needs no more of them, and the end leaves none open.
func TestFansEnd(t *testing.T) {
	network := udp.NewNetwork()
	to := netip.MustParseAddrPort("203.0.113.2:5000")
	var f fans
	var socks []udp.Socket
	open := func() udp.Socket {
		sock, err := network.Open(netip.AddrPortFrom(at(1), 0))
		if err != nil {
			t.Fatal(err)
		}
		socks = append(socks, sock)
		return sock
	}
	first, second := open(), open()
	if !f.add(to, first) || !f.add(to, second) {
		t.Fatal("no room in a fan")
	}
	if !f.choose(second, to) || f.choose(first, to) {
		t.Error("the first that is found is the way, and no other")
	}
	if late := open(); f.add(to, late) {
		t.Error("a peer that has found a socket gets another one")
	} else {
		late.Close()
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if last := open(); f.add(to, last) {
		t.Error("a fan after the end")
	} else {
		last.Close()
	}
	for i, sock := range socks {
		if _, err := sock.Receive([]udp.Received{{Buf: make([]byte, 9)}}); !errors.Is(err, udp.ErrClosed) {
			t.Errorf("socket %d is left open: %v", i, err)
		}
	}
}
