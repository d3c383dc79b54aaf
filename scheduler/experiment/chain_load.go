package experiment

import (
	"fmt"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chain"
	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/topology"
)

// chainSetting is the network and the load of the paper (P2-33 to P2-35). What the paper leaves open is marked;
// decisions/0062 says how it was found.
type chainSetting struct {
	Cores, Edges int
	Services     int
	Given        *topology.Topology // joins the edge clouds; nil: drawn, by
	Degree       float64            // open: mean, of edge clouds to each other
	Beta         float64            // open: Waxman for GT-ITM

	Slow, Fast      float64 // open: rates, Mbit/s
	Soonest, Latest float64 // open: deadlines, ms
	Core            float64 // open: ms more for services that visit a core
	Processing      float64 // open: ms
	Fixed, Reserve  float64 // open: cost and computing of an instance
	Unit            float64 // open: price of computing
	Scale           float64 // of all capacities
}

func chainDefault(slow, fast float64) chainSetting {
	return chainSetting{Cores: 3, Edges: 17, Degree: 4, Beta: 0.3, Slow: slow, Fast: fast, Soonest: 15, Latest: 40, Core: 6, Processing: 0.3,
		Fixed: 20, Reserve: 20, Unit: 0.3, Scale: 1, Services: 6}
}

// chainTable1 is the paper's table 1 rebuilt: four kinds for edge clouds, two for core clouds, four for any (P2-34).
var chainTable1 = []chain.Function{
	{Ratio: 1.0, PerMbps: 0.5, Where: chain.Edge}, {Ratio: 0.9, PerMbps: 0.8, Where: chain.Edge},
	{Ratio: 1.0, PerMbps: 0.6, Where: chain.Edge}, {Ratio: 0.8, PerMbps: 0.7, Where: chain.Edge},
	{Ratio: 1.0, PerMbps: 1.5, Where: chain.Core}, {Ratio: 1.2, PerMbps: 2.0, Where: chain.Core},
	{Ratio: 1.0, PerMbps: 0.8}, {Ratio: 0.9, PerMbps: 1.0}, {Ratio: 1.1, PerMbps: 0.9}, {Ratio: 1.0, PerMbps: 0.6},
}

// chainServices are the six of P2-35, by kind.
var chainServices = [][]int{{0, 6, 1}, {1, 7, 8}, {2, 0, 9, 4}, {3, 6, 7}, {1, 2, 9, 8}, {0, 3, 6, 5, 8}}

// ChainProblem is a network of a seed and requests of the load of figure 6, in the order of arrival.
func ChainProblem(seed uint64, requests int) (*plan.View, *chain.Problem, error) {
	view, err := chainHeavy.network(seed)
	if err != nil {
		return nil, nil, err
	}
	return view, chainHeavy.problem(view, seed, requests), nil
}

// network draws the clouds and links of a seed: edge clouds joined by a topology, core clouds in a mesh, and a link from
// each edge to the nearest core.
func (s chainSetting) network(seed uint64) (*plan.View, error) {
	r := chance.New(seed, "network")
	t, err := s.topology(r)
	if err != nil {
		return nil, err
	}
	var nodes []plan.Node
	var links []plan.Link
	link := func(a, b string, bandwidth, delay float64) {
		links = append(links, plan.Link{A: a, B: b, Bandwidth: bandwidth * s.Scale, Delay: delay, UnitCost: r.Uniform(0.1, 0.4)})
	}
	node := func(name, tier string, capacity float64) {
		nodes = append(nodes, plan.Node{Name: name, Tier: tier, Capacity: netmap.Demand{netmap.Compute: capacity * s.Scale}, UnitCost: s.Unit, Processing: s.Processing})
	}
	x, y := make([]float64, s.Cores), make([]float64, s.Cores)
	for i := range s.Cores {
		x[i] = r.Uniform(slices.Min(t.X), slices.Max(t.X))
		y[i] = r.Uniform(slices.Min(t.Y), slices.Max(t.Y))
		node(core(i), "core", 8000)
		for j := range i {
			link(core(j), core(i), 8000, 5)
		}
	}
	for i, name := range t.Names {
		node(name, "edge", 2000)
		near := 0
		for j := range s.Cores {
			if math.Hypot(t.X[i]-x[j], t.Y[i]-y[j]) < math.Hypot(t.X[i]-x[near], t.Y[i]-y[near]) {
				near = j
			}
		}
		link(core(near), name, 8000, 3)
	}
	for _, l := range t.Links {
		link(t.Names[l.A], t.Names[l.B], 2000, 1)
	}
	return plan.NewView(nodes, links)
}

func core(i int) string { return fmt.Sprintf("core-cloud-%d", i) }

func (s chainSetting) topology(r *chance.Rand) (topology.Topology, error) {
	if s.Given != nil {
		return *s.Given, nil
	}
	return topology.Waxman(r, s.Edges, int(math.Round(s.Degree*float64(s.Edges)/2)), s.Beta)
}

// problem draws the requests of a seed, from edge cloud to edge cloud.
func (s chainSetting) problem(view *plan.View, seed uint64, requests int) *chain.Problem {
	var ends []string
	for _, n := range view.Nodes {
		if n.Tier == "edge" {
			ends = append(ends, n.Name)
		}
	}
	r := chance.New(seed, "requests")
	p := &chain.Problem{}
	core := map[string]bool{}
	for i, f := range chainTable1 {
		f.Name, f.Fixed, f.Reserve = fmt.Sprintf("f%d", i), s.Fixed, s.Reserve
		p.Functions = append(p.Functions, f)
	}
	for i, functions := range chainServices[:s.Services] {
		sv := chain.Service{Name: fmt.Sprintf("s%d", i)}
		for _, f := range functions {
			sv.Functions = append(sv.Functions, fmt.Sprintf("f%d", f))
			core[sv.Name] = core[sv.Name] || chainTable1[f].Where == chain.Core
		}
		p.Services = append(p.Services, sv)
	}
	for i := range requests {
		q := chain.Request{Name: fmt.Sprintf("r%03d", i), From: ends[r.IntN(len(ends))], To: ends[r.IntN(len(ends))],
			Service: fmt.Sprintf("s%d", r.IntN(s.Services)), Rate: r.Uniform(s.Slow, s.Fast), Deadline: r.Uniform(s.Soonest, s.Latest)}
		if core[q.Service] {
			q.Deadline += s.Core
		}
		p.Requests = append(p.Requests, q)
	}
	return p
}
