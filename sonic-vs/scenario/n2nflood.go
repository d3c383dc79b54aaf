package scenario

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-supernode/rendezvous"
	"sonic-netservices/sonic-vs/overlay"
)

const (
	floodSeed  = 6
	floodSize  = 400                   // packets of a wave
	floodBurst = 20                    // packets, and then a pause
	floodPause = 10 * time.Millisecond // so 2,000 a second
)

// wave is packets of one kind for one program, and what came of them.
type wave struct {
	Target   string            `json:"target"`
	Kind     string            `json:"kind"`
	Mode     overlay.Mode      `json:"mode"`
	Sent     uint64            `json:"sent"`
	Counted  map[string]uint64 `json:"counted"` // by reason
	Lost     int               `json:"lost"`    // of what the couples asked meanwhile
	Faults   []string          `json:"faults,omitempty"`
	to       netip.AddrPort
	reasons  []string // for which they are refused; none: they change nothing, but are answered or delivered
	any      bool     // for whatever reason
	packets  func(*rand.Rand) (from netip.AddrPort, b []byte)
	counters func(context.Context) (map[string]uint64, error)
}

// flood is the bed of n2n-flood.
type flood struct {
	*stage
	bed      *overlay.Bed
	sn       *overlay.Supernode
	attacker *overlay.Attacker
	couples  []*floodCouple
	ears     []*overlay.Ear
	waves    []*wave
}

type floodCouple struct {
	overlay.Community
	name  n2n.Community
	edges [2]*overlay.Edge
	probe *overlay.Probe
	key   *n2n.HeaderKey // that whoever knows the name has; nil: headers are clear
	quiet bool           // the key opens registrations only
}

// n2nFlood sends what nobody should send at a supernode and edges that work, and looks whether they notice.
func n2nFlood(ctx context.Context, s *stage) error {
	bed, err := s.overlayBed()
	if err != nil {
		return err
	}
	f := &flood{stage: s, bed: bed}
	defer f.stop()
	if err := f.begin(ctx); err != nil {
		return err
	}
	before, err := f.state(ctx)
	if err != nil {
		return err
	}
	for _, c := range f.couples {
		f.waves = append(f.waves, f.atSupernode(c)...)
		f.waves = append(f.waves, f.atEdge(c)...)
	}
	random := rand.New(rand.NewPCG(floodSeed, floodSeed))
	for _, w := range f.waves {
		if !s.chosen(w.Target+"/"+w.Kind) || s.Quick && len(s.Cases) == 0 && random.IntN(4) > 0 {
			continue
		}
		if err := f.send(ctx, w, random); err != nil {
			return err
		}
		for _, fault := range w.Faults {
			s.faults = append(s.faults, fmt.Sprintf("%s, %s, %s: %s", w.Target, w.Mode, w.Kind, fault))
		}
	}
	f.waves = slices.DeleteFunc(f.waves, func(w *wave) bool { return w.Sent == 0 })
	time.Sleep(6 * time.Second) // a supernode whose tables have changed writes them to its disk within 5 s
	after, err := f.state(ctx)
	if err != nil {
		return err
	}
	for _, what := range slices.Sorted(maps.Keys(before)) {
		if before[what] != after[what] {
			s.fault("%s has changed from\n%s\nto\n%s", what, before[what], after[what])
		}
	}
	f.show(len(before))
	return writeLines(filepath.Join(s.dir, "waves.jsonl"), f.waves)
}

// begin starts a supernode and a couple of edges for each kind of header, which talk.
func (f *flood) begin(ctx context.Context) (err error) {
	var communities []overlay.Community
	for i, mode := range []overlay.Mode{overlay.Plain, overlay.Encrypted, overlay.Login} {
		c := &floodCouple{Community: overlay.Community{Name: fmt.Sprintf("flood%d", i), Mode: mode, Transform: n2n.TransformSpeck, Net: overlayNet(i)}}
		if c.name, err = n2n.CommunityOf(c.Name); err != nil {
			return err
		}
		if mode != overlay.Plain {
			c.key, c.quiet = n2n.NewHeaderKey(c.name), mode == overlay.Login
		}
		f.couples, communities = append(f.couples, c), append(communities, c.Community)
	}
	if f.sn, err = f.bed.StartSupernode(overlay.SupernodeOptions{Site: siteOurs, Maker: overlay.Ours, Communities: communities}); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	for _, site := range []string{siteOurs, "left-open", "right-open"} {
		if err := f.bed.CountFlows(site); err != nil {
			return err
		}
		ear, err := f.bed.Listen(site)
		if err != nil {
			return err
		}
		f.ears = append(f.ears, ear)
	}
	for i, c := range f.couples {
		for side, site := range []string{"left-open", "right-open"} {
			c.edges[side], err = f.bed.StartEdge(overlay.EdgeOptions{Site: site, Maker: overlay.Ours, Community: c.Community, Supernode: f.sn,
				Host: side + 1, Number: i, Extra: []string{"-interval", "5s"}}) // there is more to hear
			if err != nil {
				return err
			}
		}
		if _, err := f.bed.Meet(ctx, c.edges[0], c.edges[1], 30*time.Second); err != nil {
			return err
		}
		if way, err := f.bed.AwaitDirect(ctx, c.edges[0], c.edges[1], 30*time.Second); err != nil || way != overlay.Direct {
			return fmt.Errorf("traffic goes by %s: %w", way, err)
		}
		if c.probe, err = f.bed.StartProbe(ctx, c.edges[0], c.edges[1], uint16(6000+i)); err != nil {
			return err
		}
	}
	if f.attacker, err = f.bed.StartAttacker(siteFedNtop); err != nil {
		return err
	}
	time.Sleep(12 * time.Second) // registrations are heard, twice, and the supernode's state is on its disk
	f.say("%d couples talk; seed %d, %d packets a wave", len(f.couples), floodSeed, floodSize)
	return ctx.Err()
}

func (f *flood) stop() {
	for _, c := range f.couples {
		if c.probe != nil {
			c.probe.Stop()
		}
		for _, e := range c.edges {
			if e != nil {
				e.Stop()
			}
		}
	}
	for _, e := range f.ears {
		e.Stop()
	}
	if f.attacker != nil {
		f.attacker.Stop()
	}
	if f.sn != nil {
		f.sn.Stop()
	}
}

// state is everything that must stay, as text.
func (f *flood) state(ctx context.Context) (map[string]string, error) {
	state := map[string]string{}
	kept, err := f.bed.Kept(f.sn)
	if err != nil {
		return nil, err
	}
	for i := range kept.Edges { // when they were heard changes by itself
		kept.Edges[i].Seen, kept.Edges[i].Stamp = time.Time{}, 0
	}
	slices.SortFunc(kept.Edges, func(a, b rendezvous.EdgeState) int { return slices.Compare(a.MAC, b.MAC) })
	state["table of the supernode"] = fmt.Sprintf("%+v", kept)
	for _, name := range []string{"n2n_supernode_edges", "n2n_supernode_communities"} {
		n, err := f.bed.Counters(ctx, f.sn, name)
		if err != nil {
			return nil, err
		}
		state[name] = fmt.Sprint(n)
	}
	for _, c := range f.couples {
		for _, e := range c.edges {
			status, err := e.Ask(ctx)
			if err != nil {
				return nil, err
			}
			p := status.Peering
			for i := range p.Peers {
				p.Peers[i].Why = ""
			}
			slices.SortFunc(p.Peers, func(a, b overlay.Peer) int { return strings.Compare(a.MAC, b.MAC) })
			state["edge of "+c.Name+" at "+e.Site] = fmt.Sprintf("%+v", p)
		}
	}
	for _, site := range []string{siteOurs, "left-open", "right-open"} {
		text, err := f.bed.Network(site)
		if err != nil {
			return nil, err
		}
		state["addresses and routes of "+site] = text
	}
	return state, nil
}

// send sends a wave and sees what it was counted as.
func (f *flood) send(ctx context.Context, w *wave, random *rand.Rand) error {
	before, err := w.counters(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	for range floodSize {
		from, b := w.packets(random)
		if b == nil {
			break // nothing of that kind was heard
		}
		if err := f.attacker.Send(from, w.to, b); err != nil {
			return err
		}
		if w.Sent++; w.Sent%floodBurst == 0 {
			time.Sleep(floodPause)
		}
	}
	time.Sleep(300 * time.Millisecond)
	after, err := w.counters(ctx)
	if err != nil {
		return err
	}
	w.Counted = map[string]uint64{}
	var counted uint64
	for reason, n := range after {
		if n -= before[reason]; n == 0 {
			continue
		}
		w.Counted[reason] = n
		if w.any || slices.Contains(w.reasons, reason) {
			counted += n
		}
	}
	if w.Sent == 0 {
		w.Faults = append(w.Faults, "nothing of that kind was heard")
		w.Sent = 1 // so that it shows
	} else if (w.any || w.reasons != nil) && counted < w.Sent*99/100 {
		w.Faults = append(w.Faults, fmt.Sprintf("%d of %d were counted as %s", counted, w.Sent, strings.Join(w.reasons, " or ")))
	}
	end := time.Now().Add(-500 * time.Millisecond)
	for _, c := range f.couples {
		if _, ok := c.probe.Await(ctx, end, 2*time.Second); !ok {
			w.Faults = append(w.Faults, c.Name+" is silent")
		}
		_, lost := c.probe.Lost(began, end)
		w.Lost += lost
	}
	if w.Lost > 0 {
		w.Faults = append(w.Faults, fmt.Sprintf("%d questions between edges got lost", w.Lost))
	}
	return ctx.Err()
}

func (f *flood) show(states int) {
	table := tabwriter.NewWriter(f.Lines, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "AT\tHEADER\tWHAT\tSENT\tCOUNTED AS\tLOST\tVERDICT")
	var sent uint64
	for _, w := range f.waves {
		verdict := "ok"
		if len(w.Faults) > 0 {
			verdict = "FAULT: " + w.Faults[0]
		}
		var counted []string
		for _, reason := range slices.Sorted(maps.Keys(w.Counted)) {
			counted = append(counted, fmt.Sprintf("%s %d", reason, w.Counted[reason]))
		}
		sent += w.Sent
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%d\t%s\n", w.Target, w.Mode, w.Kind, w.Sent, strings.Join(counted, ", "), w.Lost, verdict)
	}
	table.Flush()
	f.say("%d packets; compared before and after: %d tables, of supernode, edges and their hosts", sent, states)
}
