package graph

import (
	"cmp"
	"math"
	"slices"
)

// Yen finds the k shortest paths without loops between two nodes, shortest first; equal lengths: by their nodes. Fewer
// than k when there are no more.
func Yen(g *CSR, weight []float64, source, target int32, k int) []Path {
	var s Search
	s.Dijkstra(g, weight, source, target)
	first, ok := s.Path(g, target)
	if !ok || k < 1 {
		return nil
	}
	found, waiting := []Path{first}, []Path(nil)
	barred, open := make([]bool, g.Nodes()), slices.Clone(weight)
	for len(found) < k {
		last := found[len(found)-1]
		length := 0.0
		for i := 0; i+1 < len(last.Nodes); i++ {
			// Leave the last path at its i-th node, by a link that no found path with this beginning takes.
			for _, p := range found {
				if len(p.Links) > i && slices.Equal(p.Nodes[:i+1], last.Nodes[:i+1]) {
					open[p.Links[i]] = math.Inf(1)
				}
			}
			spur := last.Nodes[i]
			s.shortest(g, open, spur, target, barred)
			if rest, ok := s.Path(g, target); ok {
				p := Path{slices.Concat(last.Nodes[:i], rest.Nodes), slices.Concat(last.Links[:i], rest.Links), length + rest.Length}
				same := func(q Path) bool { return slices.Equal(p.Links, q.Links) }
				if !slices.ContainsFunc(waiting, same) {
					waiting = append(waiting, p)
				}
			}
			for _, p := range found {
				if len(p.Links) > i {
					open[p.Links[i]] = weight[p.Links[i]]
				}
			}
			barred[spur] = true
			length += weight[last.Links[i]]
		}
		clear(barred)
		if len(waiting) == 0 {
			break
		}
		best := 0
		for i, p := range waiting {
			if cmp.Or(cmp.Compare(p.Length, waiting[best].Length), slices.Compare(p.Nodes, waiting[best].Nodes), slices.Compare(p.Links, waiting[best].Links)) < 0 {
				best = i
			}
		}
		found = append(found, waiting[best])
		waiting = slices.Delete(waiting, best, best+1)
	}
	return found
}
