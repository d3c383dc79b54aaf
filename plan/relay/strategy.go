package relay

import (
	"context"
	"fmt"
	"math"
	"slices"

	"sonic-netservices/plan"
)

// Problem is one window's measurements.
type Problem struct {
	Pairs  []Pair
	Class  Class
	Params Params // Windows does not count: one window is all there is
}

// Pair is what was measured from one edge to another.
type Pair struct {
	From, To string
	Quality
}

// Check names the first item that cannot be meant. Edges need not be nodes of the view.
func (p Problem) Check(*plan.View) error {
	if err := p.Params.Check(); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	if p.Class != Delay && p.Class != Bandwidth {
		return fmt.Errorf("relay: class %q: want delay or bandwidth", p.Class)
	}
	seen := map[[2]string]bool{}
	for _, pair := range p.Pairs {
		switch {
		case pair.From == "" || pair.To == "" || pair.From == pair.To:
			return fmt.Errorf("relay: pair %q, %q: want two edges", pair.From, pair.To)
		case seen[[2]string{pair.From, pair.To}]:
			return fmt.Errorf("relay: pair %s, %s is there twice", pair.From, pair.To)
		case math.IsNaN(pair.RTT) || pair.RTT < 0 || !plan.Amount(pair.Jitter) || !(pair.Loss >= 0 && pair.Loss <= 1) || !plan.Amount(pair.Bandwidth):
			return fmt.Errorf("relay: pair %s, %s: %+v is no measurement", pair.From, pair.To, pair.Quality)
		}
		seen[[2]string{pair.From, pair.To}] = true
	}
	return nil
}

// Strategy is plan.Strategy.
type Strategy struct{}

func (Strategy) Name() string { return "relay" }

// Plan gives a route to each pair that is better off by a relay. Pairs that cannot reach each other are in Refused.
func (s Strategy) Plan(_ context.Context, view *plan.View, problem plan.Problem, budget plan.Budget) (plan.Decision, error) {
	p, ok := problem.(Problem)
	if !ok {
		return plan.Decision{}, plan.Wrong(s.Name(), problem)
	}
	if err := p.Check(view); err != nil {
		return plan.Decision{}, err
	}
	var edges []string
	for _, pair := range p.Pairs {
		edges = append(edges, pair.From, pair.To)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	if len(edges) == 0 {
		return plan.Decision{}, fmt.Errorf("relay: no pair was measured")
	}
	p.Params.Windows = 1
	t, err := New(len(edges), p.Params)
	if err != nil {
		return plan.Decision{}, err
	}
	number := func(edge string) int32 { i, _ := slices.BinarySearch(edges, edge); return int32(i) }
	for _, pair := range p.Pairs {
		t.Measured(number(pair.From), number(pair.To), pair.Quality)
		t.SetClass(number(pair.From), number(pair.To), p.Class)
	}
	d := plan.Decision{Strategy: s.Name(), View: view.Hash(), Seed: budget.Seed, Measure: "pairs that take a relay"}
	d.Score = float64(t.Window())
	for from, a := range edges {
		for to, b := range edges {
			if from == to {
				continue
			}
			d.Work++
			t.explain(&d, edges, int32(from), int32(to), a, b)
		}
	}
	return d, nil
}

func (t *Table) explain(d *plan.Decision, edges []string, from, to int32, a, b string) {
	unit := "ms"
	if t.class != nil && t.class[int(from)*t.N+int(to)] == Bandwidth {
		unit = "Mbit/s"
	}
	direct := t.value(from, to, Direct)
	if !t.alive(from, to, t.Relay[int(from)*t.N+int(to)]) {
		d.Refused = append(d.Refused, plan.Infeasible{What: "pair " + a + ", " + b, Because: "neither the direct way nor one over a relay answers"})
		return
	}
	if r := t.Relay[int(from)*t.N+int(to)]; r != Direct {
		d.Actions = append(d.Actions, plan.Action{Kind: plan.Route, Subject: a + ">" + b, From: a, To: b, Path: []string{a, edges[r], b}, PathBefore: []string{a, b}})
		d.Why = append(d.Why, fmt.Sprintf("%s to %s: %.4g %s by %s, direct %.4g", a, b, t.Value(from, to), unit, edges[r], direct))
		if other, value := t.best(from, to, r); t.alive(from, to, other) {
			alternate := plan.Alternate{What: a + " to " + b + ", direct", Score: value, Why: unit}
			if other != Direct {
				alternate.What = a + " to " + b + " by " + edges[other]
				alternate.Actions = []plan.Action{{Kind: plan.Route, Subject: a + ">" + b, From: a, To: b, Path: []string{a, edges[other], b}, PathBefore: []string{a, b}}}
			}
			d.Alternates = append(d.Alternates, alternate)
		}
		return
	}
	if r, value := t.Best(from, to); r != Direct {
		d.Alternates = append(d.Alternates, plan.Alternate{What: a + " to " + b + " by " + edges[r], Score: value, Why: fmt.Sprintf("%s; direct %.4g: not enough better", unit, direct)})
	}
}
