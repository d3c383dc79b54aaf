package scenario

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/overlay"
	"sonic-netservices/sonic-vs/testbed"
)

// natCell is a pair of NATs with an edge of ours behind each, and what came of it.
type natCell struct {
	Left      testbed.NAT   `json:"left"`
	Right     testbed.NAT   `json:"right"`
	Want      overlay.Way   `json:"want,omitempty"` // "": either
	Way       overlay.Way   `json:"way"`
	SettleMS  int64         `json:"settle_ms"` // from the start to Way, or to the end of the wait for it
	Pings     overlay.Pings `json:"pings"`
	Bytes     int64         `json:"bytes"`
	SaysLeft  string        `json:"says_left"` // what each edge takes its NAT for
	SaysRight string        `json:"says_right"`
	Why       []string      `json:"why,omitempty"` // it is not direct, as the edges say
	Faults    []string      `json:"faults,omitempty"`
}

func (c *natCell) name() string { return string(c.Left + "/" + c.Right) }

func (c *natCell) fail(format string, args ...any) {
	c.Faults = append(c.Faults, fmt.Sprintf(format, args...))
}

// mustBeDirect says where edges have to find a straight way: everywhere but between two NATs that both draw a port for each
// receiver. Where one does and the other filters, the edges try ports until one is found.
func mustBeDirect(a, b testbed.NAT) bool { return a != testbed.Symmetric || b != testbed.Symmetric }

// natNames are what our edges call the kinds.
var natNames = map[testbed.NAT]n2n.NAT{testbed.Open: n2n.NATNone, testbed.FullCone: n2n.NATFull,
	testbed.Restricted: n2n.NATRestricted, testbed.Symmetric: n2n.NATSymmetric}

// n2nNAT plays all pairs at once, each a community of its own.
func n2nNAT(ctx context.Context, s *stage) error {
	bed, err := s.overlayBed()
	if err != nil {
		return err
	}
	var cells []*natCell
	for i, a := range testbed.NATs() {
		for j, b := range testbed.NATs() {
			c := &natCell{Left: a, Right: b}
			if mustBeDirect(a, b) {
				c.Want = overlay.Direct
			}
			// A sample: each kind on each side, and the pairs that are hard.
			if s.chosen(c.name()) && (!s.Quick || len(s.Cases) > 0 || i == j || i == 2 && j == 3) {
				cells = append(cells, c)
			}
		}
	}
	if len(cells) == 0 {
		return fmt.Errorf("no such cell; names are as %s/%s", testbed.FullCone, testbed.Symmetric)
	}
	federated := []string{"-federation", "nat"}
	sn, err := bed.StartSupernode(overlay.SupernodeOptions{Site: siteOurs, Maker: overlay.Ours, Extra: federated})
	if err != nil {
		return err
	}
	defer sn.Stop()
	// Only who is seen by two can tell whether its port is the same for both.
	second, err := bed.StartSupernode(overlay.SupernodeOptions{Site: siteFedOurs, Maker: overlay.Ours, Peers: []overlay.Supernode{*sn}, Extra: federated})
	if err != nil {
		return err
	}
	defer second.Stop()
	time.Sleep(500 * time.Millisecond)
	for _, n := range testbed.NATs() {
		for _, side := range []string{"left-", "right-"} {
			if err := bed.CountFlows(side + string(n)); err != nil {
				return err
			}
		}
	}
	together(len(cells), len(cells), func(i int) { cells[i].play(ctx, bed, sn, i) })
	for _, c := range cells {
		for _, f := range c.Faults {
			s.faults = append(s.faults, c.name()+": "+f)
		}
	}
	s.showNATs(cells)
	if err := writeLines(filepath.Join(s.dir, "cells.jsonl"), cells); err != nil {
		return err
	}
	return ctx.Err()
}

// play lets two edges meet from behind their NATs.
func (c *natCell) play(ctx context.Context, bed *overlay.Bed, sn *overlay.Supernode, number int) {
	began := time.Now()
	community := overlay.Community{Name: fmt.Sprintf("nat%d", number), Mode: overlay.Plain, Transform: n2n.TransformSpeck, Net: overlayNet(number)}
	var edges []*overlay.Edge
	for i, site := range []string{"left-" + string(c.Left), "right-" + string(c.Right)} {
		e, err := bed.StartEdge(overlay.EdgeOptions{Site: site, Maker: overlay.Ours, Community: community, Supernode: sn, Host: i + 1, Number: number})
		if err != nil {
			c.fail("%v", err)
			return
		}
		defer e.Stop()
		edges = append(edges, e)
	}
	left, right := edges[0], edges[1]
	if _, err := bed.Meet(ctx, left, right, 40*time.Second); err != nil {
		c.fail("%v", err)
		return
	}
	var err error
	limit := 25 * time.Second
	if c.Want == overlay.Direct {
		limit = 60 * time.Second // of ten thousand fans of sockets some find nothing; there is a second one after 30 s
	}
	if c.Way, err = bed.AwaitDirect(ctx, left, right, limit); err != nil {
		c.fail("%v", err)
		return
	}
	c.SettleMS = time.Since(began).Milliseconds()
	if c.Want != "" && c.Way != c.Want {
		c.fail("traffic goes by %s, and nothing keeps it from going %s", c.Way, c.Want)
	}
	if c.Pings, err = bed.Ping(ctx, left, right, cellPings, 20*time.Millisecond); err != nil {
		c.fail("%v", err)
	} else if c.Pings.Received != c.Pings.Sent {
		c.fail("%d of %d pings got lost", c.Pings.Sent-c.Pings.Received, c.Pings.Sent)
	}
	if err := bed.Transfer(ctx, left, right, cellBytes); err != nil {
		c.fail("transfer: %v", err)
	} else {
		c.Bytes = cellBytes
	}
	c.listen(ctx, left, right)
}

// listen asks the edges what they take their NATs for and, where they do not send straight, why.
func (c *natCell) listen(ctx context.Context, left, right *overlay.Edge) {
	for _, e := range []struct {
		edge, peer *overlay.Edge
		is         testbed.NAT
		says       *string
	}{{left, right, c.Left, &c.SaysLeft}, {right, left, c.Right, &c.SaysRight}} {
		status, err := e.edge.Ask(ctx)
		for limit := time.Now().Add(40 * time.Second); err == nil && status.Peering.NAT != natNames[e.is].String() && time.Now().Before(limit); {
			time.Sleep(time.Second)
			status, err = e.edge.Ask(ctx)
		}
		if err != nil {
			c.fail("status: %v", err)
			continue
		}
		if *e.says = status.Peering.NAT; *e.says != natNames[e.is].String() {
			c.fail("%s takes its NAT for %q, and it is %s", e.edge.Site, *e.says, e.is)
		}
		for _, p := range status.Peering.Peers {
			switch {
			case p.MAC != e.peer.MAC.String():
			case c.Way == overlay.Direct && p.Path != "direct":
				c.fail("%s says that it sends by %s, and it sends straight", e.edge.Site, p.Path)
			case c.Way == overlay.Relay && (p.Path != "relay" || p.Why == ""):
				c.fail("%s sends by the supernode and says path %q, why %q", e.edge.Site, p.Path, p.Why)
			case p.Why != "":
				c.Why = append(c.Why, p.Why)
			}
		}
	}
}

func (s *stage) showNATs(cells []*natCell) {
	table := tabwriter.NewWriter(s.Lines, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LEFT\tRIGHT\tWAY\tSETTLED AFTER\tPINGS\tTCP\tVERDICT\tWHY NOT DIRECT")
	for _, c := range cells {
		verdict := "ok"
		if len(c.Faults) > 0 {
			verdict, _, _ = strings.Cut("FAULT: "+c.Faults[0], "\n")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f s\t%d/%d\t%d MiB\t%s\t%s\n", c.Left, c.Right, c.Way, float64(c.SettleMS)/1000,
			c.Pings.Received, c.Pings.Sent, c.Bytes>>20, verdict, strings.Join(c.Why, "; "))
	}
	table.Flush()
}
