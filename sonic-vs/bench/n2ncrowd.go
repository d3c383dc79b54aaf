package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/overlay"
)

// crowdRecord is what a supernode did with many edges.
type crowdRecord struct {
	Edges       int           `json:"edges"`
	RegisterNS  time.Duration `json:"register_ns"` // until all were registered
	RSSBefore   int64         `json:"rss_before"`  // bytes of the supernode's process
	RSSAfter    int64         `json:"rss_after"`
	Forward     []forwardTry  `json:"forward"`
	Comeback    int           `json:"comeback"`     // edges that were registered, crashed, and began again at once
	ComebackNS  time.Duration `json:"comeback_ns"`  // until all were registered where they are now, and reached there
	ComebackOut int           `json:"comeback_out"` // of them not so after two intervals
}

// forwardTry is a second of frames from edge to edge.
type forwardTry struct {
	Sent     int           `json:"sent"`
	Received int           `json:"received"`
	Took     time.Duration `json:"took_ns"`
}

func (f forwardTry) lost() float64 { return 1 - float64(f.Received)/float64(max(1, f.Sent)) }

const (
	crowdWindow = 64 // registrations that wait for their answers at the same time
	crowdSend   = 200
	crowdRetry  = 3 * time.Second // as edges ask again
	crowdSettle = 7 * time.Second // our supernode writes its state 5 s after something has changed, which takes memory for a moment

	crowdInterval = 20 * time.Second // between registrations of an edge
	crowdBack     = 1000             // edges that restart at the same time
)

// crowdNet has an address for every simulated edge.
var crowdNet = netip.MustParsePrefix("100.64.0.0/14")

// crowds measures a supernode of each maker, in turn.
func (w *wire) crowds(ctx context.Context) error {
	for _, sn := range w.sn { // the ports are theirs
		sn.Stop()
	}
	if err := w.crowdRoutes(); err != nil {
		return err
	}
	for round := 1; round <= w.Rounds; round++ {
		for _, at := range []struct {
			site  string
			maker overlay.Maker
		}{{"sn1", overlay.Ours}, {"sn2", overlay.Ntop}} {
			say("round %d: %d edges at a supernode of %s", round, w.Edges, at.maker)
			r, err := w.crowd(ctx, at.site, at.maker)
			if err != nil {
				return fmt.Errorf("%d edges at a supernode of %s: %w", w.Edges, at.maker, err)
			}
			text, err := json.Marshal(r)
			if err != nil {
				return err
			}
			if err := w.add(wireRun{Kind: kindCrowd, Maker: at.maker, Round: round}, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// crowdRoutes gives left-open all addresses of the crowd.
func (w *wire) crowdRoutes() error {
	left, err := w.bed.Site("left-open")
	if err != nil {
		return err
	}
	dst := &net.IPNet{IP: crowdNet.Addr().AsSlice(), Mask: net.CIDRMask(crowdNet.Bits(), 32)}
	err = w.bed.InNetns("left-open", func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		const local = 255 // the table that says which addresses are this host's
		return netlink.RouteReplace(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Type: 2, Table: local, Scope: netlink.SCOPE_HOST})
	})
	for _, site := range []string{"sn1", "sn2"} {
		err = errors.Join(err, w.bed.InNetns(site, func() error {
			return netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: left.Public.AsSlice()})
		}))
	}
	return err
}

// simulated is one edge of a crowd: a socket and what it would say.
type simulated struct {
	conn   *net.UDPConn
	mac    n2n.MAC
	packet []byte // its REGISTER_SUPER
	done   atomic.Bool
	acked  chan struct{}
	got    atomic.Bool // a frame
	frames *atomic.Int64
}

// crowd fills a supernode.
func (w *wire) crowd(ctx context.Context, site string, maker overlay.Maker) (r crowdRecord, err error) {
	start := func(limited bool) (*overlay.Supernode, error) {
		o := overlay.SupernodeOptions{Site: site, Maker: maker}
		if maker == overlay.Ours && !limited {
			o.Extra = []string{"-rate", "1000000"} // else the simulator's bursts are taken for an attack
		}
		sn, err := w.bed.StartSupernode(o)
		time.Sleep(500 * time.Millisecond)
		return sn, err
	}
	sn, err := start(false)
	if err != nil {
		return r, err
	}
	defer func() { sn.Stop() }()
	r.Edges = w.Edges
	var frames atomic.Int64
	edges, err := w.simulate(w.Edges, sn.Addr, &frames, func(i int) netip.AddrPort { return crowdAddr(i) })
	if err != nil {
		return r, err
	}
	defer closeAll(edges)
	if r.RSSBefore, err = residentOf(sn.Pid); err != nil {
		return r, err
	}
	began := time.Now()
	if out := register(ctx, edges, crowdWindow, time.Minute); out > 0 {
		return r, fmt.Errorf("%d edges were not registered within a minute", out)
	}
	r.RegisterNS = time.Since(began)
	time.Sleep(crowdSettle)
	if r.RSSAfter, err = residentOf(sn.Pid); err != nil {
		return r, err
	}
	r.Forward = forwardSearch(edges[:min(len(edges), crowdSend)], &frames)
	closeAll(edges)

	sn.Stop()
	if sn, err = start(true); err != nil { // with the usual limits
		return r, err
	}
	return r, w.comeback(ctx, sn, &r)
}

// comeback lets a thousand edges register, half of them behind one address, crash, and begin again at the same moment, with the
// tokens that they have kept, from other ports. They are back when they are registered and frames of others reach them.
func (w *wire) comeback(ctx context.Context, sn *overlay.Supernode, r *crowdRecord) error {
	r.Comeback = crowdBack
	var frames atomic.Int64
	life := func(number int) ([]*simulated, error) {
		return w.simulate(r.Comeback, sn.Addr, &frames, func(i int) netip.AddrPort {
			at := crowdAddr(0).Addr()
			if i%2 == 1 {
				at = crowdAddr(i).Addr()
			}
			return netip.AddrPortFrom(at, uint16(10_000+number*r.Comeback+i))
		})
	}
	before, err := life(0)
	if err != nil {
		return err
	}
	out := register(ctx, before, crowdWindow, time.Minute)
	closeAll(before) // nobody says goodbye
	if out > 0 {
		return fmt.Errorf("%d edges were not registered within a minute", out)
	}
	after, err := life(1)
	if err != nil {
		return err
	}
	defer closeAll(after)
	began := time.Now()
	r.ComebackOut = register(ctx, after, r.Comeback, 2*crowdInterval)
	r.ComebackOut += unreached(after, time.Until(began.Add(2*crowdInterval)))
	r.ComebackNS = time.Since(began)
	return ctx.Err()
}

// unreached lets each edge send frames to the next until it gets one, and says how many get none in time.
func unreached(edges []*simulated, limit time.Duration) (out int) {
	packets := framesOf(edges)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out = 0
		for i := range edges {
			if !edges[(i+1)%len(edges)].got.Load() {
				out++
				edges[i].conn.Write(packets[i]) // an error is as good as a loss
			}
		}
		if out == 0 || time.Since(began) > limit {
			return out
		}
	}
}

// crowdAddr is the address of the i-th edge.
func crowdAddr(i int) netip.AddrPort {
	ip := crowdNet.Addr().As4()
	binary.BigEndian.PutUint32(ip[:], binary.BigEndian.Uint32(ip[:])+uint32(i)+1)
	return netip.AddrPortFrom(netip.AddrFrom4(ip), 20_000)
}

// simulate opens the sockets of edges.
func (w *wire) simulate(count int, sn netip.AddrPort, frames *atomic.Int64, at func(i int) netip.AddrPort) ([]*simulated, error) {
	community, err := n2n.CommunityOf("crowd")
	if err != nil {
		return nil, err
	}
	var edges []*simulated
	err = w.bed.InNetns("left-open", func() error {
		for i := range count {
			conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(at(i)), net.UDPAddrFromAddrPort(sn))
			if err != nil {
				return err
			}
			e := &simulated{conn: conn, mac: n2n.MAC{2, 0x63}, acked: make(chan struct{}), frames: frames}
			binary.BigEndian.PutUint32(e.mac[2:], uint32(i))
			token := [16]byte{1}
			binary.BigEndian.PutUint32(token[12:], uint32(i)) // the same in each life
			auth, err := n2n.AuthOf(n2n.AuthID, token[:])
			if err != nil {
				return err
			}
			e.packet = (&n2n.RegisterSuper{Header: n2n.Header{TTL: 2, Community: community}, Cookie: rand.Uint32(), MAC: e.mac,
				Subnet: n2n.Subnet{Addr: [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}, Bits: 8}, Desc: n2n.DescOf("simulated"), Auth: auth}).Append(nil)
			edges = append(edges, e)
			go e.read()
		}
		return nil
	})
	if err != nil {
		closeAll(edges)
	}
	return edges, err
}

// read sees the answer to the registration, and counts frames.
func (e *simulated) read() {
	b := make([]byte, n2n.MaxPacket)
	for {
		n, err := e.conn.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the supernode's port was closed for a moment
		}
		h, err := n2n.ParseHeader(b[:n])
		switch {
		case err != nil:
		case h.Type == n2n.TypePacket:
			e.frames.Add(1)
			e.got.Store(true)
		case h.Type == n2n.TypeRegisterSuperAck && e.done.CompareAndSwap(false, true):
			close(e.acked)
		}
	}
}

func closeAll(edges []*simulated) {
	for _, e := range edges {
		e.conn.Close()
	}
}

// register lets edges register, so many at a time, and says how many were not answered in time.
func register(ctx context.Context, edges []*simulated, window int, limit time.Duration) (out int) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var all sync.WaitGroup
	var lost atomic.Int64
	slots := make(chan struct{}, window)
	for _, e := range edges {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			for {
				e.conn.Write(e.packet) // an error is as good as a loss
				select {
				case <-e.acked:
					return
				case <-time.After(crowdRetry):
				case <-ctx.Done():
					lost.Add(1)
					return
				}
			}
		})
	}
	all.Wait()
	return int(lost.Load())
}

// forwardSearch sends frames of full size from each edge to the next, twice as many until 1 % gets lost, then between.
func forwardSearch(edges []*simulated, frames *atomic.Int64) (tries []forwardTry) {
	packets := framesOf(edges)
	try := func(rate int) bool {
		t := forwardFor(edges, packets, frames, rate)
		tries = append(tries, t)
		return t.lost() < mostLoss && float64(t.Sent) > 0.8*float64(rate)*t.Took.Seconds()
	}
	good, bad := 0, 0
	for rate := 10_000; rate <= 1_280_000; rate *= 2 {
		if !try(rate) {
			bad = rate
			break
		}
		good = rate
	}
	for range 3 {
		if middle := (good + bad) / 2; try(middle) {
			good = middle
		} else {
			bad = middle
		}
	}
	return tries
}

// framesOf gives for each edge a frame of full size for the next one.
func framesOf(edges []*simulated) (packets [][]byte) {
	for i, e := range edges {
		p := n2n.Packet{Header: n2n.Header{TTL: 2}, Src: e.mac, Dst: edges[(i+1)%len(edges)].mac, Compression: n2n.CompressionNone,
			Transform: n2n.TransformNull, Payload: make([]byte, frameSize)}
		p.Community, _ = n2n.CommunityOf("crowd")
		packets = append(packets, p.Append(nil))
	}
	return packets
}

// forwardFor sends at a rate for a second, a millisecond's worth at a time.
func forwardFor(edges []*simulated, packets [][]byte, frames *atomic.Int64, rate int) (t forwardTry) {
	const seconds = time.Second
	frames.Store(0)
	began := time.Now()
	for {
		since := time.Since(began)
		if since > seconds {
			break
		}
		for due := int(float64(rate) * since.Seconds()); t.Sent < due; t.Sent++ {
			i := t.Sent % len(edges)
			edges[i].conn.Write(packets[i]) // one that was not sent counts as lost
			if t.Sent%64 == 63 && time.Since(began) > seconds {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Took = time.Since(began)
	for last := int64(-1); frames.Load() != last; { // until nothing comes any more
		last = frames.Load()
		time.Sleep(100 * time.Millisecond)
	}
	t.Received = int(frames.Load())
	return t
}

// residentOf is the memory of a process.
func residentOf(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status: no VmRSS", pid)
}

// crowdFigures compare supernodes.
func crowdFigures(v *wireValues) (all []wireFigure) {
	ours, ntop := v.crowds[overlay.Ours], v.crowds[overlay.Ntop]
	if len(ours) == 0 {
		return nil
	}
	figure := func(name, unit string, parts, most float64, of func(crowdRecord) float64) {
		values := func(records []crowdRecord) (list []float64) {
			for _, r := range records {
				list = append(list, of(r))
			}
			return list
		}
		f := Figure{Name: "n2n." + name, Value: round(median(values(ours)), parts), Unit: unit, Runs: len(ours),
			Load: median(v.loads[wireKey{kind: kindCrowd, maker: overlay.Ours}])}
		if len(ntop) > 0 {
			f = f.against(round(median(values(ntop)), parts))
		}
		all = append(all, wireFigure{Figure: f, most: most})
	}
	figure("supernode_registrations_per_s", "1/s", 1, -1, func(r crowdRecord) float64 { return float64(r.Edges) / r.RegisterNS.Seconds() })
	figure("supernode_bytes_per_edge", "bytes", 1, -1, func(r crowdRecord) float64 { return float64(r.RSSAfter-r.RSSBefore) / float64(r.Edges) })
	figure("supernode_forward_pps", "packets/s", 1, -1, func(r crowdRecord) float64 {
		best := 0.0
		for _, t := range r.Forward {
			if t.lost() < mostLoss {
				best = max(best, float64(t.Received)/t.Took.Seconds())
			}
		}
		return best
	})
	figure("comeback_1000_s", fmt.Sprintf("s (interval %v)", crowdInterval), 100, 2*crowdInterval.Seconds(), func(r crowdRecord) float64 { return r.ComebackNS.Seconds() })
	figure("comeback_1000_out", "edges", 1, 0, func(r crowdRecord) float64 { return float64(r.ComebackOut) })
	return all
}
