package graph

import (
	"math"
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

	dist  []float64 // by state: layer * nodes + node
	via   []int32   // arc, or stepped
	from  []int32   // state
	queue heap

	// What the last Path found, valid until the next.
	Links  []int32 // in order
	Layers []int32 // by link of Links: the stage it is for
	Hosts  []int32 // K: node of each step
	Length float64
}

const stepped = -2

// Path finds the shortest path; false when there is none. It allocates nothing once it is warm.
func (l *Layered) Path(g *CSR, source, target int32) bool {
	n, steps := int32(g.Nodes()), int32(len(l.Step))
	states := int(n) * int(steps+1)
	if cap(l.dist) < states {
		l.dist, l.via, l.from = make([]float64, states), make([]int32, states), make([]int32, states)
	}
	l.dist, l.via, l.from = l.dist[:states], l.via[:states], l.from[:states]
	for i := range l.dist {
		l.dist[i] = math.Inf(1)
	}
	l.queue = l.queue[:0]
	l.dist[source], l.via[source] = 0, -1
	l.queue.push(entry{0, source})
	goal := steps*n + target
	for len(l.queue) > 0 {
		top := l.queue.pop()
		state := top.node
		if top.key > l.dist[state] {
			continue
		}
		if state == goal {
			l.trace(g, goal, n)
			return true
		}
		layer, at := state/n, state%n
		if layer < steps && l.Can[layer][at] && l.NodeRoom[at] >= l.Step[layer] {
			if d := top.key + l.NodeWeight[at]; d < l.dist[state+n] {
				l.dist[state+n], l.via[state+n], l.from[state+n] = d, stepped, state
				l.queue.push(entry{d, state + n})
			}
		}
		base, need := layer*n, l.Stage[layer]
		for a := g.First[at]; a < g.First[at+1]; a++ {
			link := g.Link[a]
			if l.LinkRoom[link] < need {
				continue
			}
			to := base + g.To[a]
			if d := top.key + l.LinkWeight[link]; d < l.dist[to] {
				l.dist[to], l.via[to], l.from[to] = d, a, state
				l.queue.push(entry{d, to})
			}
		}
	}
	return false
}

func (l *Layered) trace(g *CSR, state, n int32) {
	l.Links, l.Layers, l.Hosts, l.Length = l.Links[:0], l.Layers[:0], l.Hosts[:0], l.dist[state]
	for l.via[state] != -1 {
		if l.via[state] == stepped {
			l.Hosts = append(l.Hosts, state%n)
		} else {
			l.Links, l.Layers = append(l.Links, g.Link[l.via[state]]), append(l.Layers, state/n)
		}
		state = l.from[state]
	}
	slices.Reverse(l.Links)
	slices.Reverse(l.Layers)
	slices.Reverse(l.Hosts)
}
