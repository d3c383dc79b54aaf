package demo

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"sonic-netservices/sonic-vs/load"
)

// How much slower an overloaded service answers, and how slow it may be after its move, as multiples of before.
const (
	slower = 3.0
	normal = 1.5
)

// concludeStory computes the report from the records, draws it, judges it, and sums it up.
func (d *demo) concludeStory(out io.Writer, budgets Calibration) error {
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
	if live == nil || cold == nil || live.Automatic == nil || cold.Automatic == nil {
		return errors.New("the report lacks a part")
	}
	if err := d.judgeStory(live, cold); err != nil {
		return err
	}
	if err := d.storySummary(out, live, cold, budgets); err != nil {
		return err
	}
	return errors.Join(verified, d.facts.broken())
}

// judgeStory holds the figures against what the suite promises.
func (d *demo) judgeStory(live, cold *load.PartReport) error {
	const when = "report.json"
	boots := len(live.BootIDs)
	errs := []error{
		d.facts.equal(when, "live.failed_requests", 0, live.Failed),
		d.facts.equal(when, "live.broken_connections", 0, live.Broken),
		d.facts.equal(when, "live.reconnections", 0, live.Reconnected),
		d.facts.equal(when, "live.lost_keys", 0, number(live.Lost)),
		d.facts.equal(when, "live.duplicate_keys", 0, number(live.Duplicate)),
		d.facts.equal(when, "live: boot ids", 1, boots),
		d.ratio("live.latency_ms: overloaded / before", live.Phases.Overloaded, live.Phases.Before, slower, true),
		d.ratio("live.latency_ms: after / before", live.Phases.After, live.Phases.Before, normal, false),
		d.facts.equal(when, "cold.lost_keys", 0, number(cold.Lost)),
		d.facts.equal(when, "cold.duplicate_keys", 0, number(cold.Duplicate)),
		d.facts.equal(when, "cold.new_boots", 1, cold.NewBoots),
	}
	for _, p := range []*load.PartReport{live, cold} {
		a := p.Automatic
		errs = append(errs,
			d.facts.equal(when, p.Name+".automatic", "true []", fmt.Sprint(a.Automatic, " ", a.Missing)),
			d.facts.equal(when, p.Name+": moves by the agents' journals", 1, a.Orders),
			d.facts.equal(when, p.Name+": the tree chose", there, a.To),
			d.facts.atLeast(when, p.Name+".watched_after_s", int(watchTime.Seconds()), int(a.WatchedS)),
		)
	}
	return errors.Join(errs...)
}

// ratio notes whether one phase's latency is high, or low, enough beside another's.
func (d *demo) ratio(what string, of, by load.Level, limit float64, least bool) error {
	want := map[bool]string{true: "at least", false: "at most"}[least]
	f := Fact{When: "report.json", What: what, Want: fmt.Sprintf("%s %.1f", want, limit), Got: "unknown"}
	if of.Typical != nil && by.Typical != nil {
		r := of.Typical.Milliseconds() / by.Typical.Milliseconds()
		f.Got = fmt.Sprintf("%.2f", r)
		f.Holds = r >= limit == least || r == limit
	}
	return d.facts.add(f)
}

// storySummary is live beside cold.
func (d *demo) storySummary(out io.Writer, live, cold *load.PartReport, budgets Calibration) error {
	fmt.Fprintf(out, "%s under %d, from second %.0f on %d requests/s: %.2f cores, on %s with a budget of %.2f for services\n",
		d.live.id(), lowRate, stepAt.Seconds(), highRate, budgets.Cores, here, budgets.Budgets[here])
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
