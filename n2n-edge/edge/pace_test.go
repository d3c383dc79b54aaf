package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/peering"
	"sonic-netservices/n2n-edge/edge/udp"
)

// clockedSink notes what is sent when.
type clockedSink struct {
	*sink
	mu   sync.Mutex
	sent []sentBurst
}

type sentBurst struct {
	at      time.Time
	packets [][]byte
}

func (s *clockedSink) Send(bursts []udp.Burst) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range bursts {
		one := sentBurst{at: time.Now()}
		size := b.Segment
		if size == 0 {
			size = len(b.Data)
		}
		for at := 0; at < len(b.Data); at += size {
			one.packets = append(one.packets, bytes.Clone(b.Data[at:min(at+size, len(b.Data))]))
		}
		s.sent = append(s.sent, one)
	}
	return nil
}

// To a peer that runs ntop's edge go 16 packets at once at most, at the rate that was set, in order; what is too much for that is
// dropped and counted.
func TestPace(t *testing.T) {
	for name, prepare := range map[string]func(*Edge){
		"straight": func(e *Edge) { e.do(peering.Route{MAC: mac(2), To: netip.AddrPortFrom(at(2), 5000)}) },
		"by a supernode that takes bursts": func(e *Edge) {
			e.do(peering.Route{MAC: mac(2)})
			e.do(peering.Relay{To: supernodeAt, Fast: true})
			e.do(peering.Pace{MAC: mac(2), On: true})
		},
	} {
		t.Run(name, func(t *testing.T) { testPace(t, prepare) })
	}
}

func testPace(t *testing.T, prepare func(*Edge)) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10_000_000
		e, door := pathOf(t, "-transform", "null", "-pace-rate", "10000000")
		out := &clockedSink{sink: door}
		e.doors.Socket = out
		prepare(e)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = e.pacer.run(ctx) })
		seal, err := e.newSealer()
		if err != nil {
			t.Fatal(err)
		}
		s := &sender{e: e, seal: seal, out: newBatch()}
		began := time.Now()
		const frames = 100 // 4 MB: more than waits
		for range frames {
			h, big := largeTCP(1, 2, 40_000)
			s.frame(h, big)
			s.flush()
		}
		time.Sleep(time.Minute)
		cancel()
		all.Wait()
		var total, packets int
		var last uint32
		for _, b := range out.sent {
			if len(b.packets) > paceBurst {
				t.Errorf("%d packets at once", len(b.packets))
			}
			for _, p := range b.packets {
				packets++
				total += len(p)
				seq := binary.BigEndian.Uint32(p[n2n.PacketHeaderLen+38:])
				if seq <= last && seq != 1 { // each frame begins again
					t.Errorf("sequence number %d after %d", seq, last)
				}
				last = seq
			}
		}
		if wait := out.sent[len(out.sent)-1].at.Sub(began); int64(total)*8 > rate*int64(wait+50*time.Millisecond)/int64(time.Second) {
			t.Errorf("%d bytes within %v are more than %d bits a second", total, wait, rate)
		}
		dropped := e.count.drops[dropPace].Load()
		if dropped == 0 || packets != (frames-int(dropped))*34 {
			t.Errorf("%d packets came, and %d of %d frames were dropped", packets, dropped, frames)
		}
	})
}
