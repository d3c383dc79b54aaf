package balance

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/graph"
)

// Field is a snapshot, and the peaks of its nodes, made ready for many questions: Best answers what Decide does, in mode
// product, without a word of explanation and without allocating. It serves one caller at a time.
type Field struct {
	params Params
	snap   *netmap.Snapshot
	nodes  []fieldNode // as in the snapshot
	index  map[string]int32
	kinds  map[netmap.Kind]int32
	limits []float64 // by kind
	uses   []fieldUse
	hosts  map[string][]fieldHost // by service
	graph  *graph.Graph

	tree   graph.Tree
	need   []float64 // by kind
	barred []bool    // by node
}

type fieldNode struct {
	name        string
	open        bool // alive, not drained, with readings that can be true
	number      int  // in the graph
	first, last int32
}

// fieldUse is one kind of one node; those of a node lie together.
type fieldUse struct {
	kind           int32
	capacity, used float64 // reserved amounts are used
	rise           float64
}

type fieldHost struct {
	replica netmap.ReplicaID
	node    int32
}

// NewField reads a snapshot and peaks, which may be none.
func NewField(snap *netmap.Snapshot, peaks map[string]netmap.Demand, params Params) (*Field, error) {
	if err := params.Check(); err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	if err := checkPeaks(peaks); err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	if params.Mode != Product {
		return nil, errors.New("balance: a field is for mode product: what mode paper deletes, Decide says")
	}
	j := newJudge(snap, Problem{Peaks: peaks}, params)
	f := &Field{params: params, snap: snap, index: map[string]int32{}, kinds: map[netmap.Kind]int32{}, hosts: map[string][]fieldHost{}, graph: j.graph, barred: make([]bool, len(snap.Nodes))}
	for i, node := range snap.Nodes {
		resources, garbage := readings(node, snap.Reserved[node.Name])
		n := fieldNode{name: node.Name, open: node.Liveness == netmap.Alive && !node.Drained && len(garbage) == 0,
			number: f.graph.Number(node.Name), first: int32(len(f.uses))}
		for _, r := range resources {
			k, known := f.kinds[r.Kind]
			if !known {
				k = int32(len(f.kinds))
				f.kinds[r.Kind], f.limits = k, append(f.limits, params.limit(r.Kind))
			}
			f.uses = append(f.uses, fieldUse{k, r.Capacity, r.Used, j.rise(node.Name, r)})
		}
		n.last = int32(len(f.uses))
		f.nodes = append(f.nodes, n)
		f.index[node.Name] = int32(i)
	}
	f.need = make([]float64, len(f.kinds))
	for _, r := range snap.Replicas {
		if node, known := f.index[r.Node]; known && r.State != netmap.Unloaded {
			f.hosts[r.ID.Service] = append(f.hosts[r.ID.Service], fieldHost{r.ID, node})
		}
	}
	return f, nil
}

// Best is the node that Decide ranks first, and its gain; ok false when none fits. Peaks are the field's, whatever the
// problem has.
func (f *Field) Best(p Problem) (node string, gain float64, ok bool, err error) {
	if err := f.check(p); err != nil {
		return "", 0, false, err
	}
	needed, known := f.prepare(p)
	if !known {
		return "", 0, false, nil
	}
	if p.Source != "" {
		f.tree.Grow(f.graph, p.Source)
	}
	best, bestGain, bestHops, bestHighest := int32(-1), 0.0, 0, 0.0
	for i := range f.nodes {
		n := &f.nodes[i]
		if !n.open || f.barred[i] || len(p.Pin) > 0 && !slices.Contains(p.Pin, n.name) {
			continue
		}
		hops, seconds, reached := f.way(n, p)
		if !reached {
			continue
		}
		benefit, highest, fits := f.weigh(n, needed)
		if !fits {
			continue
		}
		g := 1 - highest + f.params.BalanceWeight*benefit - f.params.CostWeight*(seconds/f.params.TRef.Seconds())
		switch { // as better
		case best < 0 || grain(g) > grain(bestGain):
		case grain(g) < grain(bestGain) || hops > bestHops:
			continue
		case hops < bestHops || grain(highest) < grain(bestHighest):
		case grain(highest) > grain(bestHighest) || n.name > f.nodes[best].name:
			continue
		}
		best, bestGain, bestHops, bestHighest = int32(i), g, hops, highest
	}
	if best < 0 {
		return "", 0, false, nil
	}
	return f.nodes[best].name, bestGain, true, nil
}

// check is Problem.check, which is asked for its words only when there is something to say.
func (f *Field) check(p Problem) error {
	good := measured(p.DataBytes)
	for _, x := range p.Demand {
		good = good && measured(x)
	}
	for _, n := range p.Pin {
		good = good && !slices.Contains(p.Avoid, n)
	}
	if p.Source != "" {
		i, known := f.index[p.Source]
		good = good && known && f.snap.Nodes[i].Liveness != netmap.Dead
	}
	if good {
		return nil
	}
	return fmt.Errorf("balance %s: %w", p.Replica, p.check(f.snap))
}

// prepare writes down what the replica needs and where it may not be: known is false when it needs a kind that no node has.
func (f *Field) prepare(p Problem) (needed int, known bool) {
	clear(f.need)
	for kind, x := range p.Demand {
		if x == 0 {
			continue
		}
		k, there := f.kinds[kind]
		if !there {
			return 0, false
		}
		f.need[k] = x
		needed++
	}
	clear(f.barred)
	bar := func(name string) {
		if i, there := f.index[name]; there {
			f.barred[i] = true
		}
	}
	bar(p.Source)
	for _, name := range p.Avoid {
		bar(name)
	}
	for name := range p.Exclude {
		bar(name)
	}
	for _, h := range f.hosts[p.Replica.Service] {
		if h.replica == p.Replica || !p.Together {
			f.barred[h.node] = true
		}
	}
	return needed, true
}

// way is what the move to a node takes; reached is false when there is no path.
func (f *Field) way(n *fieldNode, p Problem) (hops int, seconds float64, reached bool) {
	if p.Source == "" {
		return 0, 0, true
	}
	hops, all, slowest, reached := f.tree.Reach(n.number)
	if f.params.Bottleneck {
		all = slowest
	}
	return hops, 8 * p.DataBytes * all, reached
}

// weigh is a node with the replica: how much more even it is, its highest utilisation at its peak, and whether all is below
// the limits.
func (f *Field) weigh(n *fieldNode, needed int) (benefit, highest float64, fits bool) {
	least, most := math.Inf(1), math.Inf(-1)
	leastAfter, mostAfter, highest := least, most, most
	for _, u := range f.uses[n.first:n.last] {
		need := f.need[u.kind]
		if need > 0 {
			needed--
		}
		before := netmap.Resource{Capacity: u.capacity, Used: u.used}.Utilisation()
		after := netmap.Resource{Capacity: u.capacity, Used: u.used + need}.Utilisation()
		if !(after < f.limits[u.kind]) {
			return 0, 0, false
		}
		least, most = min(least, before), max(most, before)
		leastAfter, mostAfter, highest = min(leastAfter, after), max(mostAfter, after), max(highest, after+u.rise)
	}
	if needed > 0 || n.first == n.last {
		return 0, 0, needed == 0
	}
	return most - least - (mostAfter - leastAfter), highest, true
}
