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
}

type reach struct {
	hops  int     // -1: no path
	delay float64 // seconds one bit needs, hop after hop
	via   edge    // last link; to is the node before
}

// From finds the best path to every node: fewest hops; among those the least time per bit, hop after hop; then the path
// whose last node but one comes first by name.
func (g *Graph) From(source string) Tree {
	t := Tree{g: g, source: source, reach: make([]reach, len(g.names))}
	for i := range t.reach {
		t.reach[i].hops = -1
	}
	start, ok := g.index[source]
	if !ok {
		return t
	}
	t.reach[start].hops = 0
	// Level by level, each in the order of names: when a node is expanded, its own best path is final.
	for level := []int{start}; len(level) > 0; {
		var below []int
		for _, at := range level {
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
		level = below
	}
	return t
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
