package chain

import (
	"fmt"
	"math"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/graph"
)

// model is a view and a problem in numbers. Resources have one numbering: computing of node n is n, bandwidth of link l
// is nodes+l. Only the paths grow while it is used, so it serves one caller at a time.
type model struct {
	nodes     int
	capacity  []float64 // by resource: what there is, whoever has it
	free      []float64 // by resource: what the problem may take
	price     []float64 // by resource: of one unit
	slack     []float64 // by resource: sums that differ by less are equal
	working   []float64 // by node: ms of a function at an idle one
	steady    bool
	functions []function
	services  []service
	requests  []request
	replicas  int
	rejection float64
	batch     bool
	places    int     // hosts to choose: of all replicas of all services
	runs      []int32 // by place: function

	home []int32 // by place: the host of a running replica, -1: none
	move float64

	net       *graph.CSR
	linkDelay []float64
	order     []float64 // of paths, by link: delay, and among equals cost
	tries     int       // paths between two clouds
	paths     [][]path  // by pair; nil: not looked for yet
	search    graph.Search
}

type function struct {
	ratio, perMbps, reserve, fixed float64
	allowed                        []int32
}

type service struct {
	functions []int32
	rates     []float64 // behind k functions, of a request of 1 Mbit/s
	first     int       // place of function 0 of replica 0; replica i is i*len(functions) further
}

func (s *service) at(replica int) int { return s.first + replica*len(s.functions) }

type request struct {
	from, to, service int32
	rate, deadline    float64
	weight            float64 // of a rejection
	served            bool
}

// path is one way between two clouds: links as resources.
type path struct {
	links []int32
	delay float64 // ms
	cost  float64 // of 1 Mbit/s
}

// newModel expects a problem that was checked. The error is Infeasible: a function that may run nowhere.
func newModel(view *plan.View, p *Problem) (*model, error) {
	n, links := len(view.Nodes), len(view.Links)
	m := &model{
		nodes: n, capacity: make([]float64, n+links), free: make([]float64, n+links), price: make([]float64, n+links),
		slack: make([]float64, n+links), working: make([]float64, n), steady: p.SteadyDelay,
		replicas: p.replicas(), rejection: p.rejection(), batch: p.Batch, move: p.Move,
		net: view.Graph(), linkDelay: make([]float64, links), order: make([]float64, links), tries: max(1, p.Paths), paths: make([][]path, n*n),
	}
	for i, node := range view.Nodes {
		m.capacity[i], m.free[i], m.price[i], m.working[i] = node.Capacity[netmap.Compute], node.Free(netmap.Compute), node.UnitCost, node.Processing
	}
	dearest := 0.0
	for i, l := range view.Links {
		m.capacity[n+i], m.free[n+i], m.price[n+i], m.linkDelay[i] = l.Bandwidth, l.Free(), l.UnitCost, l.Delay
		dearest = max(dearest, l.UnitCost)
	}
	for i, l := range view.Links {
		m.order[i] = l.Delay + 1e-6*l.UnitCost/max(dearest, 1)
	}
	for i, c := range m.capacity {
		m.slack[i] = 1e-9 * max(1, c)
	}
	number := map[string]int32{}
	for i, f := range p.Functions {
		g := function{ratio: f.Ratio, perMbps: f.PerMbps, reserve: f.Reserve, fixed: f.Fixed}
		for j, node := range view.Nodes {
			if f.Where.allows(node.Tier) && m.free[j] > 0 {
				g.allowed = append(g.allowed, int32(j))
			}
		}
		number[f.Name] = int32(i)
		m.functions = append(m.functions, g)
	}
	named := map[string]int32{}
	for i, s := range p.Services {
		t := service{first: m.places, rates: []float64{1}}
		for _, name := range s.Functions {
			f := number[name]
			if len(m.functions[f].allowed) == 0 {
				return nil, &plan.Infeasible{What: "service " + s.Name, Because: fmt.Sprintf("function %s may run on no node with free computing", name),
					Relax: fmt.Sprintf("a node of its tier for %s", name)}
			}
			t.functions = append(t.functions, f)
			t.rates = append(t.rates, t.rates[len(t.rates)-1]*m.functions[f].ratio)
		}
		for range m.replicas {
			m.runs = append(m.runs, t.functions...)
		}
		m.places = len(m.runs)
		m.services, named[s.Name] = append(m.services, t), int32(i)
	}
	for _, r := range p.Requests {
		from, _ := view.Index(r.From)
		to, _ := view.Index(r.To)
		deadline := r.Deadline
		if deadline == 0 {
			deadline = math.Inf(1)
		}
		q := request{from: from, to: to, service: named[r.Service], rate: r.Rate, deadline: deadline, weight: m.rejection, served: r.Served}
		if r.Served {
			q.weight *= servedWeight
		}
		m.requests = append(m.requests, q)
	}
	m.home = make([]int32, m.places)
	for i := range m.home {
		m.home[i] = -1
	}
	for _, r := range p.Running {
		s := &m.services[named[r.Service]]
		for k, h := range r.Hosts {
			host, _ := view.Index(h)
			m.home[s.at(r.Replica)+k] = host
		}
	}
	return m, nil
}

func (w Where) allows(tier string) bool {
	switch tier {
	case "core":
		return w != Edge
	case "edge", "access":
		return w != Core
	}
	return w == Any
}

// between are the ways from one cloud to another, least delay first, at most m.tries; none: no way. Within a cloud
// traffic takes nothing.
func (m *model) between(a, b int32) []path {
	at := int(a)*m.nodes + int(b)
	if m.paths[at] == nil {
		m.paths[at] = m.find(a, b)
	}
	return m.paths[at]
}

func (m *model) find(a, b int32) []path {
	if a == b {
		return []path{{}}
	}
	found := []path{}
	add := func(links []int32) {
		p := path{}
		for _, l := range links {
			p.links = append(p.links, int32(m.nodes)+l)
			p.delay += m.linkDelay[l]
			p.cost += m.price[m.nodes+int(l)]
		}
		found = append(found, p)
	}
	if m.tries == 1 {
		m.search.Dijkstra(m.net, m.order, a, b)
		if p, ok := m.search.Path(m.net, b); ok {
			add(p.Links)
		}
		return found
	}
	for _, p := range graph.Yen(m.net, m.order, a, b, m.tries) {
		add(p.Links)
	}
	return found
}
