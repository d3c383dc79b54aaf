package scn

import (
	"slices"

	"sonic-netservices/plan"
)

// Request wants a path from one node to another through capabilities in order.
type Request struct {
	Name     string
	From, To string
	Steps    []Step
	Rates    []float64 // of the logical links: one more than steps
}

// Step is a logical node: a capability and the computing it needs.
type Step struct {
	Capability string
	CPU        float64
}

// Capabilities of the request, each once, in order.
func (r Request) Capabilities() []string {
	var capabilities []string
	for _, s := range r.Steps {
		capabilities = append(capabilities, s.Capability)
	}
	return Category(capabilities)
}

// Revenue of a request, eq. 2, at unit prices.
func (r Request) Revenue() float64 {
	sum := 0.0
	for _, s := range r.Steps {
		sum += s.CPU
	}
	for _, rate := range r.Rates {
		sum += rate
	}
	return sum
}

// Path is the service path of a request in its carrying network.
type Path struct {
	Links  []int32 // of the network, in order
	Layers []int32 // by link: the logical link it is for
	Hosts  []int32 // by step: place in the network's Hosts
}

// HopsOf a path, over the network below.
func (n *Network) HopsOf(p Path) float64 {
	sum := 0.0
	for _, l := range p.Links {
		sum += n.Links[l].Hops()
	}
	return sum
}

// CostOf a path, eq. 3.
func (n *Network) CostOf(view *plan.View, r Request, p Path) float64 {
	sum := 0.0
	for k, host := range p.Hosts {
		sum += view.Nodes[n.Hosts[host]].UnitCost * r.Steps[k].CPU
	}
	for i, l := range p.Links {
		for _, below := range n.Links[l].Path {
			sum += view.Links[below].UnitCost * r.Rates[p.Layers[i]]
		}
	}
	return sum
}

// DelayOf a path: what its capabilities and its links take.
func (n *Network) DelayOf(view *plan.View, p Path) float64 {
	sum := 0.0
	for _, host := range p.Hosts {
		sum += view.Nodes[n.Hosts[host]].Processing
	}
	for _, l := range p.Links {
		sum += n.Links[l].Delay
	}
	return sum
}

// Outcome of a search for a path.
type Outcome int

const (
	Found    Outcome = iota
	NoPath           // some layer alone has none
	Overused         // each layer alone has room, all together have not
)

// Find looks for the service path of a request between two hosts of the network. The path takes nothing yet.
func (n *Network) Find(r Request, from, to int32, p Params) (path Path, plans int, outcome Outcome) {
	l := &n.layered
	l.Stage = append(l.Stage[:0], r.Rates...)
	l.Step, l.Can = l.Step[:0], l.Can[:0]
	for _, s := range r.Steps {
		l.Step, l.Can = append(l.Step, s.CPU), append(l.Can, n.can[s.Capability])
	}
	for i, link := range n.Links {
		l.LinkWeight[i] = link.Hops()
		if p.Congestion > 0 {
			used := 1 - n.free[i]/link.Bandwidth
			l.LinkWeight[i] *= 1 + p.Congestion*used*used
		}
	}
	for i, free := range n.cpuFree {
		l.NodeWeight[i] = 1
		if p.Congestion > 0 && n.CPU[i] > 0 {
			used := 1 - free/n.CPU[i]
			l.NodeWeight[i] += p.Congestion * used * used
		}
	}
	outcome = NoPath
	for plans = 1; ; plans++ {
		if !l.Path(n.graph, from, to) {
			return Path{}, plans, outcome
		}
		if n.fits(r, l.Links, l.Layers, l.Hosts) {
			return Path{slices.Clone(l.Links), slices.Clone(l.Layers), slices.Clone(l.Hosts)}, plans, Found
		}
		outcome = Overused
		if p.Mode == Paper || plans > p.Replans {
			return Path{}, plans, Overused
		}
		n.penalise(p.Penalty)
	}
}

// fits is the joint check: what a path takes of each element in all layers together.
func (n *Network) fits(r Request, links, layers, hosts []int32) bool {
	clear(n.usedLink)
	clear(n.usedNode)
	for i, l := range links {
		n.usedLink[l] += r.Rates[layers[i]]
	}
	for k, host := range hosts {
		n.usedNode[host] += r.Steps[k].CPU
	}
	for _, l := range links {
		if n.usedLink[l] > n.free[l] {
			return false
		}
	}
	for _, host := range hosts {
		if n.usedNode[host] > n.cpuFree[host] {
			return false
		}
	}
	return true
}

// penalise makes what the last plan overused dearer for the next.
func (n *Network) penalise(penalty float64) {
	for l, used := range n.usedLink {
		if used > n.free[l] {
			n.layered.LinkWeight[l] += penalty
		}
	}
	for host, used := range n.usedNode {
		if used > n.cpuFree[host] {
			n.layered.NodeWeight[host] += penalty
		}
	}
}

// Take reserves a path's computing and bandwidth for a request; Release gives them back.
func (n *Network) Take(r Request, p Path) { n.move(r, p, -1) }

// Release gives back what Take took.
func (n *Network) Release(r Request, p Path) { n.move(r, p, +1) }

func (n *Network) move(r Request, p Path, sign float64) {
	for i, l := range p.Links {
		n.free[l] = min(n.Links[l].Bandwidth, n.free[l]+sign*r.Rates[p.Layers[i]])
	}
	for k, host := range p.Hosts {
		n.cpuFree[host] = min(n.CPU[host], n.cpuFree[host]+sign*r.Steps[k].CPU)
	}
}
