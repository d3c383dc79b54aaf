package scn

import (
	"math"
	"slices"
	"strings"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/graph"
)

// Network is the carrying network of one category: hosts that can do some of its capabilities, joined where the network
// below is short enough between them.
type Network struct {
	Category []string // in order of names
	Hosts    []int32  // nodes of the view, in order
	CPU      []float64
	Links    []Link
	Hops     int // bound it was built with

	cpuFree, free []float64
	graph         *graph.CSR
	index         []int32 // by node of the view: its place in Hosts, -1: none
	layered       graph.Layered
	can           map[string][]bool
	usedLink      []float64 // by one path
	usedNode      []float64
}

// Link of a carrying network.
type Link struct {
	A, B      int32   // places in Hosts
	Path      []int32 // links of the view
	Bandwidth float64
	Delay     float64
}

// Hops of the path below.
func (l Link) Hops() float64 { return float64(len(l.Path)) }

// Key names a category: its capabilities in order.
func Key(category []string) string { return strings.Join(category, "+") }

// Category of capabilities: each once, in order.
func Category(capabilities []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(capabilities)))
}

// build makes a carrying network: candidates, then links of at most so many hops (2.3 of the paper). Left is what
// the view's links have left to reserve; nil: nothing is reserved, and every link offers phi of its narrowest.
func build(view *plan.View, category []string, p Params, left []float64) *Network {
	n := &Network{Category: category, Hops: p.Hops, index: make([]int32, len(view.Nodes)), can: map[string][]bool{}}
	for i, node := range view.Nodes {
		n.index[i] = -1
		if slices.ContainsFunc(category, node.Can) {
			n.index[i] = int32(len(n.Hosts))
			n.Hosts = append(n.Hosts, int32(i))
			n.CPU = append(n.CPU, p.Theta*node.Capacity[netmap.Compute])
		}
	}
	for _, c := range category {
		can := make([]bool, len(n.Hosts))
		for i, host := range n.Hosts {
			can[i] = view.Nodes[host].Can(c)
		}
		n.can[c] = can
	}
	bandwidth := make([]float64, len(view.Links))
	for i, l := range view.Links {
		bandwidth[i] = l.Bandwidth
	}
	var search graph.Search
	for a, from := range n.Hosts {
		search.BFS(view.Graph(), from, bandwidth, int32(p.Hops))
		for b := a + 1; b < len(n.Hosts); b++ {
			path, ok := search.Path(view.Graph(), n.Hosts[b])
			if !ok {
				continue
			}
			l := Link{A: int32(a), B: int32(b), Path: path.Links, Bandwidth: p.Phi * path.Length}
			for _, below := range path.Links {
				l.Delay += view.Links[below].Delay
			}
			n.Links = append(n.Links, l)
		}
	}
	if left != nil {
		n.reserve(left)
	}
	n.ready()
	return n
}

// reserve takes what the links offer from what is left below them, short links first: a long one takes of many. Links
// for which nothing is left are not made.
func (n *Network) reserve(left []float64) {
	order := make([]int, len(n.Links))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(n.Links[a].Path) - len(n.Links[b].Path) })
	for _, i := range order {
		l := &n.Links[i]
		for _, below := range l.Path {
			l.Bandwidth = min(l.Bandwidth, left[below])
		}
		for _, below := range l.Path {
			left[below] -= l.Bandwidth
		}
	}
	n.Links = slices.DeleteFunc(n.Links, func(l Link) bool { return l.Bandwidth <= 0 })
}

// ready makes what searches need.
func (n *Network) ready() {
	pairs := make([]graph.Pair, len(n.Links))
	n.free = make([]float64, len(n.Links))
	for i, l := range n.Links {
		pairs[i] = graph.Pair{A: l.A, B: l.B}
		n.free[i] = l.Bandwidth
	}
	n.graph = graph.NewCSR(len(n.Hosts), pairs, false)
	n.cpuFree = slices.Clone(n.CPU)
	n.usedLink, n.usedNode = make([]float64, len(n.Links)), make([]float64, len(n.Hosts))
	n.layered = graph.Layered{LinkRoom: n.free, NodeRoom: n.cpuFree, LinkWeight: make([]float64, len(n.Links)), NodeWeight: make([]float64, len(n.Hosts))}
}

// Cost to build it, eq. 1: computing and bandwidth by their unit costs; that of a link goes over its hops.
func (n *Network) Cost(view *plan.View) float64 {
	sum := 0.0
	for i, host := range n.Hosts {
		sum += view.Nodes[host].UnitCost * n.CPU[i]
	}
	for _, l := range n.Links {
		for _, below := range l.Path {
			sum += view.Links[below].UnitCost * l.Bandwidth
		}
	}
	return sum
}

// parts are the pieces of a network that do not hang together, each by names.
func (n *Network) parts(view *plan.View) [][]string {
	of, count := n.graph.Components()
	parts := make([][]string, count)
	for i, part := range of {
		parts[part] = append(parts[part], view.Nodes[n.Hosts[i]].Name)
	}
	return parts
}

// leastHops is the smallest bound with which the candidates of a category hang together; 0: none does.
func leastHops(view *plan.View, category []string) int {
	n := build(view, category, Params{Hops: math.MaxInt32, Theta: 1, Phi: 1}, nil)
	if len(n.parts(view)) > 1 {
		return 0
	}
	longest := 0
	// Of the tree that joins the hosts by the shortest links the longest link: Kruskal's.
	order := slices.SortedStableFunc(slices.Values(n.Links), func(a, b Link) int { return len(a.Path) - len(b.Path) })
	group := make([]int32, len(n.Hosts))
	for i := range group {
		group[i] = int32(i)
	}
	for _, l := range order {
		if a, b := group[l.A], group[l.B]; a != b {
			longest = len(l.Path)
			for i := range group {
				if group[i] == b {
					group[i] = a
				}
			}
		}
	}
	return longest
}
