// Package topology makes networks to plan on: random ones from a seed, and real ones that were published.
//
// It reads a seed or a name, writes a Topology, and is told by experiments and tests: no I/O, no clock. What nodes and
// links can do is not its business; experiments dress a Topology as their paper says.
package topology

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/graph"
)

// Topology is a connected undirected network. Node i is Names[i]; the names are in their order.
type Topology struct {
	Name   string
	Source string // where it was published; "" for random ones
	Names  []string
	X, Y   []float64 // places, where they mean something; in km for real ones
	Links  []graph.Pair
}

// Graph is who is beside whom.
func (t Topology) Graph() *graph.CSR { return graph.NewCSR(len(t.Names), t.Links, false) }

// Distance between two nodes, in the unit of their places.
func (t Topology) Distance(a, b int32) float64 { return math.Hypot(t.X[a]-t.X[b], t.Y[a]-t.Y[b]) }

// Diameter is the longest of the shortest paths, in hops.
func (t Topology) Diameter() int {
	var s graph.Search
	g, most := t.Graph(), int32(0)
	for n := range t.Names {
		s.BFS(g, int32(n), nil, math.MaxInt32)
		most = max(most, slices.Max(s.Hops))
	}
	return int(most)
}

// Waxman draws a network of n nodes in the unit square with exactly so many links, the pair at distance d with weight
// exp(-d / (beta L)), L the diagonal; again and again until it hangs together. Waxman's alpha only scales the number of
// links, which is given here. Small beta: links are short, paths have many hops.
func Waxman(r *chance.Rand, n, links int, beta float64) (Topology, error) {
	if n < 2 || links < n-1 || links > n*(n-1)/2 || !(beta > 0) {
		return Topology{}, fmt.Errorf("waxman: %d nodes with %d links and beta %v: want a tree's links at least, a full mesh's at most, beta above 0", n, links, beta)
	}
	t := Topology{Name: fmt.Sprintf("waxman-%d-%d", n, links), Names: names("n", n), X: make([]float64, n), Y: make([]float64, n)}
	for range attempts {
		for i := range n {
			t.X[i], t.Y[i] = r.Float64(), r.Float64()
		}
		t.Links = draw(r, n, links, func(a, b int32) float64 { return math.Exp(-t.Distance(a, b) / (beta * math.Sqrt2)) })
		if _, parts := t.Graph().Components(); parts == 1 {
			return t, nil
		}
	}
	return Topology{}, fmt.Errorf("waxman: %d nodes with %d links and beta %v did not hang together in %d draws", n, links, beta, attempts)
}

// attempts to draw a connected network. At beta 0.08 every few hundredth of 50 nodes with 120 links does.
const attempts = 1_000_000

// draw takes so many pairs without putting one back, each with a chance by its weight: those with the least exponential
// keys (Efraimidis and Spirakis).
func draw(r *chance.Rand, n, links int, weight func(a, b int32) float64) []graph.Pair {
	type keyed struct {
		key  float64
		pair graph.Pair
	}
	all := make([]keyed, 0, n*(n-1)/2)
	for a := range int32(n) {
		for b := a + 1; b < int32(n); b++ {
			all = append(all, keyed{r.Exp(1) / weight(a, b), graph.Pair{A: a, B: b}})
		}
	}
	slices.SortFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	pairs := make([]graph.Pair, links)
	for i := range pairs {
		pairs[i] = all[i].pair
	}
	slices.SortFunc(pairs, func(a, b graph.Pair) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) })
	return pairs
}

// names are numbered with as many digits as the last needs, so that their order is that of the numbers.
func names(prefix string, n int) []string {
	digits := len(fmt.Sprint(n - 1))
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%0*d", prefix, digits, i)
	}
	return all
}
