package problem

import (
	"errors"
	"fmt"

	"sonic-netservices/plan"
	"sonic-netservices/plan/chain"
	"sonic-netservices/spec"
)

// Chain is the question to strategy chain: the requests of a problem that name a chain, all there at once.
func Chain(p *spec.Problem) (*plan.View, *chain.Problem, error) {
	view, err := View(p.Network)
	if err != nil {
		return nil, nil, err
	}
	q := &chain.Problem{Batch: true, Paths: 3}
	for _, f := range p.Functions {
		g := chain.Function{Name: f.Name, Ratio: f.Ratio, PerMbps: f.ComputePerMbps, Reserve: f.Instance}
		switch f.Where {
		case spec.EdgeTier:
			g.Where = chain.Edge
		case spec.CoreTier:
			g.Where = chain.Core
		case spec.AnyTier, "":
		default:
			return nil, nil, fmt.Errorf("function %s: where: %q is no tier of chains", f.Name, f.Where)
		}
		q.Functions = append(q.Functions, g)
	}
	for _, c := range p.Chains {
		q.Services = append(q.Services, chain.Service{Name: c.Name, Functions: c.Functions})
	}
	for _, r := range p.Requests {
		if r.Chain == "" {
			continue
		}
		q.Requests = append(q.Requests, chain.Request{Name: r.Name, From: r.From, To: r.To, Service: r.Chain, Rate: r.Rate, Deadline: milliseconds(r.Deadline)})
	}
	if len(q.Requests) == 0 {
		return nil, nil, errors.New("requests: none names a chain")
	}
	return view, q, nil
}
