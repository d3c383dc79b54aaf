package spec

import (
	"fmt"
	"slices"
)

// checkProblem looks at what must hold between parts.
func (r *reader) checkProblem(p *Problem) {
	if r.has("network") {
		r.checkNetwork(p.Network, "network")
	}
	nodes := map[string]bool{}
	for _, n := range p.Network.Nodes {
		nodes[n.Name] = true
	}
	known := func(name, at string) {
		if name != "" && len(nodes) > 0 && !nodes[name] {
			r.failAt(at, "no node %s in the network", name)
		}
	}
	functions, chains := map[string]bool{}, map[string]bool{}
	for _, f := range p.Functions {
		functions[f.Name] = true
	}
	for i, c := range p.Chains {
		chains[c.Name] = true
		for j, f := range c.Functions {
			at := fmt.Sprintf("chains[%d].functions[%d]", i, j)
			if f != "" && !functions[f] {
				r.failAt(at, "no function %s in the catalogue", f)
			}
			if k := slices.Index(c.Functions, f); f != "" && k < j {
				r.failAt(at, "%s is in the chain already: a chain has no cycles", f)
			}
		}
	}
	for i, q := range p.Requests {
		at := fmt.Sprintf("requests[%d]", i)
		known(q.From, at+".from")
		known(q.To, at+".to")
		switch hasChain, hasSteps := r.has(at+".chain"), r.has(at+".steps"); {
		case hasChain == hasSteps && r.has(at+".name"):
			r.failAt(at, "want exactly one of chain, steps")
		case q.Chain != "" && !chains[q.Chain]:
			r.failAt(at+".chain", "no chain %s", q.Chain)
		}
		if r.has(at+".rate") && r.has(at+".rates") {
			r.failAt(at+".rates", "rate is given, too")
		} else if r.has(at+".rates") && len(q.Rates) != len(q.Steps)+1 {
			r.failAt(at+".rates", "want %d: one before, between and behind %d steps", len(q.Steps)+1, len(q.Steps))
		}
	}
	for i, s := range p.Services {
		at := fmt.Sprintf("services[%d]", i)
		if s.Floor > 0 && s.LatencyBound > 0 && s.Floor >= s.LatencyBound {
			r.failAt(at+".floor", "%s is not below latency_bound, %s: nobody could keep it", s.Floor, s.LatencyBound)
		}
		for j, l := range s.Load {
			known(l.Node, fmt.Sprintf("%s.load[%d].node", at, j))
			if len(l.Slots) != len(s.Load[0].Slots) {
				r.failAt(fmt.Sprintf("%s.load[%d].slots", at, j), "%d slots, the first node has %d", len(l.Slots), len(s.Load[0].Slots))
			}
		}
	}
	seen := map[[2]string]bool{}
	for i, q := range p.Pairs {
		at := fmt.Sprintf("pairs[%d]", i)
		pair := [2]string{q.From, q.To}
		switch {
		case q.From == "" || q.To == "":
		case q.From == q.To:
			r.failAt(at+".to", "%s is at both ends", q.To)
		case seen[pair]:
			r.failAt(at, "the pair %s, %s is given twice", q.From, q.To)
		}
		seen[pair] = true
	}
	if p.Move != nil {
		known(p.Move.From, "move.from")
	}
}

// checkNetwork wants nodes once, and links between them. At is the field the network stands in.
func (r *reader) checkNetwork(net Network, at string) {
	prefix := at
	if at != "" {
		prefix += "."
	}
	if len(net.Nodes) == 0 && r.at[at] != nil {
		if !r.has(prefix+"nodes") && net.Name != "" && len(net.Links) == 0 && at != "" {
			return // one that is known by its name
		}
		r.failAt(at, "has no nodes")
		return
	}
	names := map[string]bool{}
	for _, n := range net.Nodes {
		names[n.Name] = true
	}
	r.distinct(prefix+"nodes", len(net.Nodes), func(i int) string { return net.Nodes[i].Name })
	for i, n := range net.Nodes {
		for _, k := range sorted(n.Used) {
			if n.Used[k] > n.Capacity[k] {
				r.failAt(fmt.Sprintf("%snodes[%d].used.%s", prefix, i, k), "%s is more than the capacity, %s", printNumber(n.Used[k]), printNumber(n.Capacity[k]))
			}
		}
	}
	for i, l := range net.Links {
		field := fmt.Sprintf("%slinks[%d]", prefix, i)
		if l.A != "" && !names[l.A] {
			r.failAt(field+".a", "no node %s in the network", l.A)
		}
		if l.B != "" && !names[l.B] {
			r.failAt(field+".b", "no node %s in the network", l.B)
		}
		if l.A != "" && l.A == l.B {
			r.failAt(field+".b", "joins %s to itself", l.A)
		}
	}
}

func sorted(m map[string]float64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
