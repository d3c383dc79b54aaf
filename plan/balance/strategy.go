package balance

import (
	"context"
	"errors"
	"fmt"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
)

// Question is a Problem with its Params, as plan.Strategy is asked.
type Question struct {
	Problem
	Params Params
}

// Check names the first item that cannot be meant.
func (q Question) Check(view *plan.View) error {
	if view.Switches == nil {
		return errors.New("balance: the view has no switches")
	}
	if err := q.Params.Check(); err != nil {
		return fmt.Errorf("balance: %w", err)
	}
	return q.Problem.check(view.Switches)
}

// Strategy is plan.Strategy. Decide says more about every node; bt-manager calls it.
type Strategy struct{}

func (Strategy) Name() string { return "balance" }

// Plan places or moves one replica. The other candidates are alternates, in their order.
func (s Strategy) Plan(_ context.Context, view *plan.View, problem plan.Problem, budget plan.Budget) (plan.Decision, error) {
	q, ok := problem.(Question)
	if !ok {
		return plan.Decision{}, plan.Wrong(s.Name(), problem)
	}
	if err := q.Check(view); err != nil {
		return plan.Decision{}, err
	}
	answer, err := Decide(view.Switches, q.Problem, q.Params)
	if err != nil {
		return plan.Decision{}, err
	}
	d := plan.Decision{Strategy: s.Name(), View: view.Hash(), Seed: budget.Seed, Work: len(view.Switches.Nodes), Measure: "gain, larger is better"}
	for i, c := range answer.Candidates {
		a := plan.Action{Kind: plan.Migrate, Subject: answer.Replica, From: answer.Source, To: c.Node, Amount: answer.Demand}
		if answer.Source == "" {
			a.Kind = plan.Place
		}
		for _, use := range c.Kinds {
			if need := answer.Demand[use.Kind]; need > 0 {
				a.Needs = append(a.Needs, plan.Need{Node: c.Node, Kind: use.Kind, Amount: need})
			}
		}
		if i == 0 {
			d.Actions, d.Score = []plan.Action{a}, c.Gain
			for _, t := range c.Terms {
				d.Why = append(d.Why, fmt.Sprintf("%s: %+.3f, %s", t.Name, t.Value, t.How))
			}
			continue
		}
		d.Alternates = append(d.Alternates, plan.Alternate{What: c.Node, Actions: []plan.Action{a}, Score: c.Gain})
	}
	for _, c := range answer.Refused {
		if c.Node == answer.Source {
			continue
		}
		for _, why := range append(c.Refused, c.Deleted...) {
			d.Why = append(d.Why, c.Node+" refused: "+why)
		}
	}
	if len(answer.Candidates) == 0 {
		e := &plan.Infeasible{What: "replica " + answer.Replica, Because: "no node fits"}
		if admission, node, ok := relax(view.Switches, q); ok {
			e.Relax = fmt.Sprintf("admission: %.2f, at %s", admission, node)
		}
		d.Refused = append(d.Refused, *e)
	}
	return d, nil
}

// relax is the least limit of admission with which some node fits.
func relax(snap *netmap.Snapshot, q Question) (admission float64, node string, ok bool) {
	q.Params.Limits = nil
	for percent := int(100*q.Params.Admission) + 1; percent <= 100; percent++ {
		q.Params.Admission = float64(percent) / 100
		answer, err := Decide(snap, q.Problem, q.Params)
		if err != nil {
			return 0, "", false
		}
		if best, found := answer.Best(); found {
			return q.Params.Admission, best.Node, true
		}
	}
	return 0, "", false
}
