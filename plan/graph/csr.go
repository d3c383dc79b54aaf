package graph

import "slices"

// Pair is the two ends of a link, by number.
type Pair struct{ A, B int32 }

// CSR is a network in compressed rows: the arcs out of node n are First[n] to First[n+1]. It is made once for a
// snapshot and never changed; what varies (weights, bandwidths) lies in slices beside it, by link.
type CSR struct {
	First []int32 // by node, and one more
	To    []int32 // by arc; within a row in the order of numbers
	Link  []int32 // by arc: which link it belongs to
	links int
}

// NewCSR makes the rows of n nodes. Undirected links give an arc each way, both with the number of the link. Links to
// oneself are left out; their number stays unused.
func NewCSR(n int, links []Pair, directed bool) *CSR {
	g := &CSR{First: make([]int32, n+1), links: len(links)}
	each := func(f func(from, to, link int32)) {
		for i, l := range links {
			if l.A == l.B {
				continue
			}
			f(l.A, l.B, int32(i))
			if !directed {
				f(l.B, l.A, int32(i))
			}
		}
	}
	each(func(from, _, _ int32) { g.First[from+1]++ })
	for i := range n {
		g.First[i+1] += g.First[i]
	}
	type arc struct{ to, link int32 }
	arcs, fill := make([]arc, g.First[n]), slices.Clone(g.First)
	each(func(from, to, link int32) {
		arcs[fill[from]] = arc{to, link}
		fill[from]++
	})
	for i := range n {
		slices.SortFunc(arcs[g.First[i]:g.First[i+1]], func(a, b arc) int {
			if a.to != b.to {
				return int(a.to - b.to)
			}
			return int(a.link - b.link)
		})
	}
	g.To, g.Link = make([]int32, len(arcs)), make([]int32, len(arcs))
	for i, a := range arcs {
		g.To[i], g.Link[i] = a.to, a.link
	}
	return g
}

// Nodes is how many there are.
func (g *CSR) Nodes() int { return len(g.First) - 1 }

// Links is how many there are, counted once.
func (g *CSR) Links() int { return g.links }

// Components numbers the parts of an undirected network that hang together, from 0, in the order of their least node.
func (g *CSR) Components() (of []int32, count int) {
	of = make([]int32, g.Nodes())
	for i := range of {
		of[i] = -1
	}
	var stack []int32
	for i := range of {
		if of[i] >= 0 {
			continue
		}
		of[i] = int32(count)
		for stack = append(stack[:0], int32(i)); len(stack) > 0; {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for a := g.First[at]; a < g.First[at+1]; a++ {
				if to := g.To[a]; of[to] < 0 {
					of[to] = int32(count)
					stack = append(stack, to)
				}
			}
		}
		count++
	}
	return of, count
}
