package udp

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// pair are two sockets that reach each other, and where.
type pair struct {
	a, b     Socket
	toA, toB func() netip.AddrPort
}

// Both the kernel's sockets and those in memory keep to the contract.
func TestContract(t *testing.T) {
	real := func(cfg Config, ip string) func(*testing.T) pair {
		return func(t *testing.T) pair {
			a, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			at := func(s Socket) func() netip.AddrPort {
				return func() netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), s.Port()) }
			}
			return pair{a, b, at(a), at(b)}
		}
	}
	memory := func(t *testing.T) pair {
		n := NewNetwork()
		open := func(ip string) (Socket, func() netip.AddrPort) {
			addr := netip.MustParseAddr(ip)
			s, err := n.Open(netip.AddrPortFrom(addr, 0))
			if err != nil {
				t.Fatal(err)
			}
			return s, func() netip.AddrPort { return netip.AddrPortFrom(addr, s.Port()) }
		}
		a, toA := open("192.0.2.1")
		b, toB := open("192.0.2.2")
		return pair{a, b, toA, toB}
	}
	for name, open := range map[string]func(*testing.T) pair{"IPv4": real(Config{}, "127.0.0.1"), "IPv6": real(Config{}, "::1"),
		"one by one": real(Config{NoOffload: true}, "127.0.0.1"), "memory": memory} {
		t.Run(name, func(t *testing.T) {
			for what, test := range map[string]func(*testing.T, pair){"datagram": datagram, "burst": burst, "many bursts": manyBursts,
				"nobody": nobody, "rebind": rebind, "close": closing} {
				t.Run(what, func(t *testing.T) {
					p := open(t)
					defer p.b.Close()
					defer p.a.Close()
					test(t, p)
				})
			}
		})
	}
}

// take reads n datagrams.
func take(t *testing.T, s Socket, n int) (list [][]byte, from netip.AddrPort) {
	t.Helper()
	room := []Received{{Buf: make([]byte, MaxReceive)}, {Buf: make([]byte, MaxReceive)}, {Buf: make([]byte, MaxReceive)}}
	late := time.AfterFunc(10*time.Second, func() { s.Close() })
	defer late.Stop()
	for len(list) < n {
		k, err := s.Receive(room)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(list), n, err)
		}
		for _, r := range room[:k] {
			from = r.From
			step := r.Segment
			if step == 0 {
				step = r.N
			}
			for at := 0; at < r.N; at += step {
				list = append(list, bytes.Clone(r.Buf[at:min(at+step, r.N)]))
			}
		}
	}
	return list, from
}

func send(t *testing.T, s Socket, b ...Burst) {
	t.Helper()
	if err := s.Send(b); err != nil {
		t.Fatal(err)
	}
}

func datagram(t *testing.T, p pair) {
	send(t, p.a, Burst{To: p.toB(), Data: []byte("hello"), TTL: 3})
	got, from := take(t, p.b, 1)
	if string(got[0]) != "hello" || from != p.toA() {
		t.Errorf("%q from %v, want hello from %v", got[0], from, p.toA())
	}
	send(t, p.b, Burst{To: from, Data: []byte("back")})
	if got, _ := take(t, p.a, 1); string(got[0]) != "back" {
		t.Errorf("%q", got[0])
	}
}

// numbered makes datagrams of equal size, but for the last one.
func numbered(n, size, last int) (data []byte) {
	for i := range n {
		k := size
		if i == n-1 {
			k = last
		}
		data = append(data, bytes.Repeat([]byte{byte(i)}, k)...)
	}
	return data
}

func check(t *testing.T, got [][]byte, n, size, last int) {
	t.Helper()
	for i, g := range got {
		want := size
		if i%n == n-1 {
			want = last
		}
		if len(g) != want || g[0] != byte(i%n) || g[len(g)-1] != byte(i%n) {
			t.Fatalf("datagram %d: %d bytes that begin with %d, want %d of %d", i, len(g), g[0], want, i%n)
		}
	}
}

func burst(t *testing.T, p pair) {
	const n, size, last = 150, 900, 17 // more than one burst of the kernel
	send(t, p.a, Burst{To: p.toB(), Data: numbered(n, size, last), Segment: size})
	got, _ := take(t, p.b, n)
	check(t, got, n, size, last)
}

func manyBursts(t *testing.T, p pair) {
	const n, size = 3, 100
	var list []Burst
	for range 80 { // more than one call of the kernel
		list = append(list, Burst{To: p.toB(), Data: numbered(n, size, size), Segment: size})
	}
	send(t, p.a, list...)
	got, _ := take(t, p.b, 80*n)
	check(t, got, n, size, size)
}

// One receiver that cannot be reached does not keep the others from theirs.
func nobody(t *testing.T, p pair) {
	if err := p.a.Send([]Burst{{To: netip.AddrPort{}, Data: []byte("lost")}, {To: p.toB(), Data: []byte("here")}}); err == nil {
		t.Error("no error for an address that is none")
	}
	if got, _ := take(t, p.b, 1); string(got[0]) != "here" {
		t.Errorf("%q", got[0])
	}
}

func rebind(t *testing.T, p pair) {
	before := p.a.Port()
	come := make(chan string)
	go func() {
		room := []Received{{Buf: make([]byte, MaxReceive)}}
		if _, err := p.a.Receive(room); err != nil {
			come <- err.Error()
			return
		}
		come <- string(room[0].Buf[:room[0].N])
	}()
	if err := p.a.Rebind(); err != nil {
		t.Fatal(err)
	}
	if p.a.Port() == before {
		t.Errorf("still port %d", before)
	}
	send(t, p.b, Burst{To: p.toA(), Data: []byte("new")})
	if got := <-come; got != "new" {
		t.Errorf("who waited got %q", got)
	}
}

func closing(t *testing.T, p pair) {
	ended := make(chan error)
	go func() {
		_, err := p.a.Receive([]Received{{Buf: make([]byte, MaxReceive)}})
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond) // so that it mostly waits already
	if err := p.a.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("who waited got %v", err)
	}
	if err := p.a.Rebind(); !errors.Is(err, ErrClosed) {
		t.Errorf("rebind after close: %v", err)
	}
}

func TestRebindKeepsThePortThatWasAskedFor(t *testing.T) {
	free, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	port := free.Port()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Rebind(); err != nil || s.Port() != port {
		t.Errorf("port %d, want %d: %v", s.Port(), port, err)
	}
}

func TestSendAndReceiveDoNotAllocate(t *testing.T) {
	p := pair{}
	var err error
	if p.a, err = Open(Config{}); err != nil {
		t.Fatal(err)
	}
	defer p.a.Close()
	if p.b, err = Open(Config{}); err != nil {
		t.Fatal(err)
	}
	defer p.b.Close()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.b.Port())
	list := []Burst{{To: to, Data: make([]byte, 5000), Segment: 1000}}
	room := []Received{{Buf: make([]byte, MaxReceive)}}
	if n := testing.AllocsPerRun(200, func() {
		if err := p.a.Send(list); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < 5000; got += room[0].N {
			if _, err := p.b.Receive(room); err != nil {
				t.Fatal(err)
			}
		}
	}); n >= 1 { // the pool of the sender may be emptied by a garbage collection
		t.Errorf("%v allocations", n)
	}
}
