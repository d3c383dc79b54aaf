package demo

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sonic-netservices/sonic-vs/load"
)

// concludeStory computes the report and its verdict from the records, draws it, and sums it up.
func (d *demo) concludeStory(out io.Writer) error {
	step("check the records, draw the latency")
	report, verified := load.Check(d.Dir)
	if verified != nil && !load.Reported(verified) {
		return verified
	}
	if err := load.WriteReport(d.Dir, report); err != nil {
		return err
	}
	if err := load.Plot(d.Dir); err != nil {
		return err
	}
	live, cold := report.Part("live"), report.Part("cold")
	if live == nil || cold == nil || live.Automatic == nil || cold.Automatic == nil {
		return errors.Join(errors.New("the report lacks a part"), verified)
	}
	for _, p := range report.Verdict {
		if err := d.facts.add(Fact{When: "report.json", What: p.Name, Want: p.Want, Got: p.Got, Holds: p.Holds}); err != nil {
			return err
		}
	}
	for _, p := range []*load.PartReport{live, cold} {
		if err := d.facts.equal("report.json", p.Name+": the tree chose", there, p.To); err != nil {
			return err
		}
		o := p.Compute["others"]
		if used := []string{percent(o.Before), percent(o.Overloaded), percent(o.After)}; busyWith(o.Before, o.Overloaded, o.After) {
			step("  ! %s: the machine was busy with something else, cores before, overloaded, after: %s", p.Name, strings.Join(used, ", "))
		}
	}
	if err := d.storySummary(out, live, cold); err != nil {
		return err
	}
	if errors.Is(verified, load.ErrVerify) {
		return errors.Join(verified, d.facts.broken())
	}
	return d.facts.broken()
}

// storySummary is live beside cold.
func (d *demo) storySummary(out io.Writer, live, cold *load.PartReport) error {
	fmt.Fprintf(out, "%s under %d, from second %.0f on %d requests/s: %.3f cores, on %s with a budget of %.3f for services\n",
		d.live.id(), lowRate, stepAt.Seconds(), highRate, cost(live), here, live.Compute["source"].Budget)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, of func(p *load.PartReport) string) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", name, of(live), of(cold))
	}
	row("", func(p *load.PartReport) string { return p.Name })
	row("moved by", func(p *load.PartReport) string { return p.Automatic.Op })
	row("from, to", func(p *load.PartReport) string { return p.From + ", " + p.To })
	row("overload to done", func(p *load.PartReport) string { return fmt.Sprintf("%.1f s", p.OverloadToDoneS) })
	row("latency before, overloaded, after", func(p *load.PartReport) string {
		return typical(p.Phases.Before) + ", " + typical(p.Phases.Overloaded) + ", " + typical(p.Phases.After)
	})
	row("its budget used, before, overloaded", func(p *load.PartReport) string {
		return percent(p.Compute["source"].Before) + ", " + percent(p.Compute["source"].Overloaded)
	})
	row("failed requests", func(p *load.PartReport) string { return fmt.Sprintf("%d of %d", p.Failed, p.Requests) })
	row("broken connections", func(p *load.PartReport) string { return fmt.Sprint(p.Broken) })
	row("lost, duplicate keys", func(p *load.PartReport) string { return number(p.Lost) + ", " + number(p.Duplicate) })
	row("longest gap, freeze", gapAndFreeze)
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s: report.json, latency.svg, latency.png, facts.json; check again: sonic-vs load check %s\n", d.Dir, d.Dir)
	return err
}

// typical is the mean latency of a typical second.
func typical(l load.Level) string {
	if l.Typical == nil {
		return "none"
	}
	return fmt.Sprintf("%.1f ms", l.Typical.Milliseconds())
}

// cost is what was calibrated; 0: nothing.
func cost(p *load.PartReport) float64 {
	if p.Calibration == nil {
		return 0
	}
	return p.Calibration.Cores
}

// busyWith says whether one of some shares of the machine is too much to measure beside.
func busyWith(shares ...*float64) bool {
	return slices.ContainsFunc(shares, func(x *float64) bool { return x != nil && *x > busy })
}

func percent(x *float64) string {
	if x == nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f %%", 100**x)
}
