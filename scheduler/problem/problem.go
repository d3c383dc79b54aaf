// Package problem turns what people write (spec) into what strategies read (plan).
//
// It reads spec values, writes plan values, and is told by the scheduler's command line and experiments.
package problem

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/graph"
	"sonic-netservices/plan/topology"
	"sonic-netservices/spec"
)

// Topology is the shape of a network that somebody wrote down.
func Topology(n *spec.Network) (topology.Topology, error) {
	t := topology.Topology{Name: n.Name, Source: n.Source}
	nodes := slices.Clone(n.Nodes)
	slices.SortFunc(nodes, func(a, b spec.NetworkNode) int { return cmp.Compare(a.Name, b.Name) })
	index := map[string]int32{}
	for i, node := range nodes {
		index[node.Name] = int32(i)
		t.Names, t.X, t.Y = append(t.Names, node.Name), append(t.X, node.X), append(t.Y, node.Y)
	}
	for _, l := range n.Links {
		a, b := index[l.A], index[l.B]
		t.Links = append(t.Links, graph.Pair{A: min(a, b), B: max(a, b)})
	}
	if _, parts := t.Graph().Components(); parts != 1 {
		return t, fmt.Errorf("topology %s: is in %d parts; the experiments want one that hangs together", n.Name, parts)
	}
	return t, nil
}

// View is the network of a problem.
func View(n spec.Network) (*plan.View, error) {
	if len(n.Nodes) == 0 {
		if n.Name == "" {
			return nil, fmt.Errorf("network: missing")
		}
		return nil, fmt.Errorf("network: %s: a problem needs its nodes and links, with capacities", n.Name)
	}
	var nodes []plan.Node
	for _, node := range n.Nodes {
		nodes = append(nodes, plan.Node{Name: node.Name, Tier: node.Tier, Capacity: demand(node.Capacity), Used: demand(node.Used),
			UnitCost: node.UnitCost, Processing: milliseconds(node.Processing), Capabilities: node.Capabilities})
	}
	var links []plan.Link
	for _, l := range n.Links {
		links = append(links, plan.Link{A: l.A, B: l.B, Bandwidth: l.Bandwidth, Delay: milliseconds(l.Delay), UnitCost: l.UnitCost})
	}
	return plan.NewView(nodes, links)
}

func demand(m map[string]float64) netmap.Demand {
	d := netmap.Demand{}
	for k, v := range m {
		d[netmap.Kind(k)] = v
	}
	return d
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func kinds(d netmap.Demand) []netmap.Kind { return slices.Sorted(maps.Keys(d)) }
