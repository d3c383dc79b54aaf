package rendezvous

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sonic-netservices/internal/n2n"
)

// Whatever is put and removed, the index gives what is in it and nothing else, also while others read.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := index{seed: rapid.Uint64().Draw(t, "seed")}
		have := map[n2n.MAC]*edge{}
		for _, op := range rapid.SliceOf(rapid.IntRange(0, 79)).Draw(t, "ops") {
			mac := n2n.MAC{2, 0, 0, 0, 0, byte(op / 2)}
			switch e := have[mac]; {
			case op%2 == 0 && e == nil:
				have[mac] = &edge{mac: mac}
				x.put(have[mac])
			case op%2 == 1 && e != nil:
				x.remove(e)
				delete(have, mac)
			}
		}
		n := 0
		for e := range x.all {
			if have[e.mac] != e {
				t.Fatalf("%s should not be there", e.mac)
			}
			n++
		}
		if n != len(have) || x.live != len(have) {
			t.Fatalf("%d edges, live %d, want %d", n, x.live, len(have))
		}
		for i := range 40 {
			mac := n2n.MAC{2, 0, 0, 0, 0, byte(i)}
			if x.get(mac) != have[mac] {
				t.Fatalf("%s: %v, want %v", mac, x.get(mac), have[mac])
			}
		}
	})
}

// Frames pass while edges come and go: readers see each edge or none, never half of one. (go test -race looks closer.)
func TestForwardWhileEdgesComeAndGo(t *testing.T) {
	c := newCrowd(t, 64, Config{Rate: 1_000_000})
	c.registerAll(t)
	var stop atomic.Bool
	var all sync.WaitGroup
	for n := range 3 {
		w := c.m.Worker(rand.NewChaCha8([32]byte{byte(n)}))
		all.Go(func() {
			var out Out
			for i := 0; !stop.Load(); i++ {
				out.Reset()
				from, to := c.edges[i%len(c.edges)], c.edges[(i*7+1)%len(c.edges)]
				switch why := w.Packet(c.now, from.at, from.frame(to.mac, nil), &out); why {
				case accepted, Unregistered, NoRoute:
				default:
					t.Errorf("frame: %v", why)
				}
				if i%16 == 0 {
					w.Packet(c.now, from.at, from.frame(n2n.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nil), &out)
				}
			}
		})
	}
	var out Out
	for i := range 20_000 {
		out.Reset()
		a := c.edges[i*13%len(c.edges)]
		if i%3 == 0 {
			c.w.Packet(c.now, a.at, (&n2n.UnregisterSuper{Header: n2n.Header{TTL: 2, Community: a.community}, Auth: a.auth, MAC: a.mac}).Append(nil), &out)
			continue
		}
		c.w.Packet(c.now, a.at, a.registration(uint32(i)), &out)
	}
	stop.Store(true)
	all.Wait()
}

// Nothing is allocated for a frame that passes through, clear or encrypted.
func TestForwardDoesNotAllocate(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		list, _ := ParseList("office")
		c := newCrowd(t, 100, Config{Communities: list, Rate: 1_000_000})
		key := n2n.NewHeaderKey(c.edges[0].community)
		var stamper n2n.Stamper
		var out Out
		for i, a := range c.edges {
			b := a.registration(uint32(i))
			if encrypted {
				key.Seal(b, len(b), stamper.Next(c.now), 1)
			}
			if why := c.w.Packet(c.now, a.at, b, &out); why != accepted {
				t.Fatal(why)
			}
			out.Reset()
		}
		from, to := c.edges[3], c.edges[7]
		b := make([]byte, 0, n2n.MaxPacket)
		for _, dst := range []n2n.MAC{to.mac, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
			p := n2n.Packet{Header: n2n.Header{TTL: 2, Community: from.community}, Src: from.mac, Dst: dst, Compression: 1, Transform: 1, Payload: make([]byte, 1300)}
			n := testing.AllocsPerRun(200, func() {
				out.Reset()
				b = p.Append(b[:0])
				if encrypted {
					key.Seal(b, p.HeaderLen(), stamper.Next(c.now), 1)
				}
				if why := c.w.Packet(c.now, from.at, b, &out); why != accepted {
					t.Fatal(why)
				}
			})
			if n != 0 {
				t.Errorf("encrypted %v, to %s: %v allocations", encrypted, dst, n)
			}
		}
	}
}

// A thousand edges that restart at once are all back when each has asked once or, where its first question was lost, twice;
// they ask each 3 s. Half of them sit behind one address.
func TestThousandComeBack(t *testing.T) {
	c := newCrowd(t, 1000, Config{})
	for i, a := range c.edges {
		if i%2 == 0 {
			a.at.Addr = numberedPort(i)
		}
	}
	c.registerAll(t)
	c.now = c.now.Add(5 * time.Minute)
	var out Out
	c.m.Tick(c.now, c.w, &out)
	if n, _ := c.m.Size(); n != 0 {
		t.Fatalf("%d edges outlived their silence", n)
	}
	waiting := map[int]bool{}
	for i := range c.edges {
		waiting[i] = true
	}
	lost := rand.New(rand.NewPCG(1, 1))
	asked := 0
	for ; len(waiting) > 0; asked++ {
		if asked*3 > 40 {
			t.Fatalf("%d edges are not back after two intervals", len(waiting))
		}
		for i := range c.edges {
			if !waiting[i] || lost.IntN(10) == 0 {
				continue
			}
			out.Reset()
			if why := c.w.Packet(c.now, c.edges[i].at, c.edges[i].registration(uint32(i)), &out); why != accepted {
				continue
			}
			delete(waiting, i)
		}
		c.now = c.now.Add(3 * time.Second)
	}
}

// numberedPort gives the i-th edge behind one address.
func numberedPort(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(10_000+i))
}

func BenchmarkRegister(b *testing.B) {
	c := newCrowd(b, 10_000, Config{Rate: 1_000_000_000})
	c.registerAll(b)
	packets := make([][]byte, len(c.edges))
	for i, a := range c.edges {
		packets[i] = a.registration(uint32(i))
	}
	var out Out
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		out.Reset()
		c.w.Packet(c.now, c.edges[i%10_000].at, packets[i%10_000], &out)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
}

func BenchmarkForward(b *testing.B) {
	for _, encrypted := range []bool{false, true} {
		b.Run(fmt.Sprintf("encrypted=%v", encrypted), func(b *testing.B) {
			list, _ := ParseList("office")
			c := newCrowd(b, 10_000, Config{Communities: list, Rate: 1_000_000_000})
			key := n2n.NewHeaderKey(c.edges[0].community)
			var stamper n2n.Stamper
			var out Out
			for i, a := range c.edges {
				p := a.registration(uint32(i))
				if encrypted {
					key.Seal(p, len(p), stamper.Next(c.now), 1)
				}
				out.Reset()
				if why := c.w.Packet(c.now, a.at, p, &out); why != accepted {
					b.Fatal(why)
				}
			}
			p := n2n.Packet{Header: n2n.Header{TTL: 2, Community: c.edges[0].community}, Compression: 1, Transform: 1, Payload: make([]byte, 1304)}
			wire := make([]byte, 0, n2n.MaxPacket)
			b.ReportAllocs()
			b.SetBytes(1304)
			for i := 0; b.Loop(); i++ {
				from, to := c.edges[i%10_000], c.edges[(i+1)%10_000]
				p.Src, p.Dst = from.mac, to.mac
				wire = p.Append(wire[:0])
				if encrypted {
					key.Seal(wire, p.HeaderLen(), stamper.Next(c.now), 1)
				}
				out.Reset()
				if why := c.w.Packet(c.now, from.at, wire, &out); why != accepted {
					b.Fatal(why)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// BenchmarkMemory tells what an edge costs, of 10,000.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := newCrowd(b, 10_000, Config{Rate: 1_000_000_000})
		runtime.GC()
		runtime.ReadMemStats(&before)
		c.registerAll(b)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10_000, "bytes/edge")
		runtime.KeepAlive(c)
	}
}
