// Package experiment runs the papers' experiments again, beside our own methods, on the strategies of plan.
//
// It reads Options, writes a Report, and is told by the scheduler's command line: whoever calls shows it and keeps its
// tables, charts and figures. One seed gives one set of digits: seeds run side by side, but each alone draws from its own
// streams, and results are joined in the order of seeds.
package experiment

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"sonic-netservices/plan"
	"sonic-netservices/plan/topology"
	"sonic-netservices/scheduler/chart"
	"sonic-netservices/spec"
)

// Options of a run.
type Options struct {
	Seeds    int    // runs, each with its own network and load; 0: the experiment's default
	First    uint64 // seed of the first run
	Quick    bool   // small: that it works, not what comes out
	Paper    bool   // the paper's own setting, and its claims judged
	Topology *topology.Topology
	Progress func(done, total int)
}

// Experiment is one paper's.
type Experiment struct {
	Name  string
	About string
	Seeds int    // default
	First uint64 // default of Options.First; 0: 1000
	Run   func(ctx context.Context, o Options) (Report, error)
	Solve func(ctx context.Context, p *spec.Problem, budget plan.Budget) (plan.Decision, error) // one problem of a user's own
}

// All experiments, by name.
func All() []Experiment {
	return []Experiment{carrying(), chains(), labelled(), balanced(), relayed()}
}

// Report is what came out.
type Report struct {
	Tables  []Table
	Charts  []chart.Chart
	Claims  []Claim
	Figures []Figure
	Notes   []string
}

// Claim is one thing that a paper, or we, say about the outcome.
type Claim struct {
	ID     string // in docs/papers.md: P4-28; "" for one of ours
	What   string
	Said   string // the paper's words
	Got    Interval
	Unit   string
	Low    float64 // holds from here
	High   float64 // to here
	Gate   bool    // the experiment fails when it does not hold
	Reason string  // why it may not hold, as far as we know
}

// Holds says whether the outcome keeps the claim.
func (c Claim) Holds() bool { return c.Got.Mean >= c.Low && c.Got.Mean <= c.High }

// Figure is one line for bench.jsonl, as sonic-vs writes them.
type Figure struct {
	Name     string   `json:"name"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Baseline *float64 `json:"baseline"`
	Ratio    *float64 `json:"ratio"`
	Runs     int      `json:"runs"`
	Load     float64  `json:"load"` // of the machine when it was written
}

// Against gives a figure what it is held against.
func (f Figure) Against(baseline float64) Figure {
	f.Baseline = &baseline
	if baseline != 0 {
		ratio := f.Value / baseline
		f.Ratio = &ratio
	}
	return f
}

// each runs n jobs on all processors and gives their results in order. The first error in that order ends it.
func each[T any](ctx context.Context, n int, progress func(done, total int), job func(ctx context.Context, i int) (T, error)) ([]T, error) {
	results, errs := make([]T, n), make([]error, n)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var next, done atomic.Int64
	var shown sync.Mutex
	var workers sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				if results[i], errs[i] = job(ctx, i); errs[i] != nil {
					stop()
					return
				}
				finished := int(done.Add(1))
				if progress != nil {
					shown.Lock()
					progress(finished, n)
					shown.Unlock()
				}
			}
		})
	}
	workers.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, fmt.Errorf("run %d: %w", i, errs[i])
	}
	return results, context.Cause(ctx)
}

// seeds is how many runs there are.
func (o Options) seeds(normal, quick int) int {
	switch {
	case o.Seeds > 0:
		return o.Seeds
	case o.Quick:
		return quick
	}
	return normal
}
