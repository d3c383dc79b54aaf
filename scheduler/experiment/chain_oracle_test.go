package experiment

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chain"
	"sonic-netservices/plan/graph"
)

// oracle is a chain problem with one replica and steady delays as a mixed integer program (eq. 4-17), in the text form
// that LP solvers read. It shares no code with plan/chain but the network.
//
//	x(s,k,n)  function k of service s is on node n        y(s)  service s is used       binary
//	a(t)      request t is served                                                       binary
//	v(t,k,n)  how much of request t is worked on by function k at node n                = a(t) x(s,k,n)
//	z(t,k,m,n)  how much of it goes from function k-1 at m to function k at n
type oracle struct {
	view  *plan.View
	p     *chain.Problem
	cost  terms
	rows  []row
	whole []string
}

// terms adds up what belongs to one variable: solvers read a variable that is there twice in their own ways.
type terms map[string]float64

type row struct {
	terms
	sense string
	bound float64
}

func (o *oracle) row(t terms, sense string, bound float64) {
	o.rows = append(o.rows, row{t, sense, bound})
}

func newOracle(view *plan.View, p *chain.Problem) *oracle {
	o := &oracle{view: view, p: p, cost: terms{}}
	nodes, links := make([]terms, len(view.Nodes)), make([]terms, len(view.Links))
	for i := range nodes {
		nodes[i] = terms{}
	}
	for i := range links {
		links[i] = terms{}
	}
	functions := map[string]chain.Function{}
	for _, f := range p.Functions {
		functions[f.Name] = f
	}
	services := map[string]chain.Service{}
	for i, s := range p.Services {
		services[s.Name] = s
		y := "y_" + s.Name
		o.whole = append(o.whole, y)
		for k, name := range s.Functions {
			f := functions[name]
			o.cost[y] += f.Fixed
			one := terms{y: -1}
			for n := range view.Nodes {
				if !o.may(f, n) {
					continue
				}
				x := fmt.Sprintf("x_%d_%d_%d", i, k, n)
				o.whole = append(o.whole, x)
				one[x] += 1
				nodes[n][x] += f.Reserve
			}
			o.row(one, "=", 0)
		}
	}
	for t, q := range p.Requests {
		s := services[q.Service]
		number := slices.IndexFunc(p.Services, func(c chain.Service) bool { return c.Name == q.Service })
		a, late := fmt.Sprintf("a_%d", t), terms{}
		o.whole = append(o.whole, a)
		o.cost[a] -= p.Rejection
		from, _ := view.Index(q.From)
		to, _ := view.Index(q.To)
		flow := func(v string, m, n int, rate float64) bool {
			path, ok := o.path(m, n)
			if !ok {
				o.row(terms{v: 1}, "=", 0)
				return false
			}
			for _, l := range path {
				links[l][v] += rate
				o.cost[v] += rate * view.Links[l].UnitCost
				late[v] += view.Links[l].Delay
			}
			return true
		}
		rate := q.Rate
		for k, name := range s.Functions {
			f, all := functions[name], terms{a: -1}
			for n := range view.Nodes {
				if !o.may(f, n) {
					continue
				}
				v := fmt.Sprintf("v_%d_%d_%d", t, k, n)
				all[v] += 1
				o.row(terms{v: 1, fmt.Sprintf("x_%d_%d_%d", number, k, n): -1}, "<=", 0)
				nodes[n][v] += rate * f.PerMbps
				o.cost[v] += rate * f.PerMbps * view.Nodes[n].UnitCost
				late[v] += view.Nodes[n].Processing
				if k == 0 {
					flow(v, int(from), n, rate)
				}
				if k == len(s.Functions)-1 {
					flow(v, n, int(to), rate*f.Ratio)
				}
			}
			o.row(all, "=", 0)
			if k > 0 {
				o.transport(t, k, functions[s.Functions[k-1]], f, rate, flow)
			}
			rate *= f.Ratio
		}
		if q.Deadline > 0 {
			o.row(late, "<=", q.Deadline)
		}
	}
	for n, t := range nodes {
		o.row(t, "<=", view.Nodes[n].Free(netmap.Compute))
	}
	for l, t := range links {
		o.row(t, "<=", view.Links[l].Free())
	}
	return o
}

// transport ties what leaves one function to what enters the next.
func (o *oracle) transport(t, k int, before, f chain.Function, rate float64, flow func(v string, m, n int, rate float64) bool) {
	out, in := map[int]terms{}, map[int]terms{}
	for m := range o.view.Nodes {
		if !o.may(before, m) {
			continue
		}
		out[m] = terms{fmt.Sprintf("v_%d_%d_%d", t, k-1, m): -1}
		for n := range o.view.Nodes {
			if !o.may(f, n) {
				continue
			}
			if in[n] == nil {
				in[n] = terms{fmt.Sprintf("v_%d_%d_%d", t, k, n): -1}
			}
			z := fmt.Sprintf("z_%d_%d_%d_%d", t, k, m, n)
			out[m][z], in[n][z] = 1, 1
			flow(z, m, n, rate)
		}
	}
	for n := range o.view.Nodes {
		if out[n] != nil {
			o.row(out[n], "=", 0)
		}
		if in[n] != nil {
			o.row(in[n], "=", 0)
		}
	}
}

func (o *oracle) may(f chain.Function, n int) bool {
	switch o.view.Nodes[n].Tier {
	case "core":
		return f.Where != chain.Edge
	case "edge":
		return f.Where != chain.Core
	}
	return f.Where == chain.Any
}

// path is the one of least delay; among those the cheapest.
func (o *oracle) path(m, n int) ([]int32, bool) {
	if m == n {
		return nil, true
	}
	weights := make([]float64, len(o.view.Links))
	for i, l := range o.view.Links {
		weights[i] = l.Delay + 1e-6*l.UnitCost
	}
	var s graph.Search
	s.Dijkstra(o.view.Graph(), weights, int32(m), int32(n))
	p, ok := s.Path(o.view.Graph(), int32(n))
	return p.Links, ok
}

// constant is what the program's text leaves out: all requests rejected.
func (o *oracle) constant() float64 { return o.p.Rejection * float64(len(o.p.Requests)) }

func (o *oracle) text() []byte {
	var b bytes.Buffer
	sum := func(t terms) {
		for i, v := range sorted(t) {
			if i > 0 && i%8 == 0 {
				b.WriteString("\n ")
			}
			fmt.Fprintf(&b, " %+.12g %s", t[v], v)
		}
	}
	b.WriteString("Minimize\n obj:")
	sum(o.cost)
	b.WriteString("\nSubject To\n")
	for i, r := range o.rows {
		if len(sorted(r.terms)) == 0 {
			continue
		}
		fmt.Fprintf(&b, " c%d:", i)
		sum(r.terms)
		fmt.Fprintf(&b, " %s %.12g\n", r.sense, r.bound)
	}
	b.WriteString("Binaries\n")
	for _, v := range o.whole {
		fmt.Fprintf(&b, " %s\n", v)
	}
	b.WriteString("End\n")
	return b.Bytes()
}

func sorted(t terms) []string {
	var names []string
	for v, x := range t {
		if x != 0 {
			names = append(names, v)
		}
	}
	slices.SortFunc(names, cmp.Compare)
	return names
}

// solve has CBC find the optimum and prove it, within so many seconds.
func (o *oracle) solve(t *testing.T, seconds int) (optimum float64, proved bool) {
	t.Helper()
	folder := t.TempDir()
	lp, sol := filepath.Join(folder, "chain.lp"), filepath.Join(folder, "chain.sol")
	if err := os.WriteFile(lp, o.text(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("cbc", lp, "sec", fmt.Sprint(seconds), "ratio", "0", "allow", "1e-6", "solve", "solu", sol).CombinedOutput()
	if err != nil {
		t.Fatalf("cbc: %v\n%s", err, out)
	}
	text, err := os.ReadFile(sol)
	if err != nil {
		t.Fatalf("cbc: %v\n%s", err, out)
	}
	head, _, _ := strings.Cut(string(text), "\n")
	if _, value, ok := strings.Cut(head, "objective value"); ok {
		_, err = fmt.Sscan(value, &optimum)
	}
	if err != nil {
		t.Fatalf("cbc says %q", head)
	}
	return optimum + o.constant(), strings.HasPrefix(head, "Optimal")
}
