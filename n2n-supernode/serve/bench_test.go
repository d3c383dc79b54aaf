package serve

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-supernode/rendezvous"
)

// crowd plays many edges behind one socket.
type crowd struct {
	b    *testing.B
	udp  *udp
	to   rendezvous.Path
	out  rendezvous.Out
	lost atomic.Uint64
	got  atomic.Uint64
	c    n2n.Community
}

func newCrowd(b *testing.B, supernode string) *crowd {
	c := &crowd{b: b, to: rendezvous.Path{Addr: netip.MustParseAddrPort(supernode)}}
	c.c, _ = n2n.CommunityOf("office")
	var err error
	if c.udp, err = listenUDP(b.Context(), "127.0.0.1:0", false, &c.lost); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.udp.conn.Close() })
	go func() {
		for c.udp.read(func(rendezvous.Path, []byte) { c.got.Add(1) }) == nil {
		}
	}()
	return c
}

func macOf(i int) (m n2n.MAC) {
	m[0] = 2
	binary.BigEndian.PutUint32(m[2:], uint32(i))
	return m
}

func (c *crowd) queue(m interface{ Append([]byte) []byte }) {
	start := len(c.out.Bytes)
	c.out.Bytes = m.Append(c.out.Bytes)
	c.out.Sends = append(c.out.Sends, rendezvous.Send{To: c.to, Start: start, End: len(c.out.Bytes)})
}

// exchange sends what is queued, and waits for as many messages; those that do not come in time are lost.
func (c *crowd) exchange(want int) (lost int) {
	before := c.got.Load()
	c.udp.flush(&c.out, nil)
	c.out.Reset()
	end := time.Now().Add(200 * time.Millisecond)
	for int(c.got.Load()-before) < want && time.Now().Before(end) {
		time.Sleep(20 * time.Microsecond)
	}
	return max(0, want-int(c.got.Load()-before))
}

const edges = 10_000

func (c *crowd) register(i int) {
	auth, _ := n2n.AuthOf(n2n.AuthID, binary.BigEndian.AppendUint32(make([]byte, 12), uint32(i)))
	c.queue(&n2n.RegisterSuper{Header: n2n.Header{TTL: 2, Community: c.c}, MAC: macOf(i), Auth: auth,
		Subnet: n2n.Subnet{Addr: [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}, Bits: 8}})
}

// BenchmarkSockets measures a supernode with 10,000 edges from socket to socket, together with who sends and receives.
func BenchmarkSockets(b *testing.B) {
	addr := free(b, "127.0.0.1")
	run(b, nil, "-listen", addr, "-dir", "none", "-rate", "1000000000", "-readers", "1")
	c := newCrowd(b, addr)
	for c.register(0); c.exchange(1) > 0; c.register(0) { // until it is up
	}
	for i := 0; i < edges; i += 100 {
		for j := range 100 {
			c.register(i + j)
		}
		c.exchange(100)
	}
	b.Run("register", func(b *testing.B) {
		lost, i := 0, 0
		for b.Loop() {
			if c.register(i % edges); i%64 == 63 {
				lost += c.exchange(64)
			}
			i++
		}
		lost += c.exchange(i % 64)
		b.ReportMetric(float64(b.N-lost)/b.Elapsed().Seconds(), "registrations/s")
		b.ReportMetric(100*float64(lost)/float64(b.N), "lost_%")
	})
	b.Run("forward", func(b *testing.B) {
		b.SetBytes(1304)
		p := n2n.Packet{Header: n2n.Header{TTL: 2, Community: c.c}, Compression: 1, Transform: 1, Payload: make([]byte, 1304)}
		lost, i := 0, 0
		for b.Loop() {
			p.Src, p.Dst = macOf(i%edges), macOf((i+1)%edges)
			if c.queue(&p); i%64 == 63 {
				lost += c.exchange(64)
			}
			i++
		}
		lost += c.exchange(i % 64)
		b.ReportMetric(float64(b.N-lost)/b.Elapsed().Seconds(), "packets/s")
		b.ReportMetric(100*float64(lost)/float64(b.N), "lost_%")
	})
}
