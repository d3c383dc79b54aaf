package problem

import (
	"errors"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/balance"
	"sonic-netservices/spec"
)

// Balance is the question to strategy balance: the move of a problem, on nodes that are all alive.
func Balance(p *spec.Problem) (*plan.View, balance.Question, error) {
	view, err := View(p.Network)
	if err != nil {
		return nil, balance.Question{}, err
	}
	if p.Move == nil {
		return nil, balance.Question{}, errors.New("move: missing")
	}
	snap := &netmap.Snapshot{}
	for _, n := range view.Nodes {
		node := netmap.Node{Name: n.Name, Tier: n.Tier, Liveness: netmap.Alive}
		for _, k := range kinds(n.Capacity) {
			node.Resources = append(node.Resources, netmap.Resource{Kind: k, Capacity: n.Capacity[k], Used: n.Used[k]})
		}
		snap.Nodes = append(snap.Nodes, node)
	}
	for _, l := range view.Links {
		snap.Links = append(snap.Links, netmap.Link{From: l.A, To: l.B, SpeedBPS: l.Bandwidth * 1e6}, netmap.Link{From: l.B, To: l.A, SpeedBPS: l.Bandwidth * 1e6})
	}
	view.Switches = snap
	id, err := netmap.ParseReplicaID(p.Move.Replica)
	if err != nil {
		return nil, balance.Question{}, err
	}
	q := balance.Question{Params: balance.Defaults(), Problem: balance.Problem{Replica: id, Demand: demand(p.Move.Demand), Source: p.Move.From, DataBytes: float64(p.Move.Data)}}
	return view, q, nil
}
