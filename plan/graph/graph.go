// Package graph answers how far nodes are from each other over the links of a snapshot.
//
// It reads netmap.Link values, writes nothing, and is told by the strategies of plan: no I/O, no clock. Answers depend
// on the set of links only, never on their order.
package graph

import (
	"cmp"
	"math"
	"slices"

	"sonic-netservices/netmap"
)

// Graph is who is beside whom, built once per decision.
type Graph struct {
	names []string       // sorted
	index map[string]int // into names
	next  [][]edge       // by node, sorted by neighbour
}

type edge struct {
	to  int
	bps float64
}

// New builds the graph of links whose speed is known, 1 bit/s or more. A link to itself is none; of parallel cables the
// fastest counts, as one transfer takes one of them. Keep may leave out ends that forward nothing; nil keeps all.
func New(links []netmap.Link, keep func(node string) bool) *Graph {
	g := &Graph{index: map[string]int{}}
	var usable []netmap.Link
	for _, l := range links {
		if !(l.SpeedBPS >= 1) || math.IsInf(l.SpeedBPS, 0) || l.From == l.To {
			continue
		}
		if keep != nil && (!keep(l.From) || !keep(l.To)) {
			continue
		}
		usable = append(usable, l)
		g.names = append(g.names, l.From, l.To)
	}
	slices.Sort(g.names)
	g.names = slices.Compact(g.names)
	for i, name := range g.names {
		g.index[name] = i
	}
	g.next = make([][]edge, len(g.names))
	for _, l := range usable {
		from := g.index[l.From]
		g.next[from] = append(g.next[from], edge{g.index[l.To], l.SpeedBPS})
	}
	for i, edges := range g.next {
		slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(b.bps, a.bps)) })
		g.next[i] = slices.CompactFunc(edges, func(a, b edge) bool { return a.to == b.to })
	}
	return g
}

// Degree is the number of a node's neighbours.
func (g *Graph) Degree(node string) int {
	i, ok := g.index[node]
	if !ok {
		return 0
	}
	return len(g.next[i])
}

// Hop is one link of a path.
type Hop struct {
	From string  `json:"from"`
	To   string  `json:"to"`
	BPS  float64 `json:"bps"` // bits per second
}

// Tree holds the best paths from one node to all others.
type Tree struct {
	g      *Graph
	source string
	reach  []reach // by node

	level, below []int
}

type reach struct {
	hops  int     // -1: no path
	delay float64 // seconds one bit needs, hop after hop
	via   edge    // last link; to is the node before
}

// From finds the best path to every node: fewest hops; among those the least time per bit, hop after hop; then the path
// whose last node but one comes first by name.
func (g *Graph) From(source string) Tree {
	var t Tree
	t.Grow(g, source)
	return t
}

// Grow makes the tree anew, as From does, in the memory that it has.
func (t *Tree) Grow(g *Graph, source string) {
	t.g, t.source = g, source
	t.reach = slices.Grow(t.reach[:0], len(g.names))[:len(g.names)]
	for i := range t.reach {
		t.reach[i].hops = -1
	}
	start, ok := g.index[source]
	if !ok {
		return
	}
	t.reach[start] = reach{}
	// Level by level, each in the order of names: when a node is expanded, its own best path is final.
	t.level = append(t.level[:0], start)
	for len(t.level) > 0 {
		below := t.below[:0]
		for _, at := range t.level {
			for _, e := range g.next[at] {
				to, delay := &t.reach[e.to], t.reach[at].delay+1/e.bps
				switch {
				case to.hops < 0:
					below = append(below, e.to)
				case to.hops != t.reach[at].hops+1 || delay >= to.delay:
					continue
				}
				*to = reach{t.reach[at].hops + 1, delay, edge{at, e.bps}}
			}
		}
		slices.Sort(below)
		t.level, t.below = below, t.level
	}
}

// Number of a node in trees, -1: no link leads to it.
func (g *Graph) Number(node string) int {
	if i, ok := g.index[node]; ok {
		return i
	}
	return -1
}

// Reach says how a tree comes to a node, by its number: hops, the seconds that one bit takes on all of them one after the
// other, and on the slowest. Ok is false when it does not.
func (t *Tree) Reach(number int) (hops int, all, slowest float64, ok bool) {
	if number < 0 || t.reach[number].hops < 0 {
		return 0, 0, 0, false
	}
	for at := number; t.reach[at].hops > 0; at = t.reach[at].via.to {
		slowest = max(slowest, 1/t.reach[at].via.bps)
	}
	return t.reach[number].hops, t.reach[number].delay, slowest, true
}

// To is the path to a node, ok false when there is none. The path of the source to itself has no hop.
func (t Tree) To(node string) (path []Hop, ok bool) {
	if node == t.source {
		return nil, true
	}
	i, known := t.g.index[node]
	if !known || t.reach[i].hops < 0 {
		return nil, false
	}
	for at := i; t.reach[at].hops > 0; at = t.reach[at].via.to {
		via := t.reach[at].via
		path = append(path, Hop{t.g.names[via.to], t.g.names[at], via.bps})
	}
	slices.Reverse(path)
	return path, true
}
