package labels

import (
	"context"
	"fmt"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
)

// Problem is some services and their load, slot by slot; the last slot is decided.
type Problem struct {
	Services []Service
	Load     [][]float64 // by slot: services * nodes + node
	Before   *State      // of the slot before the first; nil: none
	Cloud    Cloud
	Params   Params
}

// Check names the first item that cannot be meant.
func (p Problem) Check(view *plan.View) error {
	if err := p.Params.Check(); err != nil {
		return fmt.Errorf("labels: %w", err)
	}
	if len(p.Services) == 0 || len(p.Load) == 0 || len(view.Nodes) == 0 {
		return fmt.Errorf("labels: %d services, %d slots, %d nodes: want one at least", len(p.Services), len(p.Load), len(view.Nodes))
	}
	if !(p.Cloud.Mbps > 0) || !plan.Amount(p.Cloud.RTT) {
		return fmt.Errorf("labels: cloud: %v Mbit/s, %v ms: no way to it", p.Cloud.Mbps, p.Cloud.RTT)
	}
	size := len(p.Services) * len(view.Nodes)
	for _, s := range p.Services {
		switch {
		case !(s.Bound > 0) || !plan.Amount(s.Bound):
			return fmt.Errorf("labels: service %s: bound %v is not a time", s.Name, s.Bound)
		case !plan.Amount(s.Floor) || s.Floor >= s.Bound:
			return fmt.Errorf("labels: service %s: latency bound %v below service floor %v", s.Name, s.Bound, s.Floor)
		case !plan.Amount(s.Bits) || !plan.Amount(s.Memory):
			return fmt.Errorf("labels: service %s: bits %v or memory %v is not an amount", s.Name, s.Bits, s.Memory)
		case !plan.Amount(s.Alpha) || !plan.Amount(s.Mu) || (s.Alpha > 0) == (s.Mu > 0):
			return fmt.Errorf("labels: service %s: alpha %v, mu %v: want exactly one model", s.Name, s.Alpha, s.Mu)
		}
	}
	for t, load := range p.Load {
		if len(load) != size {
			return fmt.Errorf("labels: slot %d: %d loads, want %d", t, len(load), size)
		}
		if i := slices.IndexFunc(load, func(x float64) bool { return !plan.Amount(x) }); i >= 0 {
			return fmt.Errorf("labels: slot %d: service %s at %s: load %v is not an amount", t, p.Services[i/len(view.Nodes)].Name, view.Nodes[i%len(view.Nodes)].Name, load[i])
		}
	}
	if p.Before != nil && (len(p.Before.Load) != size || len(p.Before.CPU) != size || len(p.Before.Idle) != size) {
		return fmt.Errorf("labels: the slot before has %d allocations, want %d", len(p.Before.CPU), size)
	}
	return nil
}

// Strategy is plan.Strategy.
type Strategy struct{}

func (Strategy) Name() string { return "labels" }

// Plan plays all slots and decides the last: what changes against the one before. What goes to the cloud is in Refused
// when the cloud is too late for it.
func (s Strategy) Plan(ctx context.Context, view *plan.View, problem plan.Problem, budget plan.Budget) (plan.Decision, error) {
	p, ok := problem.(Problem)
	if !ok {
		return plan.Decision{}, plan.Wrong(s.Name(), problem)
	}
	if err := p.Check(view); err != nil {
		return plan.Decision{}, err
	}
	planner := &Planner{Net: NewNetwork(view, p.Cloud), Services: p.Services, Params: p.Params}
	before, now := p.Before, p.Before
	d := plan.Decision{Strategy: s.Name(), View: view.Hash(), Seed: budget.Seed, Measure: "part of the requests answered too late, smaller is better"}
	for _, load := range p.Load {
		if ctx.Err() != nil {
			return plan.Decision{}, context.Cause(ctx)
		}
		before, now = now, planner.Slot(load, now)
		d.Work++
	}
	d.Score = planner.Violations(now, now.Load)
	explain(&d, view, planner, before, now)
	return d, nil
}

// explain writes the changes of a slot as actions: first what is given back, then what is taken.
func explain(d *plan.Decision, view *plan.View, p *Planner, before, now *State) {
	n := len(view.Nodes)
	var give, take []plan.Action
	amount := func(s int, cpu float64) netmap.Demand {
		return netmap.Demand{netmap.Compute: cpu, netmap.Memory: p.Services[s].Memory}
	}
	for s, service := range p.Services {
		late, cloud := 0.0, 0
		for node := range n {
			i, had := s*n+node, 0.0
			if before != nil {
				had = before.CPU[i]
			}
			a := plan.Action{Subject: service.Name, To: view.Nodes[node].Name}
			switch cpu := now.CPU[i]; {
			case cpu == had:
			case cpu == 0:
				a.Kind, a.From, a.To, a.Amount = plan.Remove, a.To, "", amount(s, had)
				give = append(give, a)
			case had == 0:
				a.Kind, a.Amount = plan.Place, amount(s, cpu)
				take = append(take, a)
			default:
				a.Kind, a.Before, a.Amount = plan.Resize, amount(s, had), amount(s, cpu)
				if cpu < had {
					give = append(give, a)
				} else {
					take = append(take, a)
				}
			}
			if now.Load[i] > 0 && now.Server[i] == At {
				cloud++
			}
			if now.Time[i] > service.Bound*(1+1e-9) {
				late += now.Load[i]
			}
		}
		l := p.Labels()[s]
		d.Why = append(d.Why, fmt.Sprintf("%s: %s, load %.4g, changed by %s; the cloud serves %d nodes", service.Name, SetNames[l.Set()], l.Load, percent(l.Sigma), cloud))
		if late > 0 {
			e := plan.Infeasible{What: "service " + service.Name, Because: fmt.Sprintf("%.4g of %.4g requests a second have no replica in time and the cloud takes %.4g ms, the bound is %.4g", late, l.Load, p.Net.Cloud.Time(service), service.Bound)}
			if t := p.Net.Cloud.Time(service); !math.IsInf(t, 1) {
				e.Relax = fmt.Sprintf("latency_bound: %.0fms", math.Ceil(t))
			}
			d.Refused = append(d.Refused, e)
		}
	}
	d.Actions = append(give, take...)
}

func percent(part float64) string {
	if math.IsInf(part, 1) {
		return "all of it"
	}
	return fmt.Sprintf("%+.0f %%", 100*part)
}
