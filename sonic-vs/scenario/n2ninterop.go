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
)

// company is who meets in a cell: two edges, each with its supernode.
type company struct {
	name                string
	left, right         overlay.Maker // edges
	leftSite, rightSite string        // of their supernodes
}

// Where the supernodes are. The last two know each other.
const (
	siteOurs    = "sn1"
	siteNtop    = "sn2"
	siteFedOurs = "sn3"
	siteFedNtop = "sn4"
)

var companies = []company{
	{"ours and ntop on ntop", overlay.Ours, overlay.Ntop, siteNtop, siteNtop},
	{"ntop and ntop on ours", overlay.Ntop, overlay.Ntop, siteOurs, siteOurs},
	{"ours and ntop on ours", overlay.Ours, overlay.Ntop, siteOurs, siteOurs},
	{"ours and ours on ntop", overlay.Ours, overlay.Ours, siteNtop, siteNtop},
	{"federated: ours on ours and ntop on ntop", overlay.Ours, overlay.Ntop, siteFedOurs, siteFedNtop},
	{"federated: ntop on ours and ours on ntop", overlay.Ntop, overlay.Ours, siteFedOurs, siteFedNtop},
}

var (
	interopTransforms = []n2n.TransformID{n2n.TransformNull, n2n.TransformAES, n2n.TransformChaCha20, n2n.TransformSpeck}
	interopModes      = []overlay.Mode{overlay.Plain, overlay.Encrypted, overlay.Login}
)

// cell is one of the matrix, and what came of it.
type cell struct {
	Company   string        `json:"company"`
	Transform string        `json:"transform"`
	Mode      overlay.Mode  `json:"mode"`
	Skipped   string        `json:"skipped,omitempty"`
	MeetMS    int64         `json:"meet_ms"` // from the start of the edges to the first answer
	Pings     overlay.Pings `json:"pings"`
	Bytes     int64         `json:"bytes"` // by TCP, with equal checksums
	Way       overlay.Way   `json:"way"`
	Faults    []string      `json:"faults,omitempty"`

	company   company
	community overlay.Community
	number    int
	sample    bool // plays in a quick run, which has each company, transform and mode
}

func (c *cell) name() string {
	return fmt.Sprintf("%s/%s/%s", c.Company, c.Transform, c.Mode)
}

func (c *cell) fail(format string, args ...any) {
	c.Faults = append(c.Faults, fmt.Sprintf(format, args...))
}

// interopCells is the whole matrix.
func interopCells() (all []*cell) {
	for w, who := range companies {
		for x, transform := range interopTransforms {
			for m, mode := range interopModes {
				c := &cell{Company: who.name, Transform: transform.String(), Mode: mode, company: who, number: len(all)}
				if mode == overlay.Login && transform != n2n.TransformChaCha20 && transform != n2n.TransformSpeck {
					c.Skipped = "ntop takes passwords with ChaCha20 and Speck only"
				}
				c.sample = x == w%len(interopTransforms) && m == w%len(interopModes)
				if c.sample && c.Skipped != "" {
					c.sample, all[len(all)-1].sample = false, true // encrypted, then
				}
				c.community = overlay.Community{Name: fmt.Sprintf("cell%d", c.number), Mode: mode, Transform: transform, Net: overlayNet(c.number)}
				all = append(all, c)
			}
		}
	}
	return all
}

// Sizes of what is sent in a cell.
const (
	cellPings = 20
	cellBytes = 4 << 20
	cellsAt   = 4 // a time
)

// n2nInterop plays the matrix of who, which transform, and how it is closed.
func n2nInterop(ctx context.Context, s *stage) error {
	bed, err := s.overlayBed()
	if err != nil {
		return err
	}
	var cells []*cell
	for _, c := range interopCells() {
		if s.chosen(c.name()) && (!s.Quick || len(s.Cases) > 0 || c.sample) {
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return fmt.Errorf("no such cell; names are as %q", interopCells()[0].name())
	}
	supernodes, stop, err := interopSupernodes(bed, cells)
	if err != nil {
		return err
	}
	defer stop()
	for _, site := range []string{"left-open", "right-open"} {
		if err := bed.CountFlows(site); err != nil {
			return err
		}
	}
	together(len(cells), cellsAt, func(i int) {
		if cells[i].Skipped == "" && ctx.Err() == nil {
			cells[i].play(ctx, bed, supernodes)
		}
	})
	for site, sn := range supernodes {
		if !sn.Alive() {
			s.faults = append(s.faults, fmt.Sprintf("the supernode at %s has ended; its log ends:\n%s", site, sn.Tail()))
		}
	}
	for _, c := range cells {
		for _, f := range c.Faults {
			s.faults = append(s.faults, c.name()+": "+f)
		}
	}
	s.showCells(cells)
	if err := writeLines(filepath.Join(s.dir, "cells.jsonl"), cells); err != nil {
		return err
	}
	return ctx.Err()
}

// interopSupernodes starts the four supernodes. The federated ones know each other after a while.
func interopSupernodes(bed *overlay.Bed, cells []*cell) (map[string]*overlay.Supernode, func(), error) {
	var communities []overlay.Community
	for _, c := range cells {
		communities = append(communities, c.community)
	}
	all := map[string]*overlay.Supernode{}
	stop := func() {
		for _, sn := range all {
			sn.Stop()
		}
	}
	for _, o := range []overlay.SupernodeOptions{
		{Site: siteOurs, Maker: overlay.Ours, Communities: communities},
		{Site: siteNtop, Maker: overlay.Ntop, Communities: communities},
		{Site: siteFedNtop, Maker: overlay.Ntop, Communities: communities},
		{Site: siteFedOurs, Maker: overlay.Ours, Communities: communities, Extra: []string{"-federation", "Federation"}},
	} {
		if o.Site == siteFedOurs {
			o.Peers = []overlay.Supernode{*all[siteFedNtop]}
		}
		sn, err := bed.StartSupernode(o)
		if err != nil {
			stop()
			return nil, nil, err
		}
		all[o.Site] = sn
	}
	time.Sleep(time.Second) // an edge that finds no supernode asks again after 3 s
	return all, stop, nil
}

// play lets two edges meet.
func (c *cell) play(ctx context.Context, bed *overlay.Bed, supernodes map[string]*overlay.Supernode) {
	began := time.Now()
	left, err := bed.StartEdge(overlay.EdgeOptions{Site: "left-open", Maker: c.company.left, Community: c.community,
		Supernode: supernodes[c.company.leftSite], Host: 1, Number: c.number})
	if err != nil {
		c.fail("%v", err)
		return
	}
	defer left.Stop()
	right, err := bed.StartEdge(overlay.EdgeOptions{Site: "right-open", Maker: c.company.right, Community: c.community,
		Supernode: supernodes[c.company.rightSite], Host: 2, Number: c.number})
	if err != nil {
		c.fail("%v", err)
		return
	}
	defer right.Stop()
	if _, err := bed.Meet(ctx, left, right, 40*time.Second); err != nil {
		c.fail("%v", err)
		return
	}
	c.MeetMS = time.Since(began).Milliseconds()
	c.look(ctx, bed, left, right)
}

// look pings and transfers, and sees how that went.
func (c *cell) look(ctx context.Context, bed *overlay.Bed, left, right *overlay.Edge) {
	var err error
	// The way there may change while the edges find each other: that is no loss.
	if c.Way, err = bed.AwaitDirect(ctx, left, right, 30*time.Second); err != nil {
		c.fail("%v", err)
		return
	}
	if c.Way != overlay.Direct {
		c.fail("traffic goes by %s where nothing is in the way", c.Way)
	}
	if c.Pings, err = bed.Ping(ctx, left, right, cellPings, 20*time.Millisecond); err != nil {
		c.fail("%v", err)
	} else if c.Pings.Received != c.Pings.Sent {
		c.fail("%d of %d pings got lost", c.Pings.Sent-c.Pings.Received, c.Pings.Sent)
	}
	if err := bed.Transfer(ctx, left, right, cellBytes); err != nil {
		c.fail("transfer: %v", err)
	} else if err := bed.Transfer(ctx, right, left, cellBytes); err != nil {
		c.fail("transfer back: %v", err)
	} else {
		c.Bytes = 2 * cellBytes
	}
}

// showCells prints the matrix.
func (s *stage) showCells(cells []*cell) {
	table := tabwriter.NewWriter(s.Lines, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHO\tTRANSFORM\tMODE\tMET AFTER\tPINGS\tTCP\tWAY\tVERDICT")
	for _, c := range cells {
		if c.Skipped != "" {
			fmt.Fprintf(table, "%s\t%s\t%s\t-\t-\t-\t-\t%s\n", c.Company, c.Transform, c.Mode, c.Skipped)
			continue
		}
		verdict := "ok"
		if len(c.Faults) > 0 {
			verdict, _, _ = strings.Cut("FAULT: "+c.Faults[0], "\n")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f s\t%d/%d\t%d MiB\t%s\t%s\n", c.Company, c.Transform, c.Mode, float64(c.MeetMS)/1000,
			c.Pings.Received, c.Pings.Sent, c.Bytes>>20, c.Way, verdict)
	}
	table.Flush()
}
