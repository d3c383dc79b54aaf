package chain

import (
	"context"
	"fmt"

	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
)

// Method is how a chain problem is solved.
type Method string

// Methods. The paper's check a request's deadline when it is admitted and never again; ours keeps it.
const (
	Neighbours Method = "neighbours" // our own: large neighbourhoods
	TSGA       Method = "tsga"       // tabu search with a genetic algorithm
	TS         Method = "ts"         // tabu search, static split
	RoundRobin Method = "rr"         // no search
)

// Strategy solves Problems. The zero value is Neighbours.
type Strategy struct{ Method Method }

// Name of the strategy.
func (s Strategy) Name() string {
	if s.method() == Neighbours {
		return "chain"
	}
	return "chain/" + string(s.Method)
}

func (s Strategy) method() Method {
	if s.Method == "" {
		return Neighbours
	}
	return s.Method
}

// Result is a solved problem in figures.
type Result struct {
	Work     int     // solutions weighed
	Accepted int     // requests
	Late     int     // of them: miss their deadline now that all are in
	Moved    int     // functions of running replicas
	Cost     float64 // eq. 4
	Fitness  float64 // eq. 17
	Rate     float64 // Mbit/s, of accepted requests
	Delay    float64 // ms, mean of accepted requests

	model     *model
	evaluator *evaluator // has the best solution worked out
	best      solution
	others    []solution // that were the best before, newest first
}

// Solve answers with the best of the solutions that the budget lets it weigh; fewer when ctx ends. Watch, unless nil, is
// told the fitness of the best as it goes.
func (s Strategy) Solve(ctx context.Context, view *plan.View, p *Problem, budget plan.Budget, watch func(work int, fitness float64)) (Result, error) {
	if err := p.Check(view); err != nil {
		return Result{}, err
	}
	m, err := newModel(view, p)
	if err != nil {
		return Result{}, err
	}
	if watch == nil {
		watch = func(int, float64) {}
	}
	r := Result{model: m}
	random := chance.New(budget.Seed, s.Name())
	switch method := s.method(); {
	case len(m.requests) == 0 || len(m.services) == 0:
		r.evaluator, r.best = newEvaluator(m, lazily, true), solution{place: make([]int32, m.places)}
		for at, number := range m.runs {
			r.best.place[at] = m.functions[number].allowed[0]
		}
	case method == Neighbours:
		r.evaluator = newEvaluator(m, cheaply, true)
		b := &neighbours{m: m, e: r.evaluator, r: random, watch: watch}
		r.best, r.Work = b.run(ctx, budget.Or(usualWork(len(m.requests))))
		r.others = b.others
	case method == TSGA || method == TS:
		split := lazily
		if method == TS {
			split = statically
		}
		r.evaluator = newEvaluator(m, split, false)
		b := &tabu{m: m, e: r.evaluator, r: random, genes: method == TSGA, watch: watch}
		r.best, r.Work = b.run(ctx, budget.Or(iterations*neighbourhood))
	case method == RoundRobin:
		r.evaluator, r.best, r.Work = newEvaluator(m, statically, false), roundRobin(m), 1
	default:
		return Result{}, fmt.Errorf("chain: no method %q", method)
	}
	o := r.evaluator.evaluate(&r.best)
	r.Accepted, r.Moved, r.Cost, r.Fitness, r.Late = o.accepted, o.moved, o.cost, o.fitness, r.evaluator.late()
	for t, served := range r.evaluator.served {
		if served {
			r.Rate += m.requests[t].rate
		}
	}
	if o.accepted > 0 {
		r.Delay = o.delay / float64(o.accepted)
	}
	return r, nil
}

// Figures is the result without what it was made of, which is large.
func (r Result) Figures() Result {
	r.model, r.evaluator, r.best, r.others = nil, nil, solution{}, nil
	return r
}

// usualWork is about half a second's: a solution takes the longer the more requests it has.
func usualWork(requests int) int {
	const decisions, most = 600_000, 60_000
	return min(most, decisions/max(1, requests))
}

// Plan solves a Problem and explains what comes out.
func (s Strategy) Plan(ctx context.Context, view *plan.View, problem plan.Problem, budget plan.Budget) (plan.Decision, error) {
	p, ok := problem.(*Problem)
	if !ok {
		return plan.Decision{}, plan.Wrong(s.Name(), problem)
	}
	r, err := s.Solve(ctx, view, p, budget, nil)
	if err != nil {
		return plan.Decision{}, err
	}
	x := explainer{view: view, p: p, Result: r}
	d := plan.Decision{
		Strategy: s.Name(), View: view.Hash(), Seed: budget.Seed, Work: r.Work, Score: r.Fitness,
		Measure: fmt.Sprintf("cost + %.6g for each request that is refused, smaller is better", r.model.rejection),
		Why:     x.why(), Refused: x.refused(), Actions: x.actions(),
	}
	for i := range r.others {
		o := r.evaluator.evaluate(&r.others[i])
		d.Alternates = append(d.Alternates, plan.Alternate{What: fmt.Sprintf("the best but %d: %d requests, cost %.6g", i+1, o.accepted, o.cost), Actions: x.actions(), Score: o.fitness})
	}
	return d, nil
}
