package graph

import (
	"math"
	"slices"
)

// Search finds paths in networks of one size. It keeps its memory from one call to the next and allocates nothing once
// it is warm; so it serves one caller at a time, and what it answers lasts until the next call.
type Search struct {
	Dist  []float64 // by node: length of the best path, +Inf: none. Of Widest: its width, 0: none
	Hops  []int32   // by node: arcs of that path, -1: none
	via   []int32   // by node: arc the path ends with, -1: none
	from  []int32   // by node: where that arc begins
	queue heap
	level []int32
	next  []int32
	rings [][]int32 // of Dial
}

func (s *Search) reset(n int, dist float64) {
	if cap(s.Dist) < n {
		s.Dist, s.Hops, s.via, s.from = make([]float64, n), make([]int32, n), make([]int32, n), make([]int32, n)
	}
	s.Dist, s.Hops, s.via, s.from = s.Dist[:n], s.Hops[:n], s.via[:n], s.from[:n]
	for i := range n {
		s.Dist[i], s.Hops[i], s.via[i] = dist, -1, -1
	}
	s.queue = s.queue[:0]
}

// BFS finds the paths of least hops from a node; among those the widest; then the one whose last node but one has the
// least number. Width is by link; nil: all alike. Hops has the answer, Dist the width. Paths of more than most hops are
// not looked for.
func (s *Search) BFS(g *CSR, source int32, width []float64, most int32) {
	s.reset(g.Nodes(), 0)
	s.Hops[source], s.Dist[source] = 0, math.Inf(1)
	s.level = append(s.level[:0], source)
	for hops := int32(1); len(s.level) > 0 && hops <= most; hops++ {
		s.next = s.next[:0]
		for _, at := range s.level {
			for a := g.First[at]; a < g.First[at+1]; a++ {
				to, wide := g.To[a], s.Dist[at]
				if width != nil {
					wide = min(wide, width[g.Link[a]])
				}
				switch {
				case s.Hops[to] < 0:
					s.next = append(s.next, to)
				case s.Hops[to] != hops || wide <= s.Dist[to]:
					continue
				}
				s.Hops[to], s.Dist[to], s.via[to], s.from[to] = hops, wide, a, at
			}
		}
		slices.Sort(s.next)
		s.level, s.next = s.next, s.level
	}
}

// Dijkstra finds the shortest paths from a node by weights per link, none negative; a link of weight +Inf is not there.
// It stops at the target; target -1: all nodes. Equal lengths: the path that is found from the lower node first.
func (s *Search) Dijkstra(g *CSR, weight []float64, source, target int32) {
	s.shortest(g, weight, source, target, nil)
}

// shortest passes by nodes that are barred.
func (s *Search) shortest(g *CSR, weight []float64, source, target int32, barred []bool) {
	s.reset(g.Nodes(), math.Inf(1))
	s.Dist[source], s.Hops[source] = 0, 0
	s.queue.push(entry{0, source})
	for len(s.queue) > 0 {
		top := s.queue.pop()
		at := top.node
		if top.key > s.Dist[at] {
			continue // found shorter since
		}
		if at == target {
			return
		}
		for a := g.First[at]; a < g.First[at+1]; a++ {
			to := g.To[a]
			if barred != nil && barred[to] {
				continue
			}
			if d := top.key + weight[g.Link[a]]; d < s.Dist[to] {
				s.Dist[to], s.Hops[to], s.via[to], s.from[to] = d, s.Hops[at]+1, a, at
				s.queue.push(entry{d, to})
			}
		}
	}
}

// Dial is Dijkstra for small whole weights from 1 to most: rings instead of a heap. A weight of 0 or less: the link is not
// there.
func (s *Search) Dial(g *CSR, weight []int32, most int32, source, target int32) {
	s.reset(g.Nodes(), math.Inf(1))
	for len(s.rings) < int(most)+1 {
		s.rings = append(s.rings, nil)
	}
	rings := s.rings[:most+1]
	for i := range rings {
		rings[i] = rings[i][:0]
	}
	s.Dist[source], s.Hops[source] = 0, 0
	rings[0] = append(rings[0], source)
	for d, waiting := 0, 1; waiting > 0; d++ {
		ring := d % len(rings)
		slices.Sort(rings[ring]) // equal lengths: the lower node first, as the heap has it
		for _, at := range rings[ring] {
			waiting--
			if s.Dist[at] != float64(d) {
				continue
			}
			if at == target {
				return
			}
			for a := g.First[at]; a < g.First[at+1]; a++ {
				w := weight[g.Link[a]]
				to := g.To[a]
				if far := float64(d) + float64(w); w > 0 && far < s.Dist[to] {
					s.Dist[to], s.Hops[to], s.via[to], s.from[to] = far, s.Hops[at]+1, a, at
					rings[(d+int(w))%len(rings)] = append(rings[(d+int(w))%len(rings)], to)
					waiting++
				}
			}
		}
		rings[ring] = rings[ring][:0]
	}
}

// Widest finds the paths whose narrowest link is widest; equal widths: fewer hops.
func (s *Search) Widest(g *CSR, width []float64, source int32) {
	s.reset(g.Nodes(), 0)
	s.Dist[source], s.Hops[source] = math.Inf(1), 0
	s.queue.push(entry{math.Inf(-1), source})
	for len(s.queue) > 0 {
		top := s.queue.pop()
		at := top.node
		if -top.key < s.Dist[at] {
			continue
		}
		for a := g.First[at]; a < g.First[at+1]; a++ {
			to, wide := g.To[a], min(s.Dist[at], width[g.Link[a]])
			if wide > s.Dist[to] || wide == s.Dist[to] && wide > 0 && s.Hops[at]+1 < s.Hops[to] {
				s.Dist[to], s.Hops[to], s.via[to], s.from[to] = wide, s.Hops[at]+1, a, at
				s.queue.push(entry{-wide, to})
			}
		}
	}
}

// Path is the way from one node to another.
type Path struct {
	Nodes  []int32 // both ends included
	Links  []int32 // one less
	Length float64
}

// Path is how the last search came to a node, ok false when it did not.
func (s *Search) Path(g *CSR, to int32) (p Path, ok bool) {
	if s.Hops[to] < 0 {
		return Path{}, false
	}
	p.Length = s.Dist[to]
	for ; s.via[to] >= 0; to = s.from[to] {
		p.Nodes, p.Links = append(p.Nodes, to), append(p.Links, g.Link[s.via[to]])
	}
	p.Nodes = append(p.Nodes, to)
	slices.Reverse(p.Nodes)
	slices.Reverse(p.Links)
	return p, true
}

// AppendLinks is Path without its memory: the links from the node back to the source.
func (s *Search) AppendLinks(links []int32, g *CSR, to int32) []int32 {
	for ; s.via[to] >= 0; to = s.from[to] {
		links = append(links, g.Link[s.via[to]])
	}
	return links
}
