package chain

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
)

// clouds is a line of edge clouds e0 - e1 - ... with a core cloud c at both ends, so that it is a ring.
func clouds(t testing.TB, edges int, capacity float64) *plan.View {
	t.Helper()
	var nodes []plan.Node
	var links []plan.Link
	nodes = append(nodes, plan.Node{Name: "c", Tier: "core", Capacity: netmap.Demand{netmap.Compute: 4 * capacity}, UnitCost: 0.3, Processing: 0.3})
	for i := range edges {
		nodes = append(nodes, plan.Node{Name: fmt.Sprintf("e%d", i), Tier: "edge", Capacity: netmap.Demand{netmap.Compute: capacity}, UnitCost: 0.3, Processing: 0.3})
		if i > 0 {
			links = append(links, plan.Link{A: fmt.Sprintf("e%d", i-1), B: fmt.Sprintf("e%d", i), Bandwidth: 200, Delay: 1, UnitCost: 0.1 + 0.01*float64(i)})
		}
	}
	links = append(links, plan.Link{A: "c", B: "e0", Bandwidth: 800, Delay: 3, UnitCost: 0.2}, plan.Link{A: "c", B: fmt.Sprintf("e%d", edges-1), Bandwidth: 800, Delay: 3, UnitCost: 0.3})
	view, err := plan.NewView(nodes, links)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func problem(requests ...Request) *Problem {
	for i := range requests {
		requests[i].Name = fmt.Sprintf("r%d", i)
		if requests[i].Service == "" {
			requests[i].Service = "web"
		}
	}
	return &Problem{
		Functions: []Function{{Name: "fw", Ratio: 1, PerMbps: 1, Reserve: 2, Fixed: 20, Where: Edge}, {Name: "lb", Ratio: 0.5, PerMbps: 0.5, Fixed: 20}, {Name: "db", Ratio: 2, PerMbps: 1, Fixed: 20, Where: Core}},
		Services:  []Service{{"web", []string{"fw", "lb"}}, {"store", []string{"lb", "db"}}},
		Requests:  requests,
	}
}

// drawn is a view and a problem of chance.
func drawn(t *rapid.T) (*plan.View, *Problem) {
	r := chance.New(rapid.Uint64().Draw(t, "seed"))
	n := rapid.IntRange(2, 6).Draw(t, "edges")
	var nodes []plan.Node
	var links []plan.Link
	for i := range n {
		tier := "edge"
		if i == 0 {
			tier = "core"
		}
		nodes = append(nodes, plan.Node{Name: fmt.Sprintf("n%d", i), Tier: tier, Capacity: netmap.Demand{netmap.Compute: r.Uniform(80, 400)},
			Used: netmap.Demand{netmap.Compute: r.Uniform(0, 60)}, UnitCost: r.Uniform(0, 1), Processing: r.Uniform(0, 1)})
		for j := range i {
			if j == i-1 || r.IntN(3) == 0 {
				links = append(links, plan.Link{A: nodes[i].Name, B: nodes[j].Name, Bandwidth: r.Uniform(50, 300), Used: r.Uniform(0, 40), Delay: r.Uniform(0.5, 3), UnitCost: r.Uniform(0.1, 0.4)})
			}
		}
	}
	view, err := plan.NewView(nodes, links)
	if err != nil {
		t.Fatal(err)
	}
	var requests []Request
	for range rapid.IntRange(0, 12).Draw(t, "requests") {
		requests = append(requests, Request{From: nodes[r.IntN(n)].Name, To: nodes[r.IntN(n)].Name, Service: []string{"web", "store"}[r.IntN(2)], Rate: r.Uniform(5, 90), Deadline: r.Uniform(2, 20) * float64(r.IntN(4))})
	}
	p := problem(requests...)
	p.Replicas = rapid.IntRange(1, 3).Draw(t, "replicas")
	p.Paths = rapid.IntRange(1, 3).Draw(t, "paths")
	p.Batch = rapid.Bool().Draw(t, "batch")
	p.SteadyDelay = rapid.Bool().Draw(t, "steady")
	return view, p
}

var methods = []Method{Neighbours, TSGA, TS, RoundRobin}

// Whatever is asked: nobody takes more than there is, each chain is whole, in order, on nodes of its tiers, the parts of a
// request make all of it, every request is served or refused with a reason, and ours keeps deadlines to the end.
func TestPlansHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		view, p := drawn(t)
		method := rapid.SampledFrom(methods).Draw(t, "method")
		d, err := Strategy{method}.Plan(context.Background(), view, p, plan.Budget{Work: 120, Seed: 5})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Check(view); err != nil {
			t.Fatal(err)
		}
		for _, a := range d.Alternates {
			if err := (plan.Decision{Actions: a.Actions}).Check(view); err != nil {
				t.Fatalf("alternate: %v", err)
			}
		}
		check(t, view, p, d, method)
	})
}

func check(t *rapid.T, view *plan.View, p *Problem, d plan.Decision, method Method) {
	hosts := map[string]string{} // by instance
	load, free := map[string]float64{}, map[string]float64{}
	for _, n := range view.Nodes {
		free[n.Name] = n.Free(netmap.Compute)
	}
	share, latest := map[string]float64{}, map[string]float64{}
	var routes []plan.Action
	for _, a := range d.Actions {
		switch a.Kind {
		case plan.Place:
			hosts[a.Subject] = a.To
			load[a.To] += a.Amount[netmap.Compute]
		case plan.Route:
			routes = append(routes, a)
			if a.Share == 0 {
				share[a.Subject]++
			}
			share[a.Subject] += a.Share
		default:
			t.Fatalf("unexpected %s", a)
		}
	}
	total := 0.0
	for _, a := range routes {
		q := p.Requests[slices.IndexFunc(p.Requests, func(q Request) bool { return q.Name == a.Subject })]
		s := p.Services[slices.IndexFunc(p.Services, func(s Service) bool { return s.Name == q.Service })]
		if a.Path[0] != q.From || a.Path[len(a.Path)-1] != q.To || len(a.Hosts) != len(s.Functions) {
			t.Fatalf("%s: route %v with steps at %v", q.Name, a.Path, a.Hosts)
		}
		at, delay := 0, 0.0
		for k, h := range a.Hosts {
			for at < len(a.Path) && a.Path[at] != h {
				at++
			}
			if at == len(a.Path) {
				t.Fatalf("%s: path %v does not pass %v in order", q.Name, a.Path, a.Hosts)
			}
			placed := false
			for r := range p.Replicas {
				placed = placed || hosts[fmt.Sprintf("%s/%d/%s", s.Name, r, s.Functions[k])] == h
			}
			if !placed {
				t.Fatalf("%s: no %s at %s", q.Name, s.Functions[k], h)
			}
			i, _ := view.Index(h)
			f := p.Functions[slices.IndexFunc(p.Functions, func(f Function) bool { return f.Name == s.Functions[k] })]
			if !f.Where.allows(view.Nodes[i].Tier) {
				t.Fatalf("%s: %s may not be at %s", q.Name, f.Name, h)
			}
			if p.SteadyDelay {
				delay += view.Nodes[i].Processing
			} else {
				delay += view.Nodes[i].Processing * view.Nodes[i].Capacity[netmap.Compute] / (free[h] - load[h])
			}
		}
		for i := 1; i < len(a.Path); i++ {
			l := slices.IndexFunc(view.Links, func(l plan.Link) bool {
				return l.A == min(a.Path[i-1], a.Path[i]) && l.B == max(a.Path[i-1], a.Path[i])
			})
			if l < 0 {
				t.Fatalf("%s: no link %s-%s", q.Name, a.Path[i-1], a.Path[i])
			}
			delay += view.Links[l].Delay
		}
		latest[q.Name] = max(latest[q.Name], delay)
		if method == Neighbours && q.Deadline > 0 && delay > q.Deadline*(1+1e-6) {
			t.Fatalf("%s: %.6f ms, deadline %.6f", q.Name, delay, q.Deadline)
		}
		total += a.Rate
	}
	refused := map[string]bool{}
	for _, r := range d.Refused {
		refused[strings.TrimPrefix(r.What, "request ")] = true
		if r.Because == "" {
			t.Fatalf("%s is refused without a reason", r.What)
		}
	}
	for _, q := range p.Requests {
		if s := share[q.Name]; refused[q.Name] == (s > 0) || s > 0 && math.Abs(s-1) > 1e-9 {
			t.Fatalf("%s: %v of it is routed, refused: %v", q.Name, s, refused[q.Name])
		}
		if share[q.Name] > 0 {
			total -= q.Rate
		}
	}
	if math.Abs(total) > 1e-6 {
		t.Fatalf("the streams carry %v Mbit/s more than the requests ask", total)
	}
}

// The same seed gives the same plan, whoever plans and however often; another one may not.
func TestSameSeedSamePlan(t *testing.T) {
	view := clouds(t, 6, 120)
	p := problem(many(20)...)
	for _, m := range methods {
		plan1, _ := Strategy{m}.Plan(context.Background(), view, p, plan.Budget{Work: 300, Seed: 7})
		plan2, _ := Strategy{m}.Plan(context.Background(), view, p, plan.Budget{Work: 300, Seed: 7})
		if plan1.String() != plan2.String() {
			t.Errorf("%s: two plans:\n%s\n%s", m, plan1, plan2)
		}
	}
}

func many(n int) (requests []Request) {
	r := chance.New(3, "many")
	for range n {
		requests = append(requests, Request{From: fmt.Sprintf("e%d", r.IntN(6)), To: fmt.Sprintf("e%d", r.IntN(6)), Service: []string{"web", "store"}[r.IntN(2)], Rate: r.Uniform(5, 40), Deadline: r.Uniform(8, 20)})
	}
	return requests
}

// Other names for the nodes, so another order of them: a solution costs the same.
func TestNamesOfNodesDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		view, p := drawn(t)
		other := map[string]string{}
		for i, j := range chance.New(rapid.Uint64().Draw(t, "names")).Perm(len(view.Nodes)) {
			other[view.Nodes[i].Name] = fmt.Sprintf("m%d", j)
		}
		nodes, links := slices.Clone(view.Nodes), slices.Clone(view.Links)
		for i := range nodes {
			nodes[i].Name = other[nodes[i].Name]
		}
		for i := range links {
			links[i].A, links[i].B = other[links[i].A], other[links[i].B]
		}
		renamed, err := plan.NewView(nodes, links)
		if err != nil {
			t.Fatal(err)
		}
		q := *p
		q.Requests = slices.Clone(p.Requests)
		for i := range q.Requests {
			q.Requests[i].From, q.Requests[i].To = other[q.Requests[i].From], other[q.Requests[i].To]
		}
		one, err := newModel(view, p)
		if err != nil {
			t.Fatal(err)
		}
		two, err := newModel(renamed, &q)
		if err != nil {
			t.Fatal(err)
		}
		s := (&tabu{m: one, r: chance.New(1), genes: true}).random()
		moved := solution{place: slices.Clone(s.place), shares: s.shares}
		for i, h := range s.place {
			moved.place[i], _ = renamed.Index(other[view.Nodes[h].Name])
		}
		for _, split := range []splitting{lazily, statically, cheaply} {
			a, b := newEvaluator(one, split, true).evaluate(&s), newEvaluator(two, split, true).evaluate(&moved)
			if a.accepted != b.accepted || math.Abs(a.fitness-b.fitness) > 1e-6*max(1, a.fitness) {
				t.Fatalf("%+v, with other names %+v", a, b)
			}
		}
	})
}

// What an evaluator keeps from one solution to the next changes no result.
func TestEvaluatorForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		view, p := drawn(t)
		m, err := newModel(view, p)
		if err != nil {
			t.Fatal(err)
		}
		b := &tabu{m: m, r: chance.New(rapid.Uint64().Draw(t, "solutions")), genes: true}
		used := newEvaluator(m, cheaply, true)
		for range 5 {
			s := b.random()
			if a, c := used.evaluate(&s), newEvaluator(m, cheaply, true).evaluate(&s); a != c {
				t.Fatalf("used %+v, fresh %+v", a, c)
			}
		}
	})
}

// A request that is too large for one replica is split, and only such a one.
func TestSplitsWhatDoesNotFit(t *testing.T) {
	view := clouds(t, 4, 100)
	p := problem(Request{From: "e0", To: "e3", Rate: 120}, Request{From: "e1", To: "e2", Rate: 3})
	d, err := Strategy{}.Plan(context.Background(), view, p, plan.Budget{Work: 500})
	if err != nil {
		t.Fatal(err)
	}
	streams := map[string]int{}
	for _, a := range d.Actions {
		if a.Kind == plan.Route {
			streams[a.Subject]++
		}
	}
	if streams["r0"] != 2 || streams["r1"] != 1 {
		t.Errorf("streams %v, want two of r0 and one of r1\n%s", streams, d)
	}
}

// Cheap ones first in a batch; who came first, else.
func TestOrderOfAdmission(t *testing.T) {
	view := clouds(t, 2, 50)
	p := problem(Request{From: "e0", To: "e1", Rate: 45}, Request{From: "e0", To: "e1", Rate: 20}, Request{From: "e0", To: "e1", Rate: 20})
	p.Replicas = 1
	for _, c := range []struct {
		batch, served bool
		want          int
	}{{false, false, 1}, {true, false, 2}, {true, true, 1}} {
		p.Batch, p.Requests[0].Served = c.batch, c.served
		r, err := Strategy{}.Solve(context.Background(), view, p, plan.Budget{Work: 400}, nil)
		if err != nil || r.Accepted != c.want {
			t.Errorf("batch %v, first one served already %v: %d accepted, %v; want %d", c.batch, c.served, r.Accepted, err, c.want)
		}
	}
}

// Replicas that run stay, unless a move is worth what it costs.
func TestMovesArePenalised(t *testing.T) {
	view := clouds(t, 6, 200)
	p := problem(Request{From: "e0", To: "e0", Rate: 50})
	p.Replicas = 1
	p.Running = []Running{{Service: "web", Replica: 0, Hosts: []string{"e3", "e3"}, Takes: []float64{52, 25}}}
	for _, c := range []struct {
		move  float64
		moved int
	}{{1e6, 0}, {0.01, 2}} {
		p.Move = c.move
		d, err := Strategy{}.Plan(context.Background(), view, p, plan.Budget{Work: 400})
		if err != nil {
			t.Fatal(err)
		}
		moved := 0
		for _, a := range d.Actions {
			if a.Kind == plan.Migrate {
				moved++
				if back := a.Inverse(); back.Kind != plan.Migrate || back.To != "e3" {
					t.Errorf("inverse of %s is %s", a, back)
				}
			}
			if a.Kind == plan.Resize && a.Before == nil {
				t.Errorf("%s says nothing of before", a)
			}
		}
		if moved != c.moved {
			t.Errorf("a move costs %g: %d moved, want %d\n%s", c.move, moved, c.moved, d)
		}
	}
}

// A refusal names what is short and the smallest change that helps.
func TestRefusals(t *testing.T) {
	view := clouds(t, 2, 50)
	for _, c := range []struct {
		request        Request
		because, relax string
	}{
		{Request{From: "e0", To: "e1", Rate: 300}, "has room for 300 Mbit/s", "a rate of 30 Mbit/s"},
		{Request{From: "e0", To: "e1", Rate: 10, Deadline: 1}, "answers within 1 ms", "a deadline of"},
	} {
		p := problem(c.request)
		p.Replicas = 1
		d, err := Strategy{}.Plan(context.Background(), view, p, plan.Budget{Work: 200})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Refused) != 1 || !strings.Contains(d.Refused[0].Because, c.because) || !strings.HasPrefix(d.Refused[0].Relax, c.relax) {
			t.Errorf("refused %+v, want one with %q and %q", d.Refused, c.because, c.relax)
		}
	}
}

// A budget that ends, or a context, leaves the best so far.
func TestAnytime(t *testing.T) {
	view, p := clouds(t, 6, 120), problem(many(20)...)
	ended, end := context.WithCancel(context.Background())
	end()
	for _, m := range methods {
		least := math.Inf(1)
		for _, work := range []int{1, 50, 2000} {
			r, err := Strategy{m}.Solve(context.Background(), view, p, plan.Budget{Work: work, Seed: 2}, nil)
			if err != nil || r.Work > work {
				t.Fatalf("%s: %d solutions weighed of %d, %v", m, r.Work, work, err)
			}
			least = min(least, r.Fitness)
		}
		r, err := Strategy{m}.Solve(ended, view, p, plan.Budget{Seed: 2}, nil)
		if err != nil || r.Work > 1+neighbourhood || r.Fitness < least {
			t.Errorf("%s with a context that ended: %+v, %v", m, r.Figures(), err)
		}
	}
}

func TestProblemsThatCannotBeMeant(t *testing.T) {
	view := clouds(t, 2, 50)
	for want, spoil := range map[string]func(p *Problem){
		"function \"fw\"":      func(p *Problem) { p.Functions[1].Name = "fw" },
		"function fw: ratio":   func(p *Problem) { p.Functions[0].Ratio = math.NaN() },
		"per-Mbps -1":          func(p *Problem) { p.Functions[0].PerMbps = -1 },
		"no function \"nat\"":  func(p *Problem) { p.Services[0].Functions[0] = "nat" },
		"goes in a circle":     func(p *Problem) { p.Services[0].Functions[1] = "fw" },
		"web has no functions": func(p *Problem) { p.Services[0].Functions = nil },
		"no service \"mail\"":  func(p *Problem) { p.Requests[0].Service = "mail" },
		"no node \"e9\"":       func(p *Problem) { p.Requests[0].To = "e9" },
		"r0: rate 0":           func(p *Problem) { p.Requests[0].Rate = 0 },
		"replicas: 17":         func(p *Problem) { p.Replicas = 17 },
		"running: no service":  func(p *Problem) { p.Running = []Running{{Service: "mail"}} },
		"replica 5":            func(p *Problem) { p.Running = []Running{{Service: "web", Replica: 5}} },
		"1 hosts that take":    func(p *Problem) { p.Running = []Running{{Service: "web", Hosts: []string{"e0"}}} },
	} {
		p := problem(Request{From: "e0", To: "e1", Rate: 10})
		spoil(p)
		if _, err := (Strategy{}).Plan(context.Background(), view, p, plan.Budget{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := (Strategy{}).Plan(context.Background(), view, nil, plan.Budget{}); err == nil {
		t.Error("no problem, no error")
	}
}

// What a refused request would need is the least that helps: a longer deadline, less traffic, or more of one resource.
func TestRelax(t *testing.T) {
	for _, c := range []struct {
		compute, rate, deadline float64
		want                    string
	}{
		{100, 10, 3, "a deadline of 8 ms"},
		{100, 80, 0, "a rate of 40 Mbit/s"},
		{11, 10, 0, "19 of compute on b more"},
	} {
		node := func(name, tier string, compute float64) plan.Node {
			return plan.Node{Name: name, Tier: tier, Capacity: netmap.Demand{netmap.Compute: compute}}
		}
		view, err := plan.NewView([]plan.Node{node("a", "core", 0), node("b", "edge", c.compute)}, []plan.Link{{A: "a", B: "b", Bandwidth: 85, Delay: 4}})
		if err != nil {
			t.Fatal(err)
		}
		p := &Problem{Functions: []Function{{Name: "f", Ratio: 1, PerMbps: 2, Reserve: 10, Where: Edge}}, Services: []Service{{Name: "s", Functions: []string{"f"}}},
			Requests: []Request{{Name: "r", From: "a", To: "a", Service: "s", Rate: c.rate, Deadline: c.deadline}}, Replicas: 1}
		d, err := Strategy{}.Plan(context.Background(), view, p, plan.Budget{Work: 50})
		if err != nil || len(d.Refused) != 1 || d.Refused[0].Relax != c.want {
			t.Errorf("%v, %v: want %s", d.Refused, err, c.want)
		}
	}
}

// A network in two parts, and a function with no node of its tier.
func TestCutOff(t *testing.T) {
	view, err := plan.NewView([]plan.Node{
		{Name: "a", Tier: "edge", Capacity: netmap.Demand{netmap.Compute: 100}}, {Name: "b", Tier: "edge", Capacity: netmap.Demand{netmap.Compute: 100}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := problem(Request{From: "a", To: "b", Rate: 1})
	p.Services = p.Services[:1]
	d, err := Strategy{}.Plan(context.Background(), view, p, plan.Budget{Work: 100})
	if err != nil || len(d.Refused) != 1 || d.Refused[0].Relax != "a link between the parts of a and b" {
		t.Errorf("%v, %v", d.Refused, err)
	}
	p = problem(Request{From: "a", To: "a", Rate: 1, Service: "store"})
	if _, err := (Strategy{}).Plan(context.Background(), view, p, plan.Budget{}); err == nil || !strings.Contains(err.Error(), "service store: infeasible because function db may run on no node") {
		t.Errorf("error %v", err)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	view, p := clouds(b, 6, 1200), problem(many(200)...)
	p.Batch = true
	m, err := newModel(view, p)
	if err != nil {
		b.Fatal(err)
	}
	s := (&tabu{m: m, r: chance.New(1), genes: true}).random()
	e := newEvaluator(m, cheaply, true)
	e.evaluate(&s)
	b.ReportAllocs()
	for b.Loop() {
		e.evaluate(&s)
	}
}
