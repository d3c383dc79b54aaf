package scenario

import (
	"context"
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/overlay"
)

// registers is the time between two registrations of an edge, ours and ntop's alike: within it all has to be as before.
const registers = 20 * time.Second

// couple is two edges of a community between which something is said all the time.
type couple struct {
	Name        string
	left, right overlay.EdgeOptions
	edges       [2]*overlay.Edge
	probe       *overlay.Probe
	straight    bool // they need no supernode once they have met
	takeover    bool // at the supernode that lets who has lost its token in again: ntop's edges keep none
}

// death is what was killed, and what became of one couple.
type death struct {
	Killed   string   `json:"killed"` // and for how long
	Couple   string   `json:"couple"`
	Lost     int      `json:"lost"`     // of Asked, from the death until the first answer after the restart
	Asked    int      `json:"asked"`    // ten a second
	BackMS   int64    `json:"back_ms"`  // from the restart to the first answer
	TCPMS    int64    `json:"tcp_ms"`   // to the first over the TCP connection that was open before
	DirectMS int64    `json:"directms"` // to the straight way, of those that had one; -1: not looked at
	Faults   []string `json:"faults,omitempty"`
}

func (d *death) fail(format string, args ...any) {
	d.Faults = append(d.Faults, fmt.Sprintf(format, args...))
}

// killBed is what dies in n2n-kill.
type killBed struct {
	*stage
	bed         *overlay.Bed
	supernodes  []overlay.SupernodeOptions
	running     []*overlay.Supernode
	couples     []*couple
	deaths      []*death
	communities []overlay.Community
}

// n2nKill kills supernodes and edges in the middle of conversations.
func n2nKill(ctx context.Context, s *stage) error {
	bed, err := s.overlayBed()
	if err != nil {
		return err
	}
	k := &killBed{stage: s, bed: bed}
	defer k.stop()
	if err := k.begin(ctx); err != nil {
		return err
	}
	left := func() ([]func(), func() error) { return k.edges(0) }
	right := func() ([]func(), func() error) { return k.edges(1) }
	for _, d := range []struct {
		name string
		down time.Duration
		who  func() (kill []func(), restart func() error)
	}{
		{"supernodes, for 1 s", time.Second, k.supernodesOf},
		{"left edges, for 1 s", time.Second, left},
		{"right edges, for 8 s", 8 * time.Second, right},
		{"supernodes, until the edges notice", 35 * time.Second, k.supernodesOf},
	} {
		if !s.chosen(d.name) || s.Quick && len(s.Cases) == 0 && d.down > 5*time.Second {
			continue
		}
		if err := k.kill(ctx, d.name, d.down, d.who); err != nil {
			return err
		}
	}
	k.show()
	return writeLines(filepath.Join(s.dir, "deaths.jsonl"), k.deaths)
}

// begin starts supernodes, edges and conversations.
func (k *killBed) begin(ctx context.Context) error {
	number := 0
	add := func(name string, mode overlay.Mode, transform n2n.TransformID, c couple, left, right overlay.EdgeOptions) {
		community := overlay.Community{Name: fmt.Sprintf("kill%d", number), Mode: mode, Transform: transform, Net: overlayNet(number)}
		c.Name, c.left, c.right = name, left, right
		for host, o := range []*overlay.EdgeOptions{&c.left, &c.right} {
			o.Community, o.Host, o.Number = community, host+1, number
		}
		if !c.takeover {
			k.communities = append(k.communities, community)
		}
		k.couples = append(k.couples, &c)
		number++
	}
	ours := func(site string, extra ...string) overlay.EdgeOptions {
		return overlay.EdgeOptions{Site: site, Maker: overlay.Ours, Extra: extra}
	}
	ntop := func(site string) overlay.EdgeOptions { return overlay.EdgeOptions{Site: site, Maker: overlay.Ntop} }
	add("ours, straight", overlay.Plain, n2n.TransformAES, couple{straight: true}, ours("left-restricted"), ours("right-restricted"))
	add("ours, by the supernode", overlay.Plain, n2n.TransformAES, couple{}, ours("left-symmetric", "-relay-only"), ours("right-symmetric", "-relay-only"))
	add("ours, encrypted headers", overlay.Encrypted, n2n.TransformSpeck, couple{straight: true}, ours("left-full-cone"), ours("right-restricted"))
	add("ours, passwords, by the supernode", overlay.Login, n2n.TransformChaCha20, couple{}, ours("left-restricted", "-relay-only"), ours("right-open", "-relay-only"))
	add("ntop's and ours", overlay.Plain, n2n.TransformAES, couple{straight: true, takeover: true}, ntop("left-restricted"), ours("right-restricted"))
	add("ntop's and ntop's", overlay.Plain, n2n.TransformAES, couple{straight: true, takeover: true}, ntop("left-open"), ntop("right-open"))

	k.supernodes = []overlay.SupernodeOptions{{Site: siteOurs, Maker: overlay.Ours, Communities: k.communities},
		{Site: siteFedOurs, Maker: overlay.Ours, Extra: []string{"-takeover"}}}
	if err := k.startSupernodes(); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	for _, site := range []string{"left-restricted", "right-restricted", "left-full-cone", "left-open", "right-open", "left-symmetric", "right-symmetric"} {
		if err := k.bed.CountFlows(site); err != nil {
			return err
		}
	}
	faults := make([]error, len(k.couples))
	together(len(k.couples), len(k.couples), func(i int) { faults[i] = k.meet(ctx, k.couples[i], i) })
	for i, err := range faults {
		if err != nil {
			return fmt.Errorf("%s: %w", k.couples[i].Name, err)
		}
	}
	// What they registered is on the disk 5 s later. A supernode that dies before has edges that come by themselves.
	time.Sleep(6 * time.Second)
	k.say("%d couples talk, at two supernodes", len(k.couples))
	return ctx.Err()
}

func (k *killBed) startSupernodes() error {
	k.running = nil
	for _, o := range k.supernodes {
		sn, err := k.bed.StartSupernode(o)
		if err != nil {
			return err
		}
		k.running = append(k.running, sn)
	}
	return nil
}

// meet starts a couple and lets it talk.
func (k *killBed) meet(ctx context.Context, c *couple, i int) error {
	for side := range c.edges {
		if err := k.startEdge(c, side, false); err != nil {
			return err
		}
	}
	if _, err := k.bed.Meet(ctx, c.edges[0], c.edges[1], 40*time.Second); err != nil {
		return err
	}
	if c.straight {
		way, err := k.bed.AwaitDirect(ctx, c.edges[0], c.edges[1], 30*time.Second)
		if err != nil {
			return err
		}
		if way != overlay.Direct {
			return fmt.Errorf("traffic goes by the way %q", way)
		}
	}
	var err error
	c.probe, err = k.bed.StartProbe(ctx, c.edges[0], c.edges[1], uint16(6000+i))
	return err
}

func (k *killBed) startEdge(c *couple, side int, keep bool) (err error) {
	o := [...]overlay.EdgeOptions{c.left, c.right}[side]
	o.Keep, o.Supernode = keep, k.running[0]
	if c.takeover {
		o.Supernode = k.running[1]
	}
	c.edges[side], err = k.bed.StartEdge(o)
	return err
}

// supernodesOf gives what kills all supernodes, and what starts them with what they had.
func (k *killBed) supernodesOf() (kill []func(), restart func() error) {
	for i, sn := range k.running {
		kill = append(kill, sn.Kill)
		k.supernodes[i].Keep = true
	}
	return kill, k.startSupernodes
}

// edges gives what kills the edges of one side, and what starts them with what they had.
func (k *killBed) edges(side int) (kill []func(), restart func() error) {
	for _, c := range k.couples {
		kill = append(kill, c.edges[side].Kill)
	}
	return kill, func() error {
		for _, c := range k.couples {
			if err := k.startEdge(c, side, true); err != nil {
				return err
			}
		}
		return nil
	}
}

// kill ends programs as a crash does, starts them again, and looks when each couple is back.
func (k *killBed) kill(ctx context.Context, name string, down time.Duration, who func() ([]func(), func() error)) error {
	for _, c := range k.couples {
		if _, ok := c.probe.Await(ctx, time.Now(), registers); !ok {
			return fmt.Errorf("%s: silent before anything was killed", c.Name)
		}
	}
	kill, restart := who()
	supernodes := len(kill) == len(k.running)
	died := time.Now()
	for _, f := range kill {
		f()
	}
	time.Sleep(down)
	if err := restart(); err != nil {
		return err
	}
	restarted := time.Now()
	k.say("kill -9 of %s", name)
	deaths := make([]*death, len(k.couples))
	together(len(k.couples), len(k.couples), func(i int) {
		c, d := k.couples[i], &death{Killed: name, Couple: k.couples[i].Name, DirectMS: -1}
		deaths[i] = d
		back, ok := c.probe.Await(ctx, restarted, 3*registers)
		d.BackMS = back.Milliseconds()
		switch {
		case !ok:
			d.fail("not back within %v", 3*registers)
			return
		case back > registers:
			d.fail("back after %v, later than a registration", back)
		}
		d.Asked, d.Lost = c.probe.Lost(died, restarted.Add(back-time.Second/2)) // the newest may still be answered
		if supernodes && c.straight && d.Lost > 0 {
			d.fail("%d of %d questions got lost between edges that need no supernode", d.Lost, d.Asked)
		}
		// TCP asks again after twice the time each: at the latest as long after the restart as it was silent before.
		tcp, ok := c.probe.AwaitTCP(ctx, restarted, down+back+registers)
		if d.TCPMS = tcp.Milliseconds(); !ok {
			d.fail("a TCP connection that was open did not live through it")
		}
		if c.straight {
			way, err := k.bed.AwaitDirect(ctx, c.edges[0], c.edges[1], 2*registers)
			if d.DirectMS = time.Since(restarted).Milliseconds(); err != nil || way != overlay.Direct {
				d.fail("the straight way is not found again: %s, %v", way, err)
			}
		}
	})
	for _, d := range deaths {
		for _, f := range d.Faults {
			k.faults = append(k.faults, fmt.Sprintf("%s, %s: %s", d.Killed, d.Couple, f))
		}
	}
	k.deaths = append(k.deaths, deaths...)
	return ctx.Err()
}

func (k *killBed) show() {
	table := tabwriter.NewWriter(k.Lines, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KILLED\tCOUPLE\tLOST\tBACK AFTER\tTCP AFTER\tSTRAIGHT AFTER\tVERDICT")
	for _, d := range k.deaths {
		verdict, straight := "ok", "-"
		if len(d.Faults) > 0 {
			verdict = "FAULT: " + d.Faults[0]
		}
		if d.DirectMS >= 0 {
			straight = fmt.Sprintf("%.1f s", float64(d.DirectMS)/1000)
		}
		fmt.Fprintf(table, "%s\t%s\t%d/%d\t%.1f s\t%.1f s\t%s\t%s\n", d.Killed, d.Couple, d.Lost, d.Asked, float64(d.BackMS)/1000, float64(d.TCPMS)/1000, straight, verdict)
	}
	table.Flush()
}

func (k *killBed) stop() {
	for _, c := range k.couples {
		if c.probe != nil {
			c.probe.Stop()
		}
		for _, e := range c.edges {
			if e != nil {
				e.Stop()
			}
		}
	}
	for _, sn := range k.running {
		sn.Stop()
	}
}
