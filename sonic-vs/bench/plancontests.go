package bench

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/path"
	"gonum.org/v1/gonum/graph/simple"
	"gonum.org/v1/gonum/graph/traverse"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/balance"
	"sonic-netservices/plan/chain"
	"sonic-netservices/plan/chance"
	plangraph "sonic-netservices/plan/graph"
	"sonic-netservices/plan/relay"
	"sonic-netservices/scheduler/experiment"
)

// grown is a network in which each node is joined to three that were there before.
func grown(r *chance.Rand, n int) (links []plangraph.Pair) {
	for i := 1; i < n; i++ {
		seen := map[int]bool{}
		for range min(3, i) {
			to := r.IntN(i)
			if !seen[to] {
				seen[to] = true
				links = append(links, plangraph.Pair{A: int32(to), B: int32(i)})
			}
		}
	}
	return links
}

// optimumNode is where a service goes from one of 10,000 switches with four kinds of resources.
func optimumNode(r *chance.Rand, scale int) (contest, error) {
	n := 10000 / scale
	kinds := []netmap.Kind{netmap.Compute, netmap.Storage, netmap.Forwarding, netmap.Security}
	snap, hops := &netmap.Snapshot{}, simple.NewUndirectedGraph()
	name := func(i int32) string { return fmt.Sprintf("n%05d", i) }
	for i := range n {
		node := netmap.Node{Name: name(int32(i)), Liveness: netmap.Alive}
		for _, k := range kinds {
			node.Resources = append(node.Resources, netmap.Resource{Kind: k, Capacity: 1, Used: r.Uniform(0, 0.8)})
		}
		snap.Nodes = append(snap.Nodes, node)
		hops.AddNode(simple.Node(i))
	}
	const speed = 1e9
	for _, l := range grown(r, n) {
		snap.Links = append(snap.Links, netmap.Link{From: name(l.A), To: name(l.B), SpeedBPS: speed}, netmap.Link{From: name(l.B), To: name(l.A), SpeedBPS: speed})
		hops.SetEdge(hops.NewEdge(simple.Node(l.A), simple.Node(l.B)))
	}
	const need = 0.05
	params := balance.Defaults()
	field, err := balance.NewField(snap, nil, params)
	if err != nil {
		return contest{}, err
	}
	p := balance.Problem{Replica: netmap.ReplicaID{Service: "kms"}, Source: name(0), Demand: netmap.Demand{}, DataBytes: 1e8}
	for _, k := range kinds {
		p.Demand[k] = need
	}
	var gain, plain float64
	ours := func() {
		var ok bool
		if _, gain, ok, err = field.Best(p); !ok {
			err = errors.Join(err, errors.New("no node fits"))
		}
	}
	beside := func() {
		plain = math.Inf(-1)
		walk := traverse.BreadthFirst{}
		walk.Walk(hops, simple.Node(0), func(at graph.Node, depth int) bool {
			if at.ID() == 0 {
				return false
			}
			var before, after []float64
			for _, u := range snap.Nodes[at.ID()].Resources {
				before, after = append(before, u.Used), append(after, u.Used+need)
				if u.Used+need >= params.Admission {
					return false
				}
			}
			most := 0.0
			for _, a := range after {
				most = max(most, a)
			}
			score := 1 - most + params.BalanceWeight*(balance.SUB(before)-balance.SUB(after)) - params.CostWeight*float64(depth)*8*p.DataBytes/speed/params.TRef.Seconds()
			plain = max(plain, score)
			return false
		})
	}
	return contest{name: "optimum_node_10000_ms", goal: 5, ours: &job{round: ours}, beside: &job{round: beside}, allocs: "allocs_balance",
		same: func() error { return errors.Join(err, near(gain, plain)) }}, nil
}

func near(a, b float64) error {
	if math.Abs(a-b) > 1e-9*max(1, math.Abs(b)) || math.IsNaN(a-b) {
		return fmt.Errorf("%v and %v", a, b)
	}
	return nil
}

// layeredPath is a path through three capabilities in their order, to the farthest of 5,000 nodes with six links each.
func layeredPath(r *chance.Rand, scale int) (contest, error) {
	n, steps := 5000/scale, 3
	links := grown(r, n)
	net := plangraph.NewCSR(n, links, false)
	l := &plangraph.Layered{Stage: []float64{5, 5, 5, 5}, Step: []float64{5, 5, 5}, NodeWeight: make([]float64, n)}
	for range links {
		l.LinkRoom, l.LinkWeight = append(l.LinkRoom, r.Uniform(0, 50)), append(l.LinkWeight, float64(1+r.IntN(4)))
	}
	for i := range n {
		l.NodeRoom, l.NodeWeight[i] = append(l.NodeRoom, r.Uniform(0, 50)), 1
	}
	layers := simple.NewWeightedDirectedGraph(0, math.Inf(1))
	state := func(layer int, node int32) simple.Node { return simple.Node(layer*n + int(node)) }
	arc := func(a, b simple.Node, weight float64) {
		layers.SetWeightedEdge(simple.WeightedEdge{F: a, T: b, W: weight})
	}
	for k := range steps {
		can := make([]bool, n)
		for i := range can {
			if can[i] = r.IntN(4) == 0; can[i] && l.NodeRoom[i] >= l.Step[k] {
				arc(state(k, int32(i)), state(k+1, int32(i)), 1)
			}
		}
		l.Can = append(l.Can, can)
	}
	for k := range steps + 1 {
		for i, link := range links {
			if l.LinkRoom[i] >= l.Stage[k] {
				arc(state(k, link.A), state(k, link.B), l.LinkWeight[i])
				arc(state(k, link.B), state(k, link.A), l.LinkWeight[i])
			}
		}
	}
	var s plangraph.Search
	s.Dijkstra(net, l.LinkWeight, 0, -1)
	farthest := int32(0)
	for i, d := range s.Dist {
		if d > s.Dist[farthest] {
			farthest = int32(i)
		}
	}
	found, length := false, 0.0
	return contest{name: "layered_5000_ms", goal: 3, allocs: "allocs_layered",
		ours:   &job{round: func() { found = l.Path(net, 0, farthest) }},
		beside: &job{round: func() { _, length = path.DijkstraFromTo(state(0, 0), state(steps, farthest), layers) }},
		same: func() error {
			if !found {
				return errors.New("no path")
			}
			return near(l.Length, length)
		}}, nil
}

// chainSearch is 200 requests of the chain paper's experiment, all there at once, with the search that the product has;
// beside it TSGA, as published.
func chainSearch(_ *chance.Rand, scale int) (contest, error) {
	view, problem, err := experiment.ChainProblem(1000, 200/scale)
	if err != nil {
		return contest{}, err
	}
	batch := *problem
	batch.Batch = true
	solve := func(method chain.Method, p *chain.Problem, fitness *float64) func() {
		return func() {
			var wrong error
			var result chain.Result
			result, wrong = chain.Strategy{Method: method}.Solve(context.Background(), view, p, plan.Budget{Seed: 1}, nil)
			err, *fitness = errors.Join(err, wrong), result.Fitness
		}
	}
	var ours, theirs float64
	return contest{name: "chain_200_ms", goal: 1000,
		ours:   &job{round: solve(chain.Neighbours, &batch, &ours)},
		beside: &job{round: solve(chain.TSGA, problem, &theirs)},
		same: func() error {
			if err == nil && ours > theirs {
				return fmt.Errorf("ours is worth %v, TSGA's %v: not better", ours, theirs)
			}
			return err
		}}, nil
}

// relayRow is the ways from one of 1,000 edges to all others, after it has reported.
func relayRow(r *chance.Rand, scale int) (contest, error) {
	n := 1000 / scale
	table, err := relay.New(n, relay.Defaults())
	if err != nil {
		return contest{}, err
	}
	weight := make([]float64, n*n)
	for a := range int32(n) {
		for b := range int32(n) {
			if a != b {
				q := relay.Quality{RTT: r.Uniform(5, 150), Loss: r.Uniform(0, 0.02)}
				table.Measured(a, b, q)
				weight[int(a)*n+int(b)] = table.Params.Weight(q)
			}
		}
	}
	const from = 7
	best := make([]float64, n)
	beside := func() { // destination by destination, each relay
		for to := range n {
			best[to] = weight[from*n+to]
			for by := range n {
				if by != from && by != to {
					best[to] = min(best[to], weight[from*n+by]+weight[by*n+to])
				}
			}
		}
	}
	return contest{name: "relay_row_1000_ms", goal: 3, ours: &job{round: func() { table.Row(from) }}, beside: &job{round: beside}, allocs: "allocs_relay_row",
		same: func() error {
			for to := range int32(n) {
				if to == from {
					continue
				}
				if _, value := table.Best(from, to); near(value, best[to]) != nil {
					return fmt.Errorf("to %d: %w", to, near(value, best[to]))
				}
			}
			return nil
		}}, nil
}
