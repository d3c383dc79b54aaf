package scn

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
)

// network writes nodes as "a:100 ac1 ac2" and links as "a-b:50".
func network(t *testing.T, nodes, links string) *plan.View {
	t.Helper()
	var ns []plan.Node
	for _, text := range strings.Split(nodes, ", ") {
		words := strings.Fields(text)
		name, capacity, _ := strings.Cut(words[0], ":")
		n := plan.Node{Name: name, UnitCost: 1, Processing: 5, Capabilities: words[1:]}
		var c float64
		_, _ = fmt.Sscan(capacity, &c)
		n.Capacity = netmap.Demand{netmap.Compute: c}
		ns = append(ns, n)
	}
	var ls []plan.Link
	for _, text := range strings.Fields(links) {
		ends, bandwidth, _ := strings.Cut(text, ":")
		a, b, _ := strings.Cut(ends, "-")
		l := plan.Link{A: a, B: b, Delay: 10, UnitCost: 1}
		_, _ = fmt.Sscan(bandwidth, &l.Bandwidth)
		ls = append(ls, l)
	}
	v, err := plan.NewView(ns, ls)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// whole sells everything to one network.
func whole(mode Mode, hops int) Params {
	return Params{Hops: hops, Theta: 1, Phi: 1, Mode: mode, Replans: 8, Penalty: 4, Reserve: true}
}

func request(name, from, to string, rate float64, steps ...Step) Request {
	r := Request{Name: name, From: from, To: to, Steps: steps, Rates: []float64{rate}}
	for range steps {
		r.Rates = append(r.Rates, rate)
	}
	return r
}

func decide(t *testing.T, v *plan.View, p Params, requests ...Request) plan.Decision {
	t.Helper()
	d, err := Strategy{}.Plan(context.Background(), v, Problem{Requests: requests, Params: p}, plan.Budget{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func routes(d plan.Decision) (all []string) {
	for _, a := range d.Actions {
		if a.Kind == plan.Route {
			all = append(all, a.String())
		}
	}
	return all
}

// P4-9 to P4-12: candidates are joined where the network below has at most h hops; such a link offers phi of its narrowest
// and the sum of delays.
func TestPaper11Links(t *testing.T) {
	v := network(t, "a:100 ac1, b:100, c:100 ac1, d:100 ac2, e:100 ac9", "a-b:60 b-c:25 c-d:80 d-e:50")
	c, err := NewCarrier(v, nil, Params{Hops: 2, Theta: 0.1, Phi: 0.5, Mode: Paper})
	if err != nil {
		t.Fatal(err)
	}
	n, _ := c.Network([]string{"ac1", "ac2"})
	var got []string
	for _, l := range n.Links {
		got = append(got, fmt.Sprintf("%s-%s %d hops %v Mbit/s %v ms", v.Nodes[n.Hosts[l.A]].Name, v.Nodes[n.Hosts[l.B]].Name, len(l.Path), l.Bandwidth, l.Delay))
	}
	want := []string{"a-c 2 hops 12.5 Mbit/s 20 ms", "c-d 1 hops 40 Mbit/s 10 ms"}
	if !reflect.DeepEqual(got, want) || n.CPU[0] != 10 {
		t.Errorf("%v, want %v; computing %v", got, want, n.CPU)
	}
	// Eq. 1: 3 hosts of 10, 2 hops of 12.5, one of 40.
	if cost := n.Cost(v); cost != 30+25+40 {
		t.Errorf("eq. 1: %v, want 95", cost)
	}
}

// P4-21: several shortest paths: the widest.
func TestWidestOfTheShortest(t *testing.T) {
	v := network(t, "a:1 x, b:1, c:1, d:1 x", "a-b:10 b-d:10 a-c:30 c-d:20")
	c, _ := NewCarrier(v, nil, whole(Paper, 2))
	if n, _ := c.Network([]string{"x"}); len(n.Links) != 1 || n.Links[0].Bandwidth != 20 {
		t.Errorf("%+v", n.Links)
	}
}

// P4-4: one category, one network.
func TestPaper4Reuse(t *testing.T) {
	v := network(t, "a:100 ac1, b:100 ac2", "a-b:100")
	d := decide(t, v, whole(Replan, 3), request("r1", "a", "b", 1, Step{"ac1", 1}), request("r2", "b", "a", 1, Step{"ac1", 1}))
	built := 0
	for _, w := range d.Why {
		if strings.Contains(w, "built over") {
			built++
		}
	}
	if built != 1 || d.Score != 2 {
		t.Errorf("built %d, score %v: %s", built, d.Score, d)
	}
}

// P4-3: a request belongs to the smallest class of business that covers it.
func TestPaper3Category(t *testing.T) {
	c, _ := NewCarrier(network(t, "a:1", ""), [][]string{{"x", "y", "z"}, {"y", "x"}}, Defaults())
	for _, test := range []struct{ asked, want string }{{"x", "x+y"}, {"z x", "x+z+y"}, {"w", "w"}} {
		var r Request
		for _, a := range strings.Fields(test.asked) {
			r.Steps = append(r.Steps, Step{Capability: a})
		}
		want := Key(Category(strings.Split(test.want, "+")))
		if got := Key(c.Category(r)); got != want {
			t.Errorf("%s: %s, want %s", test.asked, got, want)
		}
	}
}

// The layers alone have room, together not: the paper rejects (P4-14), we plan again.
func TestJointCheck(t *testing.T) {
	// From a to a through ac1 at b: the link a-b would be used twice. The way back over c is longer.
	v := network(t, "a:100 ac2, b:100 ac1, c:100 ac2", "a-b:10 b-c:100 a-c:100")
	r := request("r", "a", "a", 8, Step{"ac1", 1}, Step{"ac2", 0})
	paper := decide(t, v, whole(Paper, 1), r)
	if paper.Score != 0 || !strings.Contains(paper.Refused[0].Because, "more often than it has room") {
		t.Errorf("paper: %s", paper)
	}
	product := decide(t, v, whole(Replan, 1), r)
	if got := routes(product); len(got) != 1 || strings.Contains(got[0], "a > b > a") {
		t.Errorf("replan: %v", got)
	}
}

// Whatever comes and goes: no element gives more than it has, no link is sold twice, and when all are gone all is there
// again.
func TestNothingIsSoldTwice(t *testing.T) {
	for seed := range uint64(30) {
		r := chance.New(seed)
		nodes, links := []string{}, []string{}
		for i := range 8 {
			nodes = append(nodes, fmt.Sprintf("n%d:%d ac%d ac%d", i, 20+r.IntN(80), r.IntN(3), r.IntN(3)))
			for j := range i {
				if j == i-1 || r.Float64() < 0.3 {
					links = append(links, fmt.Sprintf("n%d-n%d:%d", j, i, 10+r.IntN(90)))
				}
			}
		}
		v := network(t, strings.Join(nodes, ", "), strings.Join(links, " "))
		p := Params{Hops: 3, Theta: 0.5, Phi: 0.5, Mode: Replan, Replans: 4, Penalty: 2, Congestion: 0.3, Reserve: true}
		c, err := NewCarrier(v, nil, p)
		if err != nil {
			t.Fatal(err)
		}
		type taken struct {
			n *Network
			r Request
			p Path
		}
		var all []taken
		for range 60 {
			q := Request{}
			for _, k := range r.Perm(3)[:1+r.IntN(3)] {
				q.Steps = append(q.Steps, Step{fmt.Sprintf("ac%d", k), r.Uniform(0, 10)})
			}
			for range len(q.Steps) + 1 {
				q.Rates = append(q.Rates, r.Uniform(0, 10))
			}
			n, _ := c.Network(c.Category(q))
			if len(n.Hosts) == 0 {
				continue
			}
			path, _, outcome := n.Find(q, int32(r.IntN(len(n.Hosts))), int32(r.IntN(len(n.Hosts))), p)
			if outcome == Found {
				n.Take(q, path)
				all = append(all, taken{n, q, path})
			}
			if len(all) > 0 && r.Float64() < 0.3 {
				i := r.IntN(len(all))
				all[i].n.Release(all[i].r, all[i].p)
				all = append(all[:i], all[i+1:]...)
			}
			for _, n := range c.Networks() {
				for i, free := range n.free {
					if free < -1e-9 || free > n.Links[i].Bandwidth {
						t.Fatalf("seed %d: link has %v of %v free", seed, free, n.Links[i].Bandwidth)
					}
				}
				for i, free := range n.cpuFree {
					if free < -1e-9 || free > n.CPU[i] {
						t.Fatalf("seed %d: host has %v of %v free", seed, free, n.CPU[i])
					}
				}
			}
		}
		for _, x := range all {
			x.n.Release(x.r, x.p)
		}
		for _, n := range c.Networks() {
			for i, free := range n.free {
				if free < n.Links[i].Bandwidth-1e-9 {
					t.Fatalf("seed %d: %v of %v came back", seed, free, n.Links[i].Bandwidth)
				}
			}
		}
		if sold := c.Sold(); sold > 1+1e-9 {
			t.Fatalf("seed %d: sold %v of a link", seed, sold)
		}
	}
}

func TestInfeasible(t *testing.T) {
	line := network(t, "a:10 ac1, b:10, c:10, d:10 ac2", "a-b:10 b-c:10 c-d:10")
	island := network(t, "a:10 ac1, b:10 ac1, z:10", "a-b:10")
	for _, c := range []struct {
		name, because, relax string
		view                 *plan.View
		hops                 int
		request              Request
	}{
		{"nowhere", "no node has ac7", "ac7 on a node", line, 3, request("r", "a", "d", 1, Step{"ac7", 1})},
		{"parts", "a and d are in parts of ac1+ac2 that nothing joins", "hops: 3", line, 2, request("r", "a", "d", 1, Step{"ac1", 1}, Step{"ac2", 1})},
		{"rate", "no path of ac1 has room", "rates at 50 %", network(t, "a:10 ac1, b:10 ac1", "a-b:10"), 3, request("r", "a", "b", 20, Step{"ac1", 1})},
		{"compute", "no path of ac1 has room", "compute at 50 %", network(t, "a:10 ac1, b:10 ac1", "a-b:10"), 3, request("r", "a", "b", 1, Step{"ac1", 20})},
		{"way in", "its way to the network needs 20 Mbit/s on a-b, 10 are left", "rates at 50 %", network(t, "a:10, b:10 ac1", "a-b:10"), 3, request("r", "a", "b", 20, Step{"ac1", 1})},
		{"no way", "z has no way to a host of ac1", "a link between the parts of z and a", island, 3, request("r", "z", "a", 1, Step{"ac1", 1})},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decide(t, c.view, whole(Replan, c.hops), c.request)
			if len(d.Refused) != 1 || !strings.Contains(d.Refused[0].Because, c.because) || !strings.HasPrefix(d.Refused[0].Relax, c.relax) || (c.relax == "") != (d.Refused[0].Relax == "") {
				t.Errorf("%s", d)
			}
		})
	}
}

func TestWrongProblemsNameTheItem(t *testing.T) {
	v := network(t, "a:1 x, b:1 x", "a-b:1")
	for _, c := range []struct {
		request Request
		want    string
	}{
		{request("r", "q", "a", 1), `request r: no node "q"`},
		{Request{Name: "r", From: "a", To: "b", Steps: []Step{{"x", 1}}, Rates: []float64{1}}, "1 rates for 1 steps"},
		{request("r", "a", "b", -1), "rate -1"},
		{request("r", "a", "b", 1, Step{"x", -2}), "step x: -2"},
	} {
		_, err := Strategy{}.Plan(context.Background(), v, Problem{Requests: []Request{c.request}, Params: Defaults()}, plan.Budget{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// A decision can be carried out on the view it was made for, and its ends may lie outside of the network.
func TestDecision(t *testing.T) {
	v := network(t, "a:100, b:100 ac1, c:100 ac2, d:100 ac1 ac2, e:100", "a-b:100 b-c:100 c-d:100 b-d:100 d-e:100")
	r := request("r", "a", "e", 5, Step{"ac1", 3}, Step{"ac2", 4})
	d := decide(t, v, whole(Replan, 2), r)
	if err := d.Check(v); err != nil {
		t.Error(err)
	}
	got := routes(d)
	if want := "route r from a to e over a > b > d > e, steps at d, d, 5 Mbit/s"; len(got) != 1 || got[0] != want {
		t.Errorf("%v, want %s", got, want)
	}
	if len(d.Alternates) != 1 {
		t.Errorf("no alternate: %s", d)
	}
	if again := decide(t, v, whole(Replan, 2), r); !reflect.DeepEqual(d, again) {
		t.Error("two decisions for one question")
	}
}
