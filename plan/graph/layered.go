package graph

import (
	"math"
	"math/bits"
	"slices"
)

// Layered is the Layered Graph of the carrying-network paper: one copy of the network for each stage of a chain of K steps,
// 0..K. Inside copy k a path takes links with room for stage k; from copy k to k+1 it goes at a node that can do step
// k with room for it. The shortest path from (source, 0) to (target, K) visits the steps in their order.
//
// It checks each copy alone: one element used in several copies may have too little room for all together. Who calls
// checks that (plan/scn).
type Layered struct {
	Stage []float64 // K+1: room a link needs for stage k
	Step  []float64 // K: room a node needs for step k
	Can   [][]bool  // K, by node: can do step k

	LinkRoom   []float64 // by link
	NodeRoom   []float64 // by node
	LinkWeight []float64 // by link, none negative
	NodeWeight []float64 // by node: of a step done there, none negative

	reach []reached // by state: layer * nodes + node
	queue heap
	rings []uint64 // of byRings: a bit for each state in each ring

	// What the last Path found, valid until the next.
	Links  []int32 // in order
	Layers []int32 // by link of Links: the stage it is for
	Hosts  []int32 // K: node of each step
	Length float64
}

// reached is how a state is come to.
type reached struct {
	dist float64
	via  int32 // arc, or stepped, or -1: it is the source
	from int32 // state
}

const stepped = -2

// Path finds the shortest path; false when there is none. It allocates nothing once it is warm. Of equal paths to a state the
// one counts whose last state but one is nearest; of equally near ones, that of the lowest number.
func (l *Layered) Path(g *CSR, source, target int32) bool {
	n, steps := int32(g.Nodes()), int32(len(l.Step))
	states := int(n) * int(steps+1)
	l.reach = slices.Grow(l.reach[:0], states)[:states]
	for i := range l.reach {
		l.reach[i].dist = math.Inf(1)
	}
	l.reach[source] = reached{via: -1}
	goal := steps*n + target
	found := false
	if w := l.weights(); w.least > 0 && w.most <= mostRings*w.least {
		found = l.byRings(g, source, goal, w)
	} else {
		found = l.byHeap(g, source, goal)
	}
	if found {
		l.trace(g, goal, n)
	}
	return found
}

// mostRings is how many times the least weight the largest may be.
const mostRings = 64

// span is what weights there are. A weight of +Inf is none.
type span struct {
	least, most float64
	whole       bool // all are multiples of the least
}

func (l *Layered) weights() span {
	w := span{least: math.Inf(1), whole: true}
	all := [2][]float64{l.LinkWeight, l.NodeWeight}
	for _, weights := range all {
		for _, x := range weights {
			w.least = min(w.least, x)
		}
	}
	for _, weights := range all {
		for _, x := range weights {
			if math.IsInf(x, 1) {
				continue
			}
			w.most = max(w.most, x)
			if n := x / w.least; w.whole && n != math.Trunc(n) {
				w.whole = false
			}
		}
	}
	return w
}

// byHeap is Dijkstra's algorithm.
func (l *Layered) byHeap(g *CSR, source, goal int32) bool {
	l.queue = l.queue[:0]
	l.queue.push(entry{0, source})
	for len(l.queue) > 0 {
		top := l.queue.pop()
		if top.key > l.reach[top.node].dist {
			continue
		}
		if top.node == goal {
			return true
		}
		l.relax(g, top.node, false, func(to int32, d float64) { l.queue.push(entry{d, to}) })
	}
	return false
}

// byRings is Dial's algorithm for weights that need not be whole: a ring holds the states of one least weight's width of
// distance, so none of them makes another one of its ring nearer. Its states are taken by their numbers, which is also the way
// they lie in memory. Where all of a ring are equally near that is the order of a heap; else equals have to be compared.
func (l *Layered) byRings(g *CSR, source, goal int32, w span) bool {
	words, count := (len(l.reach)+63)/64, int(w.most/w.least)+3
	l.rings = slices.Grow(l.rings[:0], words*count)[:words*count]
	clear(l.rings)
	waiting := 0
	push := func(to int32, d float64) {
		word, bit := &l.rings[int(d/w.least)%count*words+int(to/64)], uint64(1)<<(to%64)
		if *word&bit == 0 {
			*word |= bit
			waiting++
		}
	}
	push(source, 0)
	for now := 0; waiting > 0; now++ {
		ring := l.rings[now%count*words : (now%count+1)*words]
		for i := 0; i < words; i++ {
			for ring[i] != 0 {
				state := int32(i*64 + bits.TrailingZeros64(ring[i]))
				ring[i] &= ring[i] - 1
				waiting--
				if int(l.reach[state].dist/w.least) == now { // else it has been nearer since
					l.relax(g, state, !w.whole, push)
				}
			}
		}
		if slices.ContainsFunc(ring, func(word uint64) bool { return word != 0 }) {
			now-- // rounding has put a state into the ring that it was reached from
			continue
		}
		if d := l.reach[goal].dist; !math.IsInf(d, 1) && int(d/w.least) <= now {
			return true
		}
	}
	return false
}

// relax looks where a state leads to, and tells of states that it makes nearer. Who hands states out in the order in which
// they count among equals need not compare.
func (l *Layered) relax(g *CSR, state int32, compare bool, nearer func(to int32, d float64)) {
	n := int32(g.Nodes())
	layer, at, dist := state/n, state%n, l.reach[state].dist
	come := func(to, via int32, d float64) {
		if r := &l.reach[to]; d < r.dist {
			*r = reached{d, via, state}
			nearer(to, d)
		} else if compare && d == r.dist && l.counts(state, r) {
			r.via, r.from = via, state
		}
	}
	if int(layer) < len(l.Step) && l.Can[layer][at] && l.NodeRoom[at] >= l.Step[layer] {
		come(state+n, stepped, dist+l.NodeWeight[at])
	}
	base, need := layer*n, l.Stage[layer]
	for a := g.First[at]; a < g.First[at+1]; a++ {
		if link := g.Link[a]; l.LinkRoom[link] >= need {
			come(base+g.To[a], a, dist+l.LinkWeight[link])
		}
	}
}

// counts says whether a state comes before the one that the path to another leads over so far.
func (l *Layered) counts(state int32, to *reached) bool {
	if math.IsInf(to.dist, 1) {
		return false
	}
	return entry{l.reach[state].dist, state}.before(entry{l.reach[to.from].dist, to.from})
}

func (l *Layered) trace(g *CSR, state, n int32) {
	l.Links, l.Layers, l.Hosts, l.Length = l.Links[:0], l.Layers[:0], l.Hosts[:0], l.reach[state].dist
	for l.reach[state].via != -1 {
		if l.reach[state].via == stepped {
			l.Hosts = append(l.Hosts, state%n)
		} else {
			l.Links, l.Layers = append(l.Links, g.Link[l.reach[state].via]), append(l.Layers, state/n)
		}
		state = l.reach[state].from
	}
	slices.Reverse(l.Links)
	slices.Reverse(l.Layers)
	slices.Reverse(l.Hosts)
}
