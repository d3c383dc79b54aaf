package experiment

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/scn"
	"sonic-netservices/plan/topology"
)

// The setting of the carrying-network paper (P4-22 to P4-25). What the paper leaves open is marked.
const (
	p4Nodes, p4Links = 50, 120
	p4Beta           = 0.08 // open: Waxman for GT-ITM
	p4Types          = 13   // open: kinds of capabilities a node draws from; decisions/0061 says how both were found

	p4Horizon    = 50_000.0
	p4Life       = 1_000.0
	p4LinkDelay  = 10.0
	p4Processing = 5.0
)

var (
	p4Hops  = []int{2, 3, 4, 5}
	p4Rates = []int{4, 5, 6, 7, 8} // per 100 units of time

	p4Category = []string{"ac1", "ac2", "ac3"} // one business: requests ask for any of these
)

// p4View dresses a network as P4 says: computing and bandwidth U[500,1000], one to five kinds of capabilities a node.
func p4View(seed uint64, given *topology.Topology) (*plan.View, error) {
	shape, err := topology.Topology{}, error(nil)
	if given != nil {
		shape = *given
	} else if shape, err = topology.Waxman(chance.New(seed, "waxman"), p4Nodes, p4Links, p4Beta); err != nil {
		return nil, err
	}
	r := chance.New(seed, "capacity")
	var nodes []plan.Node
	for _, name := range shape.Names {
		n := plan.Node{Name: name, Capacity: netmap.Demand{netmap.Compute: r.Uniform(500, 1000)}, UnitCost: 1, Processing: p4Processing}
		for _, kind := range r.Perm(p4Types)[:1+r.IntN(5)] {
			n.Capabilities = append(n.Capabilities, fmt.Sprintf("ac%d", kind+1))
		}
		nodes = append(nodes, n)
	}
	var links []plan.Link
	for _, l := range shape.Links {
		links = append(links, plan.Link{A: shape.Names[l.A], B: shape.Names[l.B], Bandwidth: r.Uniform(500, 1000), Delay: p4LinkDelay, UnitCost: 1})
	}
	return plan.NewView(nodes, links)
}

// p4Arrival is one request of the load. Its ends are shares of the hosts of its category's network, which are the same
// whatever bound of hops it is built with.
type p4Arrival struct {
	at, life float64
	request  scn.Request
	from, to float64
}

func p4Load(seed uint64, rate int, horizon float64) (load []p4Arrival) {
	r := chance.New(seed, "load", fmt.Sprint(rate))
	for at := r.Exp(100 / float64(rate)); at < horizon; at += r.Exp(100 / float64(rate)) {
		a := p4Arrival{at: at, life: r.Exp(p4Life), from: r.Float64(), to: r.Float64()}
		asked := 1 + r.IntN(1<<len(p4Category)-1) // any set but the empty one
		for _, kind := range r.Perm(len(p4Category)) {
			if asked>>kind&1 == 0 {
				continue
			}
			a.request.Steps = append(a.request.Steps, scn.Step{Capability: p4Category[kind], CPU: r.Uniform(0, 25)})
		}
		for range len(a.request.Steps) + 1 {
			a.request.Rates = append(a.request.Rates, r.Uniform(0, 50))
		}
		load = append(load, a)
	}
	return load
}

// p4Outcome is what one run of one method measures: the paper's figures 2 to 7, and what they hide.
type p4Outcome struct {
	build, acceptance, revenue, cost, ratio, length, delay float64
	sold                                                   float64 // of the most sold link
	overused                                               float64 // share of requests whose path fits layer by layer only
	candidates, pairs                                      float64 // of a carrying network, mean
}

// p4Run plays a load against one method.
func p4Run(view *plan.View, load []p4Arrival, horizon float64, p scn.Params) (o p4Outcome, err error) {
	carrier, err := scn.NewCarrier(view, [][]string{p4Category}, p)
	if err != nil {
		return o, err
	}
	type running struct {
		until   float64
		network *scn.Network
		request scn.Request
		path    scn.Path
	}
	var alive []running // by end, latest first
	accepted := 0.0
	for _, a := range load {
		for len(alive) > 0 && alive[len(alive)-1].until <= a.at {
			last := alive[len(alive)-1]
			last.network.Release(last.request, last.path)
			alive = alive[:len(alive)-1]
		}
		n, _ := carrier.Network(carrier.Category(a.request))
		if len(n.Hosts) < 2 {
			continue
		}
		from := int32(a.from * float64(len(n.Hosts)))
		to := int32(a.to * float64(len(n.Hosts)-1))
		if to >= from {
			to++
		}
		path, _, outcome := n.Find(a.request, from, to, p)
		if outcome == scn.Overused {
			o.overused += 1 / float64(len(load))
		}
		if outcome != scn.Found {
			continue
		}
		n.Take(a.request, path)
		end := running{a.at + a.life, n, a.request, path}
		i, _ := slices.BinarySearchFunc(alive, end, func(x, y running) int { return cmp.Compare(y.until, x.until) })
		alive = slices.Insert(alive, i, end)
		accepted++
		o.revenue += a.request.Revenue() / horizon
		o.cost += n.CostOf(view, a.request, path) / horizon
		o.length += n.HopsOf(path)
		o.delay += n.DelayOf(view, path)
	}
	o.acceptance = accepted / math.Max(1, float64(len(load)))
	o.length /= math.Max(1, accepted)
	o.delay /= math.Max(1, accepted)
	if o.cost > 0 {
		o.ratio = o.revenue / o.cost
	}
	o.sold = carrier.Sold()
	networks := carrier.Networks()
	for _, n := range networks {
		o.build += n.Cost(view)
		o.candidates += float64(len(n.Hosts)) / float64(len(networks))
		o.pairs += float64(len(n.Links)) / float64(len(networks))
	}
	return o, nil
}
