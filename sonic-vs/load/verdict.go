package load

import (
	"fmt"
	"strings"
	"time"

	"sonic-netservices/netmap"
)

// What a watched load has to show.
const (
	slower     = 3.0  // overloaded / before, at least
	normal     = 1.5  // after / before, at most
	overFrom   = 0.92 // of the source's budget that the calibrated cost is
	overTo     = 0.97
	room       = 0.70        // of the target's budget: below
	watchedFor = time.Minute // after the move, at least
)

// Promise is one thing that a watched load has to show, judged by its records.
type Promise struct {
	Name  string `json:"name"`
	Want  string `json:"want"`
	Got   string `json:"got"`
	Holds bool   `json:"holds"`
}

// broken names the promises that were not kept; nil: all were.
func (r Report) broken() error {
	var lines []string
	for _, p := range r.Verdict {
		if !p.Holds {
			lines = append(lines, fmt.Sprintf("%s: %s, want %s", p.Name, p.Got, p.Want))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%w, %d of %d: %s", ErrVerdict, len(lines), len(r.Verdict), strings.Join(lines, "; "))
}

// verdict of a watched load. What is not known does not hold.
func (a *analysis) verdict(p PartReport) []Promise {
	r := p.Automatic
	if a.Watch == nil || r == nil {
		return nil
	}
	var all []Promise
	add := func(name, want, got string, holds bool) {
		all = append(all, Promise{a.Name + "." + name, want, got, holds})
	}
	count := func(name string, want, got int) { add(name, fmt.Sprint(want), fmt.Sprint(got), got == want) }
	none := func(name string, n *int) {
		if n == nil {
			add(name, "0", "unknown: no copy of the volume", false)
			return
		}
		count(name, 0, *n)
	}
	figure := func(name, want string, got *float64, holds func(x float64) bool) {
		if got == nil {
			add(name, want, "unknown", false)
			return
		}
		add(name, want, fmt.Sprintf("%.3f", *got), holds(*got))
	}

	proof := "proved"
	if !r.Automatic {
		proof = strings.Join(append([]string{"not proved"}, r.Missing...), ": ")
	}
	add("automatic", "proved", proof, r.Automatic)
	count("moves", 1, r.Orders)
	count("moves after the first", 0, r.OrdersAfter)
	atLeast := max(watchedFor, a.Watch.After).Seconds()
	figure("watched_after_s", fmt.Sprintf("at least %.0f", atLeast), &r.WatchedS, func(x float64) bool { return x >= atLeast })
	add("the load ended in order", "true", fmt.Sprint(a.About.Ended != 0 && !a.Truncated), a.About.Ended != 0 && !a.Truncated)
	none("lost_keys", p.Lost)
	none("duplicate_keys", p.Duplicate)
	figure("would_use.source", fmt.Sprintf("%.2f to %.2f", overFrom, overTo), r.WouldUse.Source,
		func(x float64) bool { return overFrom <= x && x <= overTo })
	below := func(x float64) bool { return x < room }
	figure("would_use.target", fmt.Sprintf("below %.2f", room), r.WouldUse.Target, below)
	figure("compute.target.after", fmt.Sprintf("below %.2f", room), r.Compute["target"].After, below)
	if a.Watch.Mode != string(netmap.Live) {
		count("new_boots", 1, p.NewBoots)
		return all
	}
	count("failed_requests", 0, p.Failed)
	count("broken_connections", 0, p.Broken)
	count("reconnections", 0, p.Reconnected)
	count("boot ids", 1, len(p.BootIDs))
	l := p.Latency
	figure("latency_ms: overloaded / before", fmt.Sprintf("at least %.1f", slower), ratio(l.Overloaded, l.Before),
		func(x float64) bool { return x >= slower })
	figure("latency_ms: after / before", fmt.Sprintf("at most %.1f", normal), ratio(l.After, l.Before),
		func(x float64) bool { return x <= normal })
	return all
}

// ratio of two latencies; nil: one is not known.
func ratio(of, by *ms) *float64 {
	if of == nil || by == nil || *by <= 0 {
		return nil
	}
	return new(of.Milliseconds() / by.Milliseconds())
}
