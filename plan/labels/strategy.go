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
	if p.Before == nil {
		return nil
	}
	if len(p.Before.Services) != len(p.Services) {
		return fmt.Errorf("labels: the slot before has %d services, want %d", len(p.Before.Services), len(p.Services))
	}
	for i, d := range p.Before.Services {
		for _, r := range d.Replicas {
			if r.Node < 0 || int(r.Node) >= len(view.Nodes) || !plan.Amount(r.CPU) || r.CPU == 0 {
				return fmt.Errorf("labels: the slot before: service %s has %v cores on node %d of %d", p.Services[i].Name, r.CPU, r.Node, len(view.Nodes))
			}
		}
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
	d.Score = planner.Violations(now)
	explain(&d, view, planner, before, now)
	return d, nil
}

// explain writes the changes of a slot as actions: first what is given back, then what is taken.
func explain(d *plan.Decision, view *plan.View, p *Planner, before, now *State) {
	var give, take []plan.Action
	amount := func(s int, cpu float64) netmap.Demand {
		return netmap.Demand{netmap.Compute: cpu, netmap.Memory: p.Services[s].Memory}
	}
	// What the services of the problem have is not among what the view's nodes have in use.
	needs := func(s int, node int32, cpu float64) []plan.Need {
		name := view.Nodes[node].Name
		return []plan.Need{{Node: name, Kind: netmap.Compute, Amount: cpu}, {Node: name, Kind: netmap.Memory, Amount: p.Services[s].Memory}}
	}
	for s, service := range p.Services {
		var old []Replica
		if before != nil {
			old = before.Services[s].Replicas
		}
		changes(old, now.Services[s].Replicas, func(node int32, had, cpu float64) {
			a := plan.Action{Subject: service.Name, To: view.Nodes[node].Name}
			switch {
			case cpu == had:
			case cpu == 0:
				a.Kind, a.From, a.To, a.Amount = plan.Remove, a.To, "", amount(s, had)
				give = append(give, a)
			case had == 0:
				a.Kind, a.Amount, a.Needs = plan.Place, amount(s, cpu), needs(s, node, cpu)
				take = append(take, a)
				if p.labels[s].Sens == 0 {
					return // the nearest replica, or the cloud
				}
				if other, cpu, ok := p.elsewhere(s, now.Services[s], node); ok {
					b := a
					b.To, b.Amount, b.Needs = view.Nodes[other].Name, amount(s, cpu), needs(s, other, cpu)
					d.Alternates = append(d.Alternates, plan.Alternate{What: service.Name + " on " + b.To, Actions: []plan.Action{b}, Score: d.Score})
				}
			default:
				a.Kind, a.Before, a.Amount, a.Needs = plan.Resize, amount(s, had), amount(s, cpu), needs(s, node, cpu)
				if cpu < had {
					give = append(give, a)
				} else {
					take = append(take, a)
				}
			}
		})
		late, cloud := 0.0, 0
		for _, c := range now.Services[s].Clients {
			if c.Server == At {
				cloud++
			}
			if c.Late(service) {
				late += c.Load
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

// elsewhere is where a service of low sensitivity could be instead, with what the slot has left: the emptiest node in time.
func (p *Planner) elsewhere(s int, d Deployed, than int32) (node int32, cpu float64, ok bool) {
	emptiest := 0.0
	for n := range int32(len(p.cpu)) {
		size, fits := p.size(s, &d, n)
		if n != than && fits && size <= p.cpu[n] && p.Services[s].Memory <= p.memory[n] && p.room(n) > emptiest {
			node, cpu, ok, emptiest = n, size, true, p.room(n)
		}
	}
	return node, cpu, ok
}

// changes tells of each node with a replica, before or now, how much computing it had and has; by node.
func changes(before, now []Replica, tell func(node int32, had, cpu float64)) {
	for len(before) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(before) > 0 && before[0].Node < now[0].Node:
			tell(before[0].Node, before[0].CPU, 0)
			before = before[1:]
		case len(before) == 0 || now[0].Node < before[0].Node:
			tell(now[0].Node, 0, now[0].CPU)
			now = now[1:]
		default:
			tell(now[0].Node, before[0].CPU, now[0].CPU)
			before, now = before[1:], now[1:]
		}
	}
}

func percent(part float64) string {
	if math.IsInf(part, 1) {
		return "all of it"
	}
	return fmt.Sprintf("%+.0f %%", 100*part)
}
