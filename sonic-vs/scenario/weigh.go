package scenario

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// decided is the newest choice since a time, as nsctl why has it.
func (l *lineStage) decided(ctx context.Context, a act, since time.Time) (d balance.Decision, err error) {
	text, err := l.suite.Nsctl(ctx, "why", service)
	if err != nil {
		return d, err
	}
	if err := os.WriteFile(filepath.Join(l.dir, a.name+".txt"), []byte(text), 0o644); err != nil {
		return d, err
	}
	list, err := l.why(ctx, service)
	if err != nil {
		return d, err
	}
	for _, e := range slices.Backward(list) {
		if e.At.Before(since) {
			break
		}
		if e.What == "chosen" || e.What == "full" {
			return e.choice()
		}
	}
	return d, fmt.Errorf("nsctl why tells of no choice since %v", since)
}

// weigh checks what nsctl why says of an act: which nodes are candidates and in which order, and every figure, computed
// anew from the utilisations, the volume of data and the topology.
func (l *lineStage) weigh(a act, d balance.Decision) {
	var order []string
	for _, c := range d.Candidates {
		order = append(order, c.Node)
	}
	if !slices.Equal(order, a.want) {
		l.fault("%s: candidates %q, want %q", a.name, order, a.want)
	}
	if all := len(d.Candidates) + len(d.Refused); all != len(l.nodes) {
		l.fault("%s: nsctl why explains %d of %d nodes", a.name, all, len(l.nodes))
	}
	for _, score := range slices.Concat(d.Candidates, d.Refused) {
		if score.Node == d.Source {
			continue
		}
		l.figures(a, d, score)
		l.say("           %-6s SU %.3f -> %.3f, SUB %.3f -> %.3f, benefit %.3f, cost %.2f s, gain %.3f %s", score.Node,
			score.SU, score.SUAfter, score.SUB, score.SUBAfter, score.Benefit, score.CostSeconds, score.Gain, strings.Join(score.Refused, "; "))
	}
	for _, score := range d.Refused {
		if score.Node != d.Source && !slices.ContainsFunc(score.Refused, func(why string) bool {
			return strings.HasPrefix(why, "compute ") && strings.HasSuffix(why, "is not below 0.70")
		}) {
			l.fault("%s: %s is refused for %q, want compute", a.name, score.Node, score.Refused)
		}
	}
}

// figures of one node. Readings differ by what idle processes take: a hundredth.
func (l *lineStage) figures(a act, d balance.Decision, s balance.Score) {
	near := func(what string, got, want, apart float64) {
		if !(math.Abs(got-want) <= apart) {
			l.fault("%s: %s: %s is %.4f, want %.4f", a.name, s.Node, what, got, want)
		}
	}
	var before, after []float64
	highest := 0.0
	for _, k := range s.Kinds {
		before, after, highest = append(before, k.Before), append(after, k.After), max(highest, k.After+k.Rise)
		if k.Kind == netmap.Compute {
			near("compute with the service", k.After, lineDemand/l.coresOf(a, s.Node), 0.01)
		}
	}
	if len(after) < 4 {
		l.fault("%s: %s has only %v", a.name, s.Node, s.Kinds)
		return
	}
	seconds := 0.0
	for _, mbps := range l.between(d.Source, s.Node) {
		seconds += 8 * d.DataBytes / (1e6 * mbps)
	}
	const exact = 1e-9
	near("SU", s.SU, deviation(before), exact)
	near("SU after", s.SUAfter, deviation(after), exact)
	near("SUB", s.SUB, slices.Max(before)-slices.Min(before), exact)
	near("SUB after", s.SUBAfter, slices.Max(after)-slices.Min(after), exact)
	near("benefit", s.Benefit, s.SUB-s.SUBAfter, exact)
	near("hops", float64(len(s.Path)), float64(len(l.between(d.Source, s.Node))), 0)
	near("cost", s.CostSeconds, seconds, exact)
	near("gain", s.Gain, 1-highest+0.3*(s.SUB-s.SUBAfter)-0.3*seconds/10, exact)
}

// deviation is the paper's eq. 1 with the square and the root it was meant to have.
func deviation(a []float64) float64 {
	mean, sum := 0.0, 0.0
	for _, x := range a {
		mean += x / float64(len(a))
	}
	for _, x := range a {
		sum += (x - mean) * (x - mean)
	}
	return math.Sqrt(sum / float64(len(a)))
}

// between are the speeds of the links from one node of the line to another, Mbit/s.
func (l *lineStage) between(a, b string) (speeds []float64) {
	at := func(name string) int {
		return slices.IndexFunc(l.nodes, func(n *node) bool { return n.Name == name })
	}
	from, to := min(at(a), at(b)), max(at(a), at(b))
	for _, link := range l.suite.Bed.Topology.Links[from:to] { // in the file they are in the order of the line
		speeds = append(speeds, float64(link.Speed))
	}
	return speeds
}
