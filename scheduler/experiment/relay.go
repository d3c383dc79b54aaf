package experiment

import (
	"context"
	"fmt"
	"math"

	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/relay"
	"sonic-netservices/scheduler/chart"
	"sonic-netservices/scheduler/problem"
	"sonic-netservices/spec"
)

// The patent has one example and no experiment; this is ours: edges in a square of 2,000 km, a round trip of 1 ms for 100 km
// and what each edge's access takes, every fifth pair two to five times as long as it ought to be. Then windows go by in
// which what is measured varies by 10 %.
const (
	p0Square  = 2000.0
	p0Bad     = 0.2
	p0Noise   = 0.1
	p0Windows = 20
)

func relayed() Experiment {
	return Experiment{Name: "relay", About: "overlay pairs, direct or by one relay (P0)", Run: runRelay,
		Solve: func(ctx context.Context, p *spec.Problem, budget plan.Budget) (plan.Decision, error) {
			question, err := problem.Relay(p)
			if err != nil {
				return plan.Decision{}, err
			}
			view, err := plan.NewView(nil, nil)
			if err != nil {
				return plan.Decision{}, err
			}
			return relay.Strategy{}.Plan(ctx, view, question, budget)
		}}
}

// p0Map is round trips in ms, by from * n + to.
func p0Map(r *chance.Rand, n int) []float64 {
	x, y, access := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		x[i], y[i], access[i] = r.Uniform(0, p0Square), r.Uniform(0, p0Square), r.Uniform(1, 5)
	}
	rtt := make([]float64, n*n)
	for a := range n {
		for b := range a {
			w := math.Hypot(x[a]-x[b], y[a]-y[b])/100 + access[a] + access[b]
			if r.Float64() < p0Bad {
				w *= r.Uniform(2, 5)
			}
			rtt[a*n+b], rtt[b*n+a] = w, w
		}
	}
	return rtt
}

// p0Outcome of one map.
type p0Outcome struct {
	pairs, loops, wrong  float64
	improved, by, second float64 // percent of the pairs; percent of their time; points that a second relay would add
	all, allBy           float64 // improved and by, with as many relays as it takes
	longer               float64 // percent of the pairs whose next hops take more than one relay
	calm, nervous        float64 // changes of a pair in all windows, with the rule that damps and without
}

func p0Run(seed uint64, n, windows int) (o p0Outcome, err error) {
	rtt := p0Map(chance.New(seed, "map", fmt.Sprint(n)), n)
	at := func(a, b int32) float64 { return rtt[int(a)*n+int(b)] }
	once, calm, nervous := relay.Defaults(), relay.Defaults(), relay.Defaults()
	once.Windows = 1
	nervous.Windows, nervous.Better, nervous.Gain = 1, 1, 0
	table, err := relay.New(n, once)
	if err != nil {
		return o, err
	}
	fill := func(t *relay.Table, noise func() float64) {
		for a := range int32(n) {
			for b := range int32(n) {
				if a != b {
					t.Measured(a, b, relay.Quality{RTT: at(a, b) * noise()})
				}
			}
		}
	}
	fill(table, func() float64 { return 1 })
	table.Window()
	walk := func(t *relay.Table) (longer float64) {
		for a := range int32(n) {
			for b := range int32(n) {
				if a == b {
					continue
				}
				o.pairs++
				hops, ok := t.Walk(a, b)
				if !ok {
					o.loops++
				}
				if hops > 2 {
					longer++
				}
			}
		}
		return longer
	}
	o.longer = 100 * walk(table) / float64(n*(n-1))
	far := shortest(rtt, n)
	better, saved, further, reached, reachedBy := 0.0, 0.0, 0.0, 0.0, 0.0
	p := relay.Defaults()
	enough := func(old, now float64) bool { return old-now > p.Gain && now < p.Better*old }
	for a := range int32(n) {
		for b := range int32(n) {
			if a == b {
				continue
			}
			best := at(a, b)
			for c := range int32(n) {
				if c != a && c != b {
					best = min(best, at(a, c)+at(c, b))
				}
			}
			_, got := table.Best(a, b)
			if math.Abs(got-best) > 1e-9 {
				o.wrong++
			}
			chosen := table.Value(a, b)
			if chosen < at(a, b) {
				better++
				saved += 1 - chosen/at(a, b)
			}
			f := far[int(a)*n+int(b)]
			if enough(best, f) {
				further++
			}
			if enough(at(a, b), f) {
				reached++
				reachedBy += 1 - f/at(a, b)
			}
		}
	}
	all := float64(n * (n - 1))
	o.improved, o.by, o.second = 100*better/all, 100*saved/max(1, better), 100*further/all
	o.all, o.allBy = 100*reached/all, 100*reachedBy/max(1, reached)
	for _, t := range []struct {
		params  relay.Params
		changes *float64
	}{{calm, &o.calm}, {nervous, &o.nervous}} {
		table, err := relay.New(n, t.params)
		if err != nil {
			return o, err
		}
		r := chance.New(seed, "noise")
		for range windows {
			fill(table, func() float64 { return math.Exp(p0Noise * r.Normal()) })
			*t.changes += float64(table.Window()) / all
		}
		walk(table)
	}
	return o, nil
}

// shortest paths with any number of relays: Floyd's.
func shortest(rtt []float64, n int) []float64 {
	far := append([]float64(nil), rtt...)
	for k := range n {
		through := far[k*n : k*n+n]
		for i := range n {
			row, first := far[i*n:i*n+n], far[i*n+k]
			for j, second := range through {
				row[j] = min(row[j], first+second)
			}
		}
	}
	return far
}

func runRelay(ctx context.Context, o Options) (Report, error) {
	sizes, windows := []int{10, 30, 100}, p0Windows
	if o.Quick {
		sizes, windows = []int{10, 20}, 6
	}
	seeds := o.seeds(20, 2)
	runs, err := each(ctx, seeds, o.Progress, func(_ context.Context, i int) ([]p0Outcome, error) {
		var all []p0Outcome
		for _, n := range sizes {
			outcome, err := p0Run(o.First+uint64(i), n, windows)
			if err != nil {
				return nil, err
			}
			all = append(all, outcome)
		}
		return all, nil
	})
	if err != nil {
		return Report{}, err
	}
	of := func(size int, value func(p0Outcome) float64) (values []float64) {
		for _, r := range runs {
			values = append(values, value(r[size]))
		}
		return values
	}
	t := Table{Name: "relay", Title: "Pairs that a relay improves", Columns: []Column{{"edges", 0}, {"improved (%)", 1}, {"by (%)", 1}, {"second relay adds (points)", 2},
		{"walks over two (%)", 2}, {"changes a pair", 2}, {"undamped", 2}}}
	c := chart.Chart{Name: "relay", Title: "Pairs improved by one relay, and by how much", X: "edges", Y: "%", Lines: []chart.Line{{Name: "pairs improved"}, {Name: "their time saved"}}}
	pairs, loops, wrong := 0.0, 0.0, 0.0
	for i, n := range sizes {
		improved, by := intervalOf(of(i, func(o p0Outcome) float64 { return o.improved })), intervalOf(of(i, func(o p0Outcome) float64 { return o.by }))
		t.Add(n, improved, by, intervalOf(of(i, func(o p0Outcome) float64 { return o.second })), intervalOf(of(i, func(o p0Outcome) float64 { return o.longer })),
			intervalOf(of(i, func(o p0Outcome) float64 { return o.calm })), intervalOf(of(i, func(o p0Outcome) float64 { return o.nervous })))
		for k, v := range []Interval{improved, by} {
			c.Lines[k].Points = append(c.Lines[k].Points, chart.Point{X: float64(n), Y: v.Mean, Half: v.Half})
		}
		for _, r := range runs {
			pairs, loops, wrong = pairs+r[i].pairs, loops+r[i].loops, wrong+r[i].wrong
		}
	}
	r := Report{Tables: []Table{t}, Charts: []chart.Chart{c}}
	r.Notes = append(r.Notes, fmt.Sprintf("%.0f pairs were walked by their next hops: %.0f go around. %.0f choices differ from trying all relays.", pairs, loops, wrong))
	if !o.Paper {
		return r, nil
	}
	mean := func(value func(p0Outcome) float64) float64 { return intervalOf(of(len(sizes)-1, value)).Mean }
	exact := func(x float64) Interval { return Interval{x, math.NaN(), seeds} }
	r.Claims = append(r.Claims,
		Claim{What: "pairs walked", Got: exact(pairs), Low: 400_000, High: math.Inf(1), Gate: true},
		Claim{What: "walks that go around", Got: exact(loops), Gate: true},
		Claim{What: "choices that differ from brute force", Got: exact(wrong), Gate: true})
	r.Figures = append(r.Figures,
		Figure{Name: "plan.relay_improved_percent", Value: mean(func(o p0Outcome) float64 { return o.improved }), Unit: "percent", Runs: seeds}.Against(mean(func(o p0Outcome) float64 { return o.all })),
		Figure{Name: "plan.relay_saved_percent", Value: mean(func(o p0Outcome) float64 { return o.by }), Unit: "percent", Runs: seeds}.Against(mean(func(o p0Outcome) float64 { return o.allBy })),
		Figure{Name: "plan.relay_loops", Value: loops, Unit: "count", Runs: seeds}.Against(0))
	return r, nil
}
