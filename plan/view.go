// Package plan is what all strategies of the suite share: the snapshot they look at, the interface they have, and the
// explained decision they answer with.
//
//	balance  which replica leaves a node, and where it goes      (behaviour-tree paper, 2.4)
//	labels   replicas of latency-bound services, per time slot   (dual-label patent)
//	chain    VNF chains with traffic splitting                   (TSGA paper)
//	scn      carrying networks per category, paths in order      (carrying-network paper)
//	relay    overlay pairs, direct or by one relay               (N2N patent)
//
// It reads values, writes values, and is told by bt-manager, n2n-supernode and the scheduler: no I/O, no clock. A
// decision is a function of (View, Problem, Budget), to the last digit; equal inputs may come in any order.
package plan

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/graph"
)

// View is the network at one moment, as strategies see it. It is never changed. Nodes and links have numbers: their
// places in Nodes and Links, which are in the order of names.
type View struct {
	Nodes []Node
	Links []Link

	// Switches is what only balance asks for: liveness, replicas, reservations. Nil where there are no switches.
	Switches *netmap.Snapshot

	index map[string]int32
	net   *graph.CSR
}

// Node is a place that hosts. Amounts are in the unit of their kind; used includes what is reserved.
type Node struct {
	Name         string        `json:"name"`
	Tier         string        `json:"tier,omitempty"` // core, edge, access, cloud
	Capacity     netmap.Demand `json:"capacity"`
	Used         netmap.Demand `json:"used,omitempty"`
	UnitCost     float64       `json:"unit_cost,omitempty"`  // of one unit of computing
	Processing   float64       `json:"processing,omitempty"` // ms of one capability at work
	Capabilities []string      `json:"capabilities,omitempty"`
}

// Free is what is left of a kind, never below 0.
func (n Node) Free(k netmap.Kind) float64 { return max(0, n.Capacity[k]-n.Used[k]) }

// Can says whether the node has a capability.
func (n Node) Can(capability string) bool { return slices.Contains(n.Capabilities, capability) }

// Link joins two nodes; both directions share its bandwidth.
type Link struct {
	A         string  `json:"a"`
	B         string  `json:"b"`
	Bandwidth float64 `json:"bandwidth"` // Mbit/s
	Used      float64 `json:"used,omitempty"`
	Delay     float64 `json:"delay"` // ms
	UnitCost  float64 `json:"unit_cost,omitempty"`
}

// Free is what is left of the bandwidth, never below 0.
func (l Link) Free() float64 { return max(0, l.Bandwidth-l.Used) }

// NewView checks a network and puts it in order. The error names the item that cannot be meant.
func NewView(nodes []Node, links []Link) (*View, error) {
	v := &View{Nodes: slices.Clone(nodes), Links: slices.Clone(links), index: map[string]int32{}}
	slices.SortFunc(v.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	for i, n := range v.Nodes {
		if n.Name == "" {
			return nil, fmt.Errorf("view: a node has no name")
		}
		if _, twice := v.index[n.Name]; twice {
			return nil, fmt.Errorf("view: node %s is there twice", n.Name)
		}
		v.index[n.Name] = int32(i)
		for _, part := range []struct {
			name    string
			amounts netmap.Demand
		}{{"capacity", n.Capacity}, {"used", n.Used}} {
			for _, k := range slices.Sorted(maps.Keys(part.amounts)) {
				if !Amount(part.amounts[k]) {
					return nil, fmt.Errorf("view: node %s: %s.%s: %v is not an amount", n.Name, part.name, k, part.amounts[k])
				}
			}
		}
		if !Amount(n.UnitCost) || !Amount(n.Processing) {
			return nil, fmt.Errorf("view: node %s: cost %v or processing %v is not an amount", n.Name, n.UnitCost, n.Processing)
		}
	}
	for i, l := range v.Links {
		if l.A > l.B {
			v.Links[i].A, v.Links[i].B = l.B, l.A
		}
	}
	slices.SortStableFunc(v.Links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B), cmp.Compare(b.Bandwidth, a.Bandwidth), cmp.Compare(a.Delay, b.Delay),
			cmp.Compare(a.Used, b.Used), cmp.Compare(a.UnitCost, b.UnitCost))
	})
	pairs := make([]graph.Pair, len(v.Links))
	for i, l := range v.Links {
		for _, end := range []string{l.A, l.B} {
			if _, known := v.index[end]; !known {
				return nil, fmt.Errorf("view: link %s-%s: no node %s", l.A, l.B, end)
			}
		}
		switch {
		case l.A == l.B:
			return nil, fmt.Errorf("view: link %s-%s: joins a node to itself", l.A, l.B)
		case !Amount(l.Bandwidth) || !Amount(l.Used) || !Amount(l.Delay) || !Amount(l.UnitCost):
			return nil, fmt.Errorf("view: link %s-%s: bandwidth %v, used %v, delay %v or cost %v is not an amount", l.A, l.B, l.Bandwidth, l.Used, l.Delay, l.UnitCost)
		}
		pairs[i] = graph.Pair{A: v.index[l.A], B: v.index[l.B]}
	}
	v.net = graph.NewCSR(len(v.Nodes), pairs, false)
	return v, nil
}

// FromSnapshot is the view of an AS. The two directions of a cable become one link, of the slower speed.
func FromSnapshot(snap *netmap.Snapshot) (*View, error) {
	var nodes []Node
	for _, n := range snap.Nodes {
		node := Node{Name: n.Name, Tier: n.Tier, Capacity: netmap.Demand{}, Used: maps.Clone(snap.Reserved[n.Name])}
		if node.Used == nil {
			node.Used = netmap.Demand{}
		}
		for _, r := range n.Resources {
			node.Capacity[r.Kind] = r.Capacity
			node.Used[r.Kind] += r.Used
		}
		nodes = append(nodes, node)
	}
	known := map[string]bool{}
	for _, n := range nodes {
		known[n.Name] = true
	}
	speeds := map[[2]string]float64{}
	for _, l := range snap.Links {
		if !known[l.From] || !known[l.To] || l.From == l.To {
			continue // a switch of another AS, or one that is in no row
		}
		cable := [2]string{min(l.From, l.To), max(l.From, l.To)}
		if speed, twice := speeds[cable]; !twice || l.SpeedBPS < speed {
			speeds[cable] = l.SpeedBPS
		}
	}
	var links []Link
	for cable, speed := range speeds {
		links = append(links, Link{A: cable[0], B: cable[1], Bandwidth: speed / 1e6})
	}
	v, err := NewView(nodes, links)
	if err != nil {
		return nil, err
	}
	v.Switches = snap
	return v, nil
}

// Index is the number of a node, ok false when there is none of that name.
func (v *View) Index(name string) (int32, bool) {
	i, ok := v.index[name]
	return i, ok
}

// Graph is who is beside whom; weights by link are in the order of Links.
func (v *View) Graph() *graph.CSR { return v.net }

// Hash names the contents of the view: decisions carry it, so that one can be replayed from the snapshot it was made on.
func (v *View) Hash() string {
	h := fnv.New64a()
	for _, n := range v.Nodes {
		fmt.Fprintf(h, "%q %q %v %v %v %v %q\n", n.Name, n.Tier, n.Capacity, n.Used, n.UnitCost, n.Processing, n.Capabilities)
	}
	for _, l := range v.Links {
		fmt.Fprintf(h, "%q %q %v %v %v %v\n", l.A, l.B, l.Bandwidth, l.Used, l.Delay, l.UnitCost)
	}
	if s := v.Switches; s != nil {
		fmt.Fprintf(h, "%v %v %v %v\n", s.Nodes, s.Links, s.Replicas, s.Reserved)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// largest amount of anything, in any unit.
const largest = 1e18

// Amount says whether x can be an amount: a number, not negative, finite.
func Amount(x float64) bool { return x >= 0 && x <= largest && !math.IsNaN(x) }
