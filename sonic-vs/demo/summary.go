package demo

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sonic-netservices/sonic-vs/load"
	"sonic-netservices/sonic-vs/suite"
)

// conclude computes the report from the records, draws it, judges it, and sums it up.
func (d *demo) conclude(out io.Writer) error {
	step("check the records, draw the latency")
	report, verified := load.Check(d.Dir)
	if verified != nil && !errors.Is(verified, load.ErrVerify) {
		return verified
	}
	if err := load.WriteReport(d.Dir, report); err != nil {
		return err
	}
	if err := load.Plot(d.Dir); err != nil {
		return err
	}
	live, cold := report.Part("live"), report.Part("cold")
	if live == nil || cold == nil {
		return errors.New("the report lacks a part")
	}
	if err := d.judge(live, cold); err != nil {
		return err
	}
	if err := d.summary(out, live, cold); err != nil {
		return err
	}
	return errors.Join(verified, d.facts.broken())
}

// judge holds the figures against what the suite promises.
func (d *demo) judge(live, cold *load.PartReport) error {
	const when = "report.json"
	coldMoves := d.count("cold")
	boots := 0
	for _, l := range live.Loads {
		boots = max(boots, len(l.BootIDs))
	}
	return errors.Join(
		d.facts.equal(when, "live.failed_requests", 0, live.Failed),
		d.facts.equal(when, "live.broken_connections", 0, live.Broken),
		d.facts.equal(when, "live.reconnections", 0, live.Reconnected),
		d.facts.equal(when, "live.lost_keys", 0, number(live.Lost)),
		d.facts.equal(when, "live.duplicate_keys", 0, number(live.Duplicate)),
		d.facts.equal(when, "live: boot ids of a load", 1, boots),
		d.facts.equal(when, "live: freezers were sampled", true, live.FreezeMS != nil),
		d.facts.atLeast(when, "cold.failed_requests", 1, cold.Failed),
		d.facts.atLeast(when, "cold.broken_connections", 1, cold.Broken),
		d.facts.equal(when, "cold.new_boots", coldMoves, cold.NewBoots),
		d.facts.equal(when, "cold: boot ids", coldMoves+1, len(cold.BootIDs)),
	)
}

// number is a count that is not known without a copy of the volume.
func number(n *int) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

func (d *demo) count(mode string) int {
	n := 0
	for _, m := range d.moves {
		if m.Mode == mode {
			n++
		}
	}
	return n
}

// summary is ten lines, live beside cold.
func (d *demo) summary(out io.Writer, live, cold *load.PartReport) error {
	fmt.Fprintf(out, "%s at %s, moved %d times between %s and %s under 100 requests/s on 50 kept and 20 new connections/s\n",
		d.live.id(), d.live.address, d.count("live"), here, there)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, live, cold string) { fmt.Fprintf(table, "%s\t%s\t%s\n", name, live, cold) }
	of := func(n, all int) string { return fmt.Sprintf("%d of %d", n, all) }
	row("", fmt.Sprintf("live, %d moves", d.count("live")), fmt.Sprintf("cold, %d moves", d.count("cold")))
	row("failed requests", of(live.Failed, live.Requests), of(cold.Failed, cold.Requests))
	row("broken connections", fmt.Sprint(live.Broken), fmt.Sprint(cold.Broken))
	row("lost, duplicate keys", number(live.Lost)+", "+number(live.Duplicate), number(cold.Lost)+", "+number(cold.Duplicate))
	row("memory lost", of(live.NewBoots, d.count("live")), of(cold.NewBoots, d.count("cold")))
	row("longest gap, freeze", gapAndFreeze(live), gapAndFreeze(cold))
	if err := table.Flush(); err != nil {
		return err
	}
	for _, mode := range []string{"live", "cold"} {
		fmt.Fprintf(out, "%s phases, ms: %s\n", mode, d.phases(mode))
	}
	_, err := fmt.Fprintf(out, "%s: report.json, latency.svg, latency.png, facts.json; check again: sonic-vs load check %s\n", d.Dir, d.Dir)
	return err
}

func gapAndFreeze(p *load.PartReport) string {
	text := fmt.Sprintf("%.0f ms, ", p.GapMS.Milliseconds())
	if p.FreezeMS == nil {
		return text + "unknown"
	}
	return text + fmt.Sprintf("%.0f ms", p.FreezeMS.Milliseconds())
}

// phases of the last move of a mode, without its journal records.
func (d *demo) phases(mode string) string {
	var all []string
	for _, m := range slices.Backward(d.moves) {
		if m.Mode != mode {
			continue
		}
		for _, p := range m.Phases {
			if !strings.HasPrefix(p.Name, "record ") {
				all = append(all, phase(p))
			}
		}
		break
	}
	return strings.Join(all, ", ")
}

func phase(p suite.Phase) string { return fmt.Sprintf("%s %.0f", p.Name, p.TookMS) }
