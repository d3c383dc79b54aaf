package scn

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/graph"
)

// Problem is some requests, in the order in which they are served.
type Problem struct {
	Requests   []Request
	Categories [][]string // classes of business; a request that none covers is one of its own
	Params     Params
}

// Check names the first item that cannot be meant.
func (p Problem) Check(view *plan.View) error {
	if err := p.Params.Check(); err != nil {
		return fmt.Errorf("scn: %w", err)
	}
	for _, r := range p.Requests {
		for _, end := range []string{r.From, r.To} {
			if _, ok := view.Index(end); !ok {
				return fmt.Errorf("scn: request %s: no node %q", r.Name, end)
			}
		}
		if len(r.Rates) != len(r.Steps)+1 {
			return fmt.Errorf("scn: request %s: %d rates for %d steps: want one more", r.Name, len(r.Rates), len(r.Steps))
		}
		for _, rate := range r.Rates {
			if !plan.Amount(rate) {
				return fmt.Errorf("scn: request %s: rate %v is not an amount", r.Name, rate)
			}
		}
		for _, s := range r.Steps {
			if !plan.Amount(s.CPU) {
				return fmt.Errorf("scn: request %s: step %s: %v is not an amount", r.Name, s.Capability, s.CPU)
			}
		}
	}
	return nil
}

// Strategy is plan.Strategy.
type Strategy struct{}

func (Strategy) Name() string { return "scn" }

// Plan builds what networks the requests need and finds their paths, one after the other. Requests that get none are
// in Refused, with the smallest relaxation that helps.
func (s Strategy) Plan(ctx context.Context, view *plan.View, problem plan.Problem, budget plan.Budget) (plan.Decision, error) {
	p, ok := problem.(Problem)
	if !ok {
		return plan.Decision{}, plan.Wrong(s.Name(), problem)
	}
	if err := p.Check(view); err != nil {
		return plan.Decision{}, err
	}
	d := plan.Decision{Strategy: s.Name(), View: view.Hash(), Seed: budget.Seed, Measure: "requests with a path, larger is better"}
	carrier, err := NewCarrier(view, p.Categories, p.Params)
	if err != nil {
		return plan.Decision{}, err
	}
	most := budget.Or(math.MaxInt)
	for _, r := range p.Requests {
		if ctx.Err() != nil || d.Work >= most {
			d.Refused = append(d.Refused, plan.Infeasible{What: "request " + r.Name, Because: "the budget was spent before its turn"})
			continue
		}
		if refused := carrier.serve(&d, r); refused != nil {
			d.Refused = append(d.Refused, *refused)
		}
	}
	d.Score = float64(len(p.Requests) - len(d.Refused))
	return d, nil
}

// serve adds what one request needs to a decision.
func (c *Carrier) serve(d *plan.Decision, r Request) *plan.Infeasible {
	for _, s := range r.Steps {
		if !slices.ContainsFunc(c.View.Nodes, func(n plan.Node) bool { return n.Can(s.Capability) }) {
			return &plan.Infeasible{What: "request " + r.Name, Because: "no node has " + s.Capability, Relax: s.Capability + " on a node"}
		}
	}
	category := c.Category(r)
	n, built := c.Network(category)
	if len(n.Hosts) == 0 {
		return &plan.Infeasible{What: "request " + r.Name, Because: "it asks for no capability, so no network carries it"}
	}
	if built {
		c.explain(d, n)
	}
	var ends [2]access
	for i, name := range []string{r.From, r.To} {
		if ends[i] = n.access(c.View, name, r.Rates[i*len(r.Steps)]); ends[i].host < 0 {
			return &plan.Infeasible{What: "request " + r.Name, Because: fmt.Sprintf("%s has no way to a host of %s", name, Key(category)), Relax: fmt.Sprintf("a link between the parts of %s and %s", name, c.View.Nodes[n.Hosts[0]].Name)}
		}
	}
	if refused := c.enter(r, ends); refused != nil {
		return refused
	}
	from, to := ends[0].host, ends[1].host
	path, plans, outcome := n.Find(r, from, to, c.Params)
	d.Work += plans
	if outcome != Found {
		return c.refuse(r, n, from, to, outcome)
	}
	if plans > 1 {
		d.Why = append(d.Why, fmt.Sprintf("%s: found by plan %d: those before used some element more often than it has room", r.Name, plans))
	}
	if other, ok := n.other(r, from, to, path, c.Params); ok {
		d.Alternates = append(d.Alternates, plan.Alternate{What: r.Name + " with steps at " + strings.Join(n.names(c.View, other.Hosts), ", "),
			Score: n.HopsOf(other), Why: fmt.Sprintf("hops; the chosen path has %.0f", n.HopsOf(path)), Actions: []plan.Action{n.route(c.View, r, other, ends)}})
	}
	n.Take(r, path)
	for _, end := range ends {
		for _, l := range end.links {
			c.left[l] -= end.rate
		}
	}
	d.Actions = append(d.Actions, n.route(c.View, r, path, ends))
	d.Why = append(d.Why, fmt.Sprintf("%s: %.0f hops in %s, delay %.4g, cost %.4g, revenue %.4g", r.Name, n.HopsOf(path), Key(category),
		n.DelayOf(c.View, path), n.CostOf(c.View, r, path), r.Revenue()))
	return nil
}

// explain adds the actions that build a network, and says what came of it.
func (c *Carrier) explain(d *plan.Decision, n *Network) {
	key := Key(n.Category)
	for i, host := range n.Hosts {
		if n.CPU[i] > 0 {
			name := c.View.Nodes[host].Name
			d.Actions = append(d.Actions, plan.Action{Kind: plan.Place, Subject: key, To: name, Amount: netmap.Demand{netmap.Compute: n.CPU[i]}})
		}
	}
	for _, l := range n.Links {
		a := plan.Action{Kind: plan.OverlayUp, Subject: key, From: c.View.Nodes[n.Hosts[l.A]].Name, To: c.View.Nodes[n.Hosts[l.B]].Name, Rate: l.Bandwidth}
		at := n.Hosts[l.A]
		a.Path = []string{a.From}
		for _, below := range l.Path {
			at = across(c.View, below, at)
			a.Path = append(a.Path, c.View.Nodes[at].Name)
			if c.Params.Reserve {
				a.Needs = append(a.Needs, plan.Need{LinkA: c.View.Links[below].A, LinkB: c.View.Links[below].B, Amount: l.Bandwidth})
			}
		}
		d.Actions = append(d.Actions, a)
	}
	d.Why = append(d.Why, fmt.Sprintf("%s: built over %d hosts with %d links of at most %d hops, cost %.4g", key, len(n.Hosts), len(n.Links), n.Hops, n.Cost(c.View)))
	if parts := n.parts(c.View); len(parts) > 1 {
		var all []string
		for _, part := range parts {
			all = append(all, strings.Join(part, " "))
		}
		why := fmt.Sprintf("%s: is in %d parts (%s)", key, len(parts), strings.Join(all, "; "))
		if h := leastHops(c.View, n.Category); h > n.Hops {
			why += fmt.Sprintf("; with hops: %d it hangs together", h)
		}
		d.Why = append(d.Why, why)
	}
}

// refuse says why a request has no path, and what would help: fewer megabits, less computing, or more hops.
func (c *Carrier) refuse(r Request, n *Network, from, to int32, outcome Outcome) *plan.Infeasible {
	e := &plan.Infeasible{What: "request " + r.Name}
	e.Because = "no path of " + Key(n.Category) + " has room for it"
	if outcome == Overused {
		e.Because = "every path that was planned uses some element more often than it has room"
	}
	scaled := func(rate, cpu float64) bool {
		s := Request{Steps: slices.Clone(r.Steps), Rates: slices.Clone(r.Rates)}
		for i := range s.Rates {
			s.Rates[i] *= rate
		}
		for i := range s.Steps {
			s.Steps[i].CPU *= cpu
		}
		_, _, outcome := n.Find(s, from, to, c.Params)
		return outcome == Found
	}
	switch {
	case scaled(0, 1):
		e.Relax = fmt.Sprintf("rates at %.0f %% of what it asks", math.Floor(100*most(func(x float64) bool { return scaled(x, 1) })))
	case scaled(1, 0):
		e.Relax = fmt.Sprintf("compute at %.0f %% of what it asks", math.Floor(100*most(func(x float64) bool { return scaled(1, x) })))
	default:
		if of, _ := n.graph.Components(); of[from] != of[to] {
			a, b := c.View.Nodes[n.Hosts[from]].Name, c.View.Nodes[n.Hosts[to]].Name
			e.Because = fmt.Sprintf("%s and %s are in parts of %s that nothing joins", a, b, Key(n.Category))
			e.Relax = fmt.Sprintf("a link between the parts of %s and %s", a, b)
		}
		if h := leastHops(c.View, n.Category); h > n.Hops {
			e.Relax = fmt.Sprintf("hops: %d", h)
		}
	}
	return e
}

// most is the largest part that still works, to a thousandth; 0 works.
func most(works func(float64) bool) float64 {
	low, high := 0.0, 1.0
	for range 10 {
		if mid := (low + high) / 2; works(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// access is how an end of a request comes to the network: through its own node, or through the nearest host. The way there
// has no cost, as in the paper, but takes bandwidth of the links below.
type access struct {
	host  int32    // -1: there is none
	nodes []string // before the host
	links []int32  // of the view
	rate  float64
}

func (n *Network) access(view *plan.View, name string, rate float64) access {
	node, _ := view.Index(name)
	if at := n.index[node]; at >= 0 {
		return access{host: at}
	}
	var s graph.Search
	s.BFS(view.Graph(), node, nil, math.MaxInt32)
	best := int32(-1)
	for i, h := range n.Hosts {
		if hops := s.Hops[h]; hops > 0 && (best < 0 || hops < s.Hops[n.Hosts[best]]) {
			best = int32(i)
		}
	}
	if best < 0 {
		return access{host: -1}
	}
	path, _ := s.Path(view.Graph(), n.Hosts[best])
	a := access{host: best, links: path.Links, rate: rate}
	for _, at := range path.Nodes[:len(path.Nodes)-1] {
		a.nodes = append(a.nodes, view.Nodes[at].Name)
	}
	return a
}

// enter says where the ways to the network have no room for a request.
func (c *Carrier) enter(r Request, ends [2]access) *plan.Infeasible {
	if !c.Params.Reserve {
		return nil
	}
	need := map[int32]float64{}
	for _, end := range ends {
		for _, l := range end.links {
			need[l] += end.rate
		}
	}
	worst, part := int32(-1), 1.0
	for _, end := range ends {
		for _, l := range end.links {
			if share := c.left[l] / need[l]; share < part {
				worst, part = l, share
			}
		}
	}
	if worst < 0 {
		return nil
	}
	l := c.View.Links[worst]
	return &plan.Infeasible{What: "request " + r.Name, Because: fmt.Sprintf("its way to the network needs %.4g Mbit/s on %s-%s, %.4g are left", need[worst], l.A, l.B, c.left[worst]),
		Relax: fmt.Sprintf("rates at %.0f %% of what it asks", math.Floor(100*max(0, part)))}
}

// other is the best path that does some step elsewhere; ok false when there is none.
func (n *Network) other(r Request, from, to int32, than Path, p Params) (Path, bool) {
	best, found := Path{}, false
	for k, host := range than.Hosts {
		can := n.can[r.Steps[k].Capability]
		can[host] = false
		path, _, outcome := n.Find(r, from, to, p)
		can[host] = true
		if outcome == Found && (!found || cmp.Less(n.HopsOf(path), n.HopsOf(best))) {
			best, found = path, true
		}
	}
	return best, found
}

// route is a path as an action, in the nodes below.
func (n *Network) route(view *plan.View, r Request, p Path, ends [2]access) plan.Action {
	a := plan.Action{Kind: plan.Route, Subject: r.Name, From: r.From, To: r.To, Hosts: n.names(view, p.Hosts), Rate: slices.Max(r.Rates)}
	at := n.Hosts[ends[0].host]
	a.Path = append(slices.Clone(ends[0].nodes), view.Nodes[at].Name)
	for _, l := range p.Links {
		below := n.Links[l].Path
		if n.Hosts[n.Links[l].A] != at {
			below = slices.Clone(below)
			slices.Reverse(below)
		}
		for _, link := range below {
			at = across(view, link, at)
			a.Path = append(a.Path, view.Nodes[at].Name)
		}
	}
	back := slices.Clone(ends[1].nodes)
	slices.Reverse(back)
	a.Path = append(a.Path, back...)
	for k, host := range p.Hosts {
		a.Needs = append(a.Needs, plan.Need{Node: view.Nodes[n.Hosts[host]].Name, Kind: netmap.Compute, Amount: r.Steps[k].CPU})
	}
	for _, end := range ends {
		for _, l := range end.links {
			a.Needs = append(a.Needs, plan.Need{LinkA: view.Links[l].A, LinkB: view.Links[l].B, Amount: end.rate})
		}
	}
	return a
}

func (n *Network) names(view *plan.View, hosts []int32) (names []string) {
	for _, h := range hosts {
		names = append(names, view.Nodes[n.Hosts[h]].Name)
	}
	return names
}

// across is the other end of a link.
func across(view *plan.View, link, at int32) int32 {
	l := view.Links[link]
	if view.Nodes[at].Name == l.A {
		b, _ := view.Index(l.B)
		return b
	}
	a, _ := view.Index(l.A)
	return a
}
