package problem

import (
	"errors"
	"fmt"

	"sonic-netservices/plan"
	"sonic-netservices/plan/labels"
	"sonic-netservices/spec"
)

// Labels is the question to strategy labels: the services of a problem, with all slots of their load.
func Labels(p *spec.Problem) (*plan.View, labels.Problem, error) {
	view, err := View(p.Network)
	if err != nil {
		return nil, labels.Problem{}, err
	}
	if len(p.Services) == 0 {
		return nil, labels.Problem{}, errors.New("services: missing")
	}
	q := labels.Problem{Params: labels.Defaults(), Cloud: labels.Cloud{Mbps: p.Cloud.Bandwidth, RTT: milliseconds(p.Cloud.RTT)}}
	slots := 0
	for _, s := range p.Services {
		q.Services = append(q.Services, labels.Service{Name: s.Name, Bound: milliseconds(s.LatencyBound), Floor: milliseconds(s.Floor),
			Bits: 8 * float64(s.RequestSize), Alpha: milliseconds(s.LoadModel.Linear), Mu: s.LoadModel.Queue, Memory: float64(s.Memory)})
		for _, l := range s.Load {
			slots = max(slots, len(l.Slots))
		}
	}
	for range slots {
		q.Load = append(q.Load, make([]float64, len(p.Services)*len(view.Nodes)))
	}
	for i, s := range p.Services {
		for _, l := range s.Load {
			if len(l.Slots) != slots {
				return nil, labels.Problem{}, fmt.Errorf("services: %s has %d slots at %s, another one %d", s.Name, len(l.Slots), l.Node, slots)
			}
			node, _ := view.Index(l.Node)
			for t, x := range l.Slots {
				q.Load[t][i*len(view.Nodes)+int(node)] = x
			}
		}
	}
	return view, q, nil
}
