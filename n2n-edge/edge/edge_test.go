package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/offload"
	"sonic-netservices/n2n-edge/edge/tap"
	"sonic-netservices/n2n-edge/edge/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var supernodeAt = netip.MustParseAddrPort("192.0.2.1:7654")

// supernode is as much of one as two edges need.
type supernode struct {
	sock   udp.Socket
	edges  map[n2n.MAC]netip.AddrPort
	key    *n2n.HeaderKey
	stamp  n2n.Stamper
	others []netip.AddrPort
}

func (s *supernode) run() {
	room := []udp.Received{{Buf: make([]byte, udp.MaxReceive)}}
	for {
		if _, err := s.sock.Receive(room); err != nil {
			return
		}
		r := &room[0]
		size := r.Segment
		if size == 0 {
			size = r.N
		}
		for at := 0; at < r.N; at += size {
			b := bytes.Clone(r.Buf[at:min(at+size, r.N)])
			if s.key != nil {
				if _, _, err := s.key.Open(b); err != nil {
					continue
				}
			}
			s.message(r.From, b)
		}
	}
}

func (s *supernode) message(from netip.AddrPort, b []byte) {
	h, err := n2n.ParseHeader(b)
	if err != nil {
		return
	}
	own := n2n.Header{TTL: 2, Flags: n2n.FromSupernode, Community: h.Community}
	switch h.Type {
	case n2n.TypeRegisterSuper:
		var m n2n.RegisterSuper
		if m.Decode(b) == nil {
			s.edges[m.MAC] = from
			a := n2n.RegisterSuperAck{Header: own, Cookie: m.Cookie, MAC: n2n.MAC{0xaa}, Sock: from}
			for _, other := range s.others {
				a.Supernodes = a.Supernodes.Append(n2n.Supernode{Addr: other})
			}
			s.send(from, a.Append(nil), 0)
		}
	case n2n.TypeQueryPeer:
		var m n2n.QueryPeer
		if m.Decode(b) == nil && m.Target.IsZero() {
			s.send(from, (&n2n.PeerInfo{Header: own, Src: n2n.MAC{0xaa}, Sock: from}).Append(nil), 0)
		} else if at, ok := s.edges[m.Target]; ok {
			s.send(from, (&n2n.PeerInfo{Header: own, Src: m.Src, MAC: m.Target, Sock: at}).Append(nil), 0)
		}
	case n2n.TypePacket, n2n.TypeRegister:
		dst := n2n.MAC(b[30:])
		head := 46
		if h.Type == n2n.TypeRegister {
			dst, head = n2n.MAC(b[34:]), 0
		}
		buf := append(make([]byte, n2n.MaxSockLen), b...)
		at, err := n2n.Relay(buf, n2n.MaxSockLen, from)
		if err != nil {
			return
		}
		for mac, to := range s.edges {
			if mac == dst || dst.IsBroadcast() && to != from {
				s.send(to, bytes.Clone(buf[at:]), head)
			}
		}
	}
}

func (s *supernode) send(to netip.AddrPort, b []byte, head int) {
	if s.key != nil {
		if head == 0 {
			head = len(b)
		}
		s.key.Seal(b, head, s.stamp.Next(time.Now()), 1)
	}
	_ = s.sock.Send([]udp.Burst{{To: to, Data: b}})
}

// still is a host whose network never changes.
type still struct{ addr netip.Addr }

func (s still) Addrs() ([]netip.Addr, error) { return []netip.Addr{s.addr}, nil }
func (s still) Changes() <-chan struct{}     { return nil }
func mac(n byte) n2n.MAC                     { return n2n.MAC{2, 0, 0, 0, 0, n} }
func at(n byte) netip.Addr                   { return netip.AddrFrom4([4]byte{198, 51, 100, n}) }
func overlay(n byte) [4]byte                 { return [4]byte{10, 99, 0, n} }
func quiet() *slog.Logger                    { return slog.New(slog.DiscardHandler) }
func resolveTo(a netip.AddrPort) func(context.Context, string) ([]netip.AddrPort, error) {
	return func(context.Context, string) ([]netip.AddrPort, error) { return []netip.AddrPort{a}, nil }
}

// config is what flags say, for edge n.
func config(t testing.TB, n byte, args ...string) *Config {
	t.Helper()
	flags := flag.NewFlagSet("edge", flag.ContinueOnError)
	cfg := new(Config)
	cfg.Flags(flags)
	if err := flags.Parse(append([]string{"-community", "net", "-supernodes", supernodeAt.String(), "-address", fmt.Sprintf("10.99.0.%d/24", n),
		"-key", "secret", "-status", "none", "-metrics", "none", "-description", fmt.Sprint("edge", n)}, args...)); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Complete(t.Context(), nil, ""); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// world is two edges on an underlay in memory.
type world struct {
	a, b *Edge
	// what the kernels behind them have
	kernelA, kernelB *tap.Fake
}

func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	network := udp.NewNetwork()
	sock, err := network.Open(supernodeAt)
	if err != nil {
		t.Fatal(err)
	}
	sn := &supernode{sock: sock, edges: map[n2n.MAC]netip.AddrPort{}}
	w := &world{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	start := func(n byte) (*Edge, *tap.Fake) {
		cfg := config(t, n, args...)
		if cfg.HeaderEncryption {
			sn.key = n2n.NewHeaderKey(cfg.community)
		}
		sock, err := network.Open(netip.AddrPortFrom(at(n), 0))
		if err != nil {
			t.Fatal(err)
		}
		device := tap.NewFake("mem", 256)
		e, err := newEdge(cfg, Identity{MAC: mac(n)}, Doors{device, sock, nil, still{at(n)}, resolveTo(supernodeAt)}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		return e, device
	}
	w.a, w.kernelA = start(1)
	w.b, w.kernelB = start(2)
	done := make(chan struct{})
	go func() { defer close(done); sn.run() }()
	for _, e := range []*Edge{w.a, w.b} {
		go func() { ended <- e.run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		sock.Close()
		<-done
	})
	return w
}

// frame makes an Ethernet frame of nobody's protocol from edge 1 to edge 2.
func frame(n int, fill byte) []byte {
	to, from := mac(2), mac(1)
	b := append(append(to[:], from[:]...), 0x88, 0xb5)
	return append(b, bytes.Repeat([]byte{fill}, n)...)
}

// await lets the kernel behind edge 1 send until the one behind edge 2 has it.
func (w *world) await(t *testing.T, h offload.Header, want []byte) tap.Frame {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		w.kernelA.Send(h, want)
		again := time.After(50 * time.Millisecond)
	wait:
		for {
			select {
			case got := <-w.kernelB.Received:
				if bytes.Equal(got.Bytes, want) {
					return got
				}
			case <-again:
				break wait
			case <-late:
				t.Fatalf("no frame of %d bytes came: %+v", len(want), w.b.status())
			}
		}
	}
}

func direct(e *Edge) bool {
	for _, p := range e.status().Peering.Peers {
		if p.Path == "direct" {
			return true
		}
	}
	return false
}

func TestFramesGoStraight(t *testing.T) {
	for _, args := range []string{"-transform null", "-transform twofish", "-transform aes", "-transform chacha20", "-transform speck",
		"-transform null -header-encryption", "-transform aes -header-encryption", "-transform aes -workers 3", "-transform speck -header-encryption -workers 2"} {
		t.Run(args, func(t *testing.T) {
			w := newWorld(t, strings.Fields(args)...)
			w.await(t, offload.Header{}, frame(100, 1))
			for end := time.Now().Add(10 * time.Second); !direct(w.a) || !direct(w.b); {
				if time.Now().After(end) {
					t.Fatalf("not direct: %+v", w.a.status().Peering)
				}
				time.Sleep(10 * time.Millisecond)
			}
			relayed := w.a.table.find(mac(2)).SentRelay.Load()
			// A large TCP segment is cut, crosses as many packets, and comes out as it was.
			h, big := largeTCP(1, 2, 40_000)
			if got := w.await(t, h, big); got.Header != h {
				t.Errorf("came with %+v, went with %+v", got.Header, h)
			}
			if n := w.a.table.find(mac(2)).SentRelay.Load(); n != relayed {
				t.Errorf("%d packets went by the supernode although there is a straight way", n-relayed)
			}
		})
	}
}

func TestFramesGoByTheSupernode(t *testing.T) {
	w := newWorld(t, "-relay-only")
	w.await(t, offload.Header{}, frame(100, 1))
	if direct(w.a) || w.b.table.find(mac(1)).ReceivedDirect.Load() > 0 {
		t.Error("straight, although that is off")
	}
	if why := w.a.status().Peering.Peers[0].Why; why != "this edge sends by the supernode only" {
		t.Errorf("why: %q", why)
	}
}

// An edge is no router: what is not of or for its host neither leaves nor enters.
func TestForeignAddressesAreFiltered(t *testing.T) {
	for _, routing := range []bool{false, true} {
		e, _ := pathOf(t, fmt.Sprintf("-routing=%v", routing))
		_, own := largeTCP(1, 2, 100)
		_, other := largeTCP(7, 2, 100)
		_, in := largeTCP(2, 1, 100)
		_, through := largeTCP(2, 7, 100)
		if !e.mayLeave(own, mac(2)) || e.mayLeave(other, mac(2)) != routing || !e.mayEnter(in) || e.mayEnter(through) != routing {
			t.Errorf("routing %v: own %v, other's %v, for us %v, through %v", routing, e.mayLeave(own, mac(2)), e.mayLeave(other, mac(2)), e.mayEnter(in), e.mayEnter(through))
		}
	}
	e, _ := pathOf(t, "-multicast=false")
	all, group := n2n.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, n2n.MAC{0x33, 0x33}
	if !e.mayLeave(append(all[:], make([]byte, 20)...), all) || e.mayLeave(append(group[:], make([]byte, 20)...), group) {
		t.Error("without multicast: broadcast has to leave, multicast not")
	}
}

// A route may lead the edge's own packets into the overlay: they go no further.
func TestOwnPacketsGoNoFurther(t *testing.T) {
	e, door := pathOf(t, "-routing")
	seal, err := e.newSealer()
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{e: e, seal: seal, out: newBatch()}
	_, b := largeTCP(1, 2, 100)
	b[23] = 17 // UDP
	for _, c := range []struct {
		what string
		at   int
		is   byte
		own  bool
	}{{"as it is", 35, byte(door.Port()), true}, {"another port", 35, 9, false}, {"another address", 29, 7, false}, {"TCP", 23, 6, false}, {"a later fragment", 21, 1, false}} {
		frame := bytes.Clone(b)
		frame[34], frame[35], frame[20], frame[21] = 0, byte(door.Port()), 0, 0
		frame[c.at] = c.is
		before := e.count.drops[dropLoop].Load()
		s.frame(offload.Header{}, frame)
		if own := e.count.drops[dropLoop].Load() > before; own != c.own {
			t.Errorf("%s: taken for its own: %v", c.what, own)
		}
	}
}

// largeTCP is a segment as the kernel hands it over to be cut, from one edge's address to another's.
func largeTCP(from, to byte, n int) (offload.Header, []byte) {
	dst, src := mac(to), mac(from)
	b := append(append(dst[:], src[:]...), 0x08, 0x00, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(40+n))
	b = append(b, 0, 1, 0x40, 0, 64, 6, 0, 0)
	a := overlay(from)
	b = append(b, a[:]...)
	a = overlay(to)
	b = append(b, a[:]...)
	binary.BigEndian.PutUint16(b[24:], ^ones(b[14:34], 0))
	b = append(b, 0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0)
	for i := range n {
		b = append(b, byte(i*7))
	}
	binary.BigEndian.PutUint16(b[50:], ones(b[26:34], uint32(6+20+n)))
	return offload.Header{Flags: 1, GSO: 1, HeaderLen: 54, SegmentSize: 1200, ChecksumStart: 34, ChecksumOffset: 16}, b
}

// ones is the sum of RFC 1071, as its text has it.
func ones(b []byte, sum uint32) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// sink is a socket and a device that take everything.
type sink struct {
	udp.Socket
	tap.Device
	last []udp.Burst
}

func (s *sink) Send(b []udp.Burst) error                   { s.last = b; return nil }
func (s *sink) Features() udp.Features                     { return udp.Features{} }
func (s *sink) WriteFrame(*offload.Header, [][]byte) error { return nil }
func (s *sink) SetAddress(netip.Prefix) error              { return nil }
func (s *sink) Name() string                               { return "sink" }
func (s *sink) Offload() bool                              { return true }
func (s *sink) Close() error                               { return nil }
func (s *sink) Source(netip.AddrPort) (netip.Addr, error)  { return at(1), nil }
func (s *sink) Port() uint16                               { return 1 }

// pathOf is an edge without its goroutines, that knows a straight way to edge 2.
func pathOf(t testing.TB, args ...string) (*Edge, *sink) {
	t.Helper()
	door := &sink{}
	e, err := newEdge(config(t, 1, args...), Identity{MAC: mac(1)}, Doors{door, door, nil, still{at(1)}, nil}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.assign(e.cfg.address); err != nil {
		t.Fatal(err)
	}
	e.table.get(mac(2)).way.Store(&way{netip.AddrPortFrom(at(2), 5000), true})
	return e, door
}

func TestPacketsDoNotAllocate(t *testing.T) {
	for _, args := range []string{"-transform null", "-transform aes", "-transform chacha20", "-transform speck -header-encryption"} {
		e, door := pathOf(t, strings.Fields(args)...)
		seal, err := e.newSealer()
		if err != nil {
			t.Fatal(err)
		}
		s := &sender{e: e, seal: seal, out: newBatch()}
		h, big := largeTCP(1, 2, 40_000)
		s.frame(h, big)
		s.flush()
		if n := testing.AllocsPerRun(50, func() { s.frame(h, big); s.flush() }); n >= 1 { // once a second the machine is told
			t.Errorf("%s: %v allocations for a frame that leaves", args, n)
		}
		if n := e.count.sent.Load(); n < 50*34 {
			t.Errorf("%s: %d packets", args, n)
		}
		in, _ := pathOf(t, strings.Fields(args)...)
		in.mac = mac(2)
		in.address.Store(nil)
		open, err := in.newOpener()
		if err != nil {
			t.Fatal(err)
		}
		r := in.receiver
		var list []arrival
		come := udp.Received{Buf: make([]byte, udp.MaxReceive), From: netip.AddrPortFrom(at(1), 5000)}
		if n := testing.AllocsPerRun(50, func() {
			s.frame(h, big)
			s.flush()
			burst := &door.last[0]
			come.N, come.Segment = copy(come.Buf, burst.Data), burst.Segment
			list = open.open(list[:0], &come)
			r.all(time.Now(), list, come.From)
			r.flush()
		}); n >= 1 {
			t.Errorf("%s: %v allocations for a burst that comes", args, n)
		}
		if written, come := in.count.written.Load(), in.count.received.Load(); come < 50*34 || written > come/30 {
			t.Errorf("%s: %d frames of %d packets: not joined; drops %v", args, written, come, in.status().Drops)
		}
	}
}

// What is replayed, forged or of others is dropped, and counted by the reason.
func TestBadPacketsAreCounted(t *testing.T) {
	e, door := pathOf(t, "-transform", "speck", "-header-encryption")
	seal, err := e.newSealer()
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{e: e, seal: seal, out: newBatch()}
	s.frame(offload.Header{}, frame(200, 3))
	s.flush()
	good := bytes.Clone(door.last[0].Data)
	late := bytes.Clone(good)

	in, _ := pathOf(t, "-transform", "speck", "-header-encryption")
	in.mac = mac(2)
	open, err := in.newOpener()
	if err != nil {
		t.Fatal(err)
	}
	r := in.receiver
	from := netip.AddrPortFrom(at(1), 5000)
	take := func(b []byte, now time.Time) {
		come := udp.Received{Buf: bytes.Clone(b), N: len(b), From: from}
		for _, a := range open.open(nil, &come) {
			r.deliver(now, &a, from)
		}
	}
	now := time.Now()
	for _, c := range []struct {
		what string
		b    []byte
		now  time.Time
		want drop
	}{
		{"as it is", good, now, drops},
		{"much later", late, now.Add(time.Minute), dropReplay},
		{"changed", append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), now, dropKey},
		{"cut", good[:40], now, dropKey},
		{"short", good[:3], now, dropKey},
		{"clear", (&n2n.Packet{Header: n2n.Header{TTL: 2, Community: in.cfg.community}, Dst: mac(2), Payload: make([]byte, 100)}).Append(nil), now, dropKey},
	} {
		var before [drops]uint64
		for d := range drops {
			before[d] = in.count.drops[d].Load()
		}
		take(c.b, c.now)
		for d := range drops {
			if n := in.count.drops[d].Load() - before[d]; (n == 1) != (d == c.want) {
				t.Errorf("%s: %s counted %d times", c.what, dropNames[d], n)
			}
		}
	}
}

// Who knows the community's name can seal a packet in a peer's name, stamped ahead of time. From elsewhere than the peer it does not
// make the peer's own packets look old; what the peer sent before is a replay from everywhere.
func TestStampsAheadShutNobodyOut(t *testing.T) {
	args := []string{"-transform", "speck", "-header-encryption"}
	in, _ := pathOf(t, args...)
	peer, stranger := netip.AddrPortFrom(at(2), 5000), netip.MustParseAddrPort("203.0.113.66:666")
	now := time.Now()
	take := func(from netip.AddrPort, ahead time.Duration) (replays uint64) {
		h := n2n.Header{TTL: 2, Community: in.cfg.community}
		before := in.count.drops[dropReplay].Load()
		for _, b := range [][]byte{(&n2n.Register{Header: h, Rank: n2n.RankRegular, Src: mac(2), Dst: mac(1)}).Append(nil),
			(&n2n.Packet{Header: h, Src: mac(2), Dst: mac(1), Compression: n2n.CompressionNone, Transform: n2n.TransformSpeck, Payload: make([]byte, 80)}).Append(nil)} {
			in.keys.static.Seal(b, min(len(b), n2n.PacketHeaderLen), n2n.StampAt(now.Add(ahead)), 1)
			come := udp.Received{Buf: b, N: len(b), From: from}
			for _, a := range in.receiver.open.open(nil, &come) {
				in.receiver.deliver(now, &a, from)
			}
		}
		return in.count.drops[dropReplay].Load() - before
	}
	for _, c := range []struct {
		what  string
		from  netip.AddrPort
		ahead time.Duration
		want  uint64
	}{{"the peer", peer, 0, 0}, {"a stranger, ahead", stranger, 10 * time.Second, 0}, {"the peer again", peer, time.Second, 0},
		{"a stranger, with what the peer sent", stranger, 0, 2}} {
		if n := take(c.from, c.ahead); n != c.want {
			t.Errorf("%s: %d taken for replays, want %d: %v", c.what, n, c.want, in.status().Drops)
		}
	}
}

// Workers take their time; what they made comes out in order all the same.
func TestLineKeepsOrder(t *testing.T) {
	l := newLine(8, func() int { return 0 })
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			l.workOn(func(n *int) {
				time.Sleep(time.Duration(*n%3) * time.Millisecond)
				*n *= 2
			})
		})
	}
	all.Go(func() {
		for i := range 100 {
			task := l.take()
			task.of = i
			l.give(task)
		}
		l.close()
	})
	i := 0
	for task := l.next(true); task != nil; task = l.next(true) {
		if task.of != 2*i {
			t.Errorf("%d came as number %d", task.of, i)
		}
		i++
		l.back(task)
	}
	if i != 100 {
		t.Errorf("%d of 100 came", i)
	}
	all.Wait()
}
