package graph

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"sonic-netservices/plan/chance"
)

// network draws n nodes with some links, whole weights from 1 to 9.
func network(seed uint64, n int, density float64) (*CSR, []float64) {
	r := chance.New(seed)
	var links []Pair
	var weight []float64
	for a := range int32(n) {
		for b := a + 1; b < int32(n); b++ {
			if r.Float64() < density {
				links, weight = append(links, Pair{a, b}), append(weight, float64(1+r.IntN(9)))
			}
		}
	}
	return NewCSR(n, links, false), weight
}

// walks calls each for every path without loops from a node.
func walks(g *CSR, at int32, nodes, links []int32, each func(nodes, links []int32)) {
	nodes = append(nodes, at)
	each(nodes, links)
	for a := g.First[at]; a < g.First[at+1]; a++ {
		if !slices.Contains(nodes, g.To[a]) {
			walks(g, g.To[a], nodes, append(links, g.Link[a]), each)
		}
	}
}

// Every search is held against all paths that there are.
func TestSearchesEqualBruteForce(t *testing.T) {
	var s Search
	for seed := range uint64(60) {
		g, weight := network(seed, 2+int(seed%6), 0.5)
		whole := make([]int32, len(weight))
		for i, w := range weight {
			whole[i] = int32(w)
		}
		n := g.Nodes()
		for source := range int32(n) {
			shortest, hops := fill(n, math.Inf(1)), fill(n, math.Inf(1))
			widest, wideShort := fill(n, 0), fill(n, 0) // of all paths; of those with least hops
			walks(g, source, nil, nil, func(nodes, links []int32) {
				length, width := 0.0, math.Inf(1)
				for _, l := range links {
					length, width = length+weight[l], min(width, weight[l])
				}
				to, h := nodes[len(nodes)-1], float64(len(links))
				shortest[to], widest[to] = min(shortest[to], length), max(widest[to], width)
				switch {
				case h < hops[to]:
					hops[to], wideShort[to] = h, width
				case h == hops[to]:
					wideShort[to] = max(wideShort[to], width)
				}
			})
			s.Dijkstra(g, weight, source, -1)
			same(t, seed, "Dijkstra", s.Dist, shortest)
			check(t, &s, g, weight, source)
			s.Dial(g, whole, 9, source, -1)
			same(t, seed, "Dial", s.Dist, shortest)
			s.Widest(g, weight, source)
			same(t, seed, "Widest", s.Dist, widest)
			s.BFS(g, source, weight, math.MaxInt32)
			same(t, seed, "BFS width", s.Dist, wideShort)
			for to, h := range s.Hops {
				if h >= 0 && float64(h) != hops[to] || h < 0 && !math.IsInf(hops[to], 1) {
					t.Fatalf("seed %d: BFS: %d hops to %d, want %v", seed, h, to, hops[to])
				}
			}
		}
	}
}

// check walks each path that a search of lengths gives.
func check(t *testing.T, s *Search, g *CSR, weight []float64, source int32) {
	t.Helper()
	for to := range int32(g.Nodes()) {
		p, ok := s.Path(g, to)
		if !ok {
			continue
		}
		length := 0.0
		for _, l := range p.Links {
			length += weight[l]
		}
		if p.Nodes[0] != source || p.Nodes[len(p.Nodes)-1] != to || len(p.Links) != len(p.Nodes)-1 || length != p.Length {
			t.Fatalf("path %d to %d: %+v, its links are %v long", source, to, p, length)
		}
	}
}

func same(t *testing.T, seed uint64, what string, got, want []float64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("seed %d: %s: %v, want %v", seed, what, got, want)
	}
}

func fill(n int, x float64) []float64 {
	s := make([]float64, n)
	for i := range s {
		s[i] = x
	}
	return s
}

func TestYenEqualsBruteForce(t *testing.T) {
	for seed := range uint64(40) {
		g, weight := network(seed, 6, 0.5)
		var want []Path
		walks(g, 0, nil, nil, func(nodes, links []int32) {
			if nodes[len(nodes)-1] != 5 {
				return
			}
			p := Path{slices.Clone(nodes), slices.Clone(links), 0}
			for _, l := range links {
				p.Length += weight[l]
			}
			want = append(want, p)
		})
		slices.SortFunc(want, func(a, b Path) int {
			if a.Length != b.Length {
				return int(a.Length - b.Length)
			}
			return slices.Compare(a.Nodes, b.Nodes)
		})
		got := Yen(g, weight, 0, 5, 1000)
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d paths, want %d", seed, len(got), len(want))
		}
		for i := range got {
			if got[i].Length != want[i].Length {
				t.Fatalf("seed %d: path %d: %v, want %v", seed, i, got[i], want[i])
			}
		}
		if few := Yen(g, weight, 0, 5, 2); len(want) > 1 && fmt.Sprint(few) != fmt.Sprint(got[:2]) {
			t.Fatalf("seed %d: two: %v, of all: %v", seed, few, got[:2])
		}
	}
}

// Rings and the heap find the same paths, also among equals: which of them is taken depends on the weights alone, and a
// weight of 0 somewhere takes the heap.
func TestRingsEqualHeap(t *testing.T) {
	for seed := range uint64(300) {
		r := chance.New(seed)
		n := 4 + r.IntN(30)
		var links []Pair
		for i := 1; i < n; i++ {
			for range 2 {
				links = append(links, Pair{int32(r.IntN(i)), int32(i)})
			}
		}
		g := NewCSR(n, links, false)
		l := &Layered{Stage: []float64{1, 2, 1}, Step: []float64{1, 1}}
		for range links {
			w := float64(1 + r.IntN(3))
			if seed%2 == 0 {
				w = []float64{0.3, 0.7, 1.1, math.Inf(1)}[r.IntN(4)]
			}
			l.LinkWeight, l.LinkRoom = append(l.LinkWeight, w), append(l.LinkRoom, float64(r.IntN(4)))
		}
		for range 2 {
			can := make([]bool, n)
			for i := range can {
				can[i] = r.IntN(2) == 0
			}
			l.Can = append(l.Can, can)
		}
		l.NodeRoom, l.NodeWeight = fill(n, 1), fill(n, 1)
		for target := range int32(n) {
			found := l.Path(g, 0, target)
			links, layers, hosts, length := slices.Clone(l.Links), slices.Clone(l.Layers), slices.Clone(l.Hosts), l.Length
			l.LinkWeight = append(l.LinkWeight, 0) // of no link
			if l.Path(g, 0, target) != found {
				t.Fatalf("seed %d to %d: %v and %v", seed, target, found, !found)
			}
			l.LinkWeight = l.LinkWeight[:len(l.LinkWeight)-1]
			if found && !(slices.Equal(links, l.Links) && slices.Equal(layers, l.Layers) && slices.Equal(hosts, l.Hosts) && length == l.Length) {
				t.Fatalf("seed %d to %d: %v %v %v of %v by rings, %v %v %v of %v by the heap", seed, target, links, layers, hosts, length, l.Links, l.Layers, l.Hosts, l.Length)
			}
		}
	}
}

// The layered graph is held against all ways to put steps on nodes, with the shortest path between them.
func TestLayeredEqualsBruteForce(t *testing.T) {
	for seed := range uint64(80) {
		g, weight := network(seed, 5, 0.6)
		r, n := chance.New(seed, "layers"), g.Nodes()
		l := &Layered{LinkWeight: weight, LinkRoom: fill(g.Links(), 0), NodeRoom: fill(n, 0), NodeWeight: fill(n, 0)}
		for i := range l.LinkRoom {
			l.LinkRoom[i] = float64(r.IntN(4))
		}
		for i := range l.NodeRoom {
			l.NodeRoom[i], l.NodeWeight[i] = float64(r.IntN(4)), float64(r.IntN(3))
		}
		steps := r.IntN(4)
		for range steps {
			can := make([]bool, n)
			for i := range can {
				can[i] = r.Float64() < 0.6
			}
			l.Can, l.Step = append(l.Can, can), append(l.Step, float64(r.IntN(4)))
		}
		for range steps + 1 {
			l.Stage = append(l.Stage, float64(r.IntN(4)))
		}
		source, target := int32(r.IntN(n)), int32(r.IntN(n))
		best := math.Inf(1)
		var s Search
		var place func(step int, at int32, length float64)
		place = func(step int, at int32, length float64) {
			open := slices.Clone(weight)
			for i, room := range l.LinkRoom {
				if room < l.Stage[step] {
					open[i] = math.Inf(1)
				}
			}
			s.Dijkstra(g, open, at, -1)
			far := slices.Clone(s.Dist)
			if step == steps {
				best = min(best, length+far[target])
				return
			}
			for host := range int32(n) {
				if l.Can[step][host] && l.NodeRoom[host] >= l.Step[step] && !math.IsInf(far[host], 1) {
					place(step+1, host, length+far[host]+l.NodeWeight[host])
				}
			}
		}
		place(0, source, 0)
		found := l.Path(g, source, target)
		if found != !math.IsInf(best, 1) || found && l.Length != best {
			t.Fatalf("seed %d: found %v of length %v, want %v", seed, found, l.Length, best)
		}
		if !found {
			continue
		}
		length := 0.0
		for i, link := range l.Links {
			length += weight[link]
			if l.LinkRoom[link] < l.Stage[l.Layers[i]] {
				t.Fatalf("seed %d: link %d has no room for stage %d", seed, link, l.Layers[i])
			}
		}
		for k, host := range l.Hosts {
			length += l.NodeWeight[host]
			if !l.Can[k][host] {
				t.Fatalf("seed %d: node %d cannot do step %d", seed, host, k)
			}
		}
		if length != best || len(l.Hosts) != steps {
			t.Fatalf("seed %d: what it lists is %v long, want %v", seed, length, best)
		}
	}
}

func TestWarmSearchesAllocateNothing(t *testing.T) {
	g, weight := network(1, 60, 0.2)
	n := g.Nodes()
	can := make([]bool, n)
	for i := range can {
		can[i] = i%3 == 0
	}
	l := &Layered{Stage: []float64{1, 1, 1}, Step: []float64{1, 1}, Can: [][]bool{can, can}, LinkRoom: fill(g.Links(), 2), NodeRoom: fill(n, 2),
		LinkWeight: weight, NodeWeight: fill(n, 1)}
	var s Search
	for name, search := range map[string]func(){
		"BFS": func() { s.BFS(g, 0, weight, 9) }, "Dijkstra": func() { s.Dijkstra(g, weight, 0, -1) },
		"Widest": func() { s.Widest(g, weight, 0) }, "Layered": func() { l.Path(g, 0, 59) },
	} {
		search()
		if allocs := testing.AllocsPerRun(20, search); allocs != 0 {
			t.Errorf("%s allocates %v times", name, allocs)
		}
	}
}

func TestComponents(t *testing.T) {
	of, parts := NewCSR(5, []Pair{{0, 3}, {4, 1}, {2, 2}}, false).Components()
	if want := []int32{0, 1, 2, 0, 1}; parts != 3 || !slices.Equal(of, want) {
		t.Errorf("%d parts: %v, want %v", parts, of, want)
	}
}
