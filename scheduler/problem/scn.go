package problem

import (
	"errors"

	"sonic-netservices/plan"
	"sonic-netservices/plan/scn"
	"sonic-netservices/spec"
)

// SCN is the question to strategy scn: the requests of a problem that name capabilities.
func SCN(p *spec.Problem) (*plan.View, scn.Problem, error) {
	view, err := View(p.Network)
	if err != nil {
		return nil, scn.Problem{}, err
	}
	q := scn.Problem{Params: scn.Defaults()}
	q.Params.Hops = p.Hops
	for _, r := range p.Requests {
		if r.Chain != "" {
			continue
		}
		request := scn.Request{Name: r.Name, From: r.From, To: r.To, Rates: r.Rates}
		for _, s := range r.Steps {
			request.Steps = append(request.Steps, scn.Step{Capability: s.Capability, CPU: s.Compute})
		}
		if request.Rates == nil {
			for range len(r.Steps) + 1 {
				request.Rates = append(request.Rates, r.Rate)
			}
		}
		q.Requests = append(q.Requests, request)
	}
	if len(q.Requests) == 0 {
		return nil, scn.Problem{}, errors.New("requests: none has steps")
	}
	return view, q, nil
}
