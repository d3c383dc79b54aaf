package experiment

import (
	"context"
	"fmt"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/labels"
	"sonic-netservices/plan/topology"
	"sonic-netservices/scheduler/chart"
	"sonic-netservices/scheduler/problem"
	"sonic-netservices/spec"
)

// The patent has no experiment; this is ours: 20 nodes on a circle of about 100 km with 1 Gbit/s between neighbours and to a
// few others, 40 services of Zipf's sizes, half of them with bounds below 20 ms, a day of 96 slots in which the place where
// most of the load is goes around.
const (
	p3Nodes, p3Links = 20, 40
	p3Services       = 40
	p3Slots          = 96
)

// p3Room is how many cores a node has, drawn between two numbers.
var p3Room = []struct {
	name      string
	low, high float64
}{{"ample", 60, 120}, {"tight", 24, 48}, {"scarce", 14, 28}}

func labelled() Experiment {
	return Experiment{Name: "labels", About: "replicas of latency-bound services by two labels, slot by slot (P3)", Run: runLabels,
		Solve: func(ctx context.Context, p *spec.Problem, budget plan.Budget) (plan.Decision, error) {
			view, question, err := problem.Labels(p)
			if err != nil {
				return plan.Decision{}, err
			}
			return labels.Strategy{}.Plan(ctx, view, question, budget)
		}}
}

// p3Case is one seed's network, services and load.
type p3Case struct {
	net      *labels.Network
	services []labels.Service
	load     [][]float64
}

func p3Draw(seed uint64, low, high float64, slots int, given *topology.Topology) (c p3Case, err error) {
	shape := topology.Topology{}
	if given != nil {
		shape = *given
	} else if shape, err = topology.Waxman(chance.New(seed, "waxman"), p3Nodes, p3Links, 0.2); err != nil {
		return c, err
	}
	r := chance.New(seed, "nodes")
	var nodes []plan.Node
	for _, name := range shape.Names {
		nodes = append(nodes, plan.Node{Name: name, Capacity: netmap.Demand{netmap.Compute: low + (high-low)*r.Float64(), netmap.Memory: 64e9}})
	}
	var links []plan.Link
	for _, l := range shape.Links {
		links = append(links, plan.Link{A: shape.Names[l.A], B: shape.Names[l.B], Bandwidth: 1000, Delay: r.Uniform(0.2, 1)})
	}
	view, err := plan.NewView(nodes, links)
	if err != nil {
		return c, err
	}
	c.net = labels.NewNetwork(view, labels.Cloud{Mbps: 200, RTT: 60})
	r = chance.New(seed, "services")
	n := len(nodes)
	size := make([]float64, p3Services)
	for i, rank := range r.Perm(p3Services) {
		s := labels.Service{Name: fmt.Sprintf("s%02d", i), Bits: r.Uniform(8e4, 8e5), Alpha: r.Uniform(0.5, 1.5), Memory: 2e8}
		if s.Bound = r.Uniform(8, 20); i%2 == 1 {
			s.Bound = r.Uniform(25, 100)
		}
		s.Floor = s.Bound * r.Uniform(0.1, 0.4)
		c.services = append(c.services, s)
		size[i] = 2600 / math.Pow(float64(rank+1), 0.7) // requests a second, all nodes together
	}
	r = chance.New(seed, "load")
	phase := make([]float64, p3Services)
	for i := range phase {
		phase[i] = r.Float64()
	}
	for t := range slots {
		load := make([]float64, p3Services*n)
		for s := range p3Services {
			day := 1 + 0.6*math.Sin(2*math.Pi*(float64(t)/p3Slots+phase[s]))
			hot := float64(n) * (float64(t)/p3Slots + phase[s]) // the hot spot's place on the circle
			sum := 0.0
			row := load[s*n : s*n+n]
			for i := range row {
				away := math.Mod(math.Abs(float64(i)-hot), float64(n))
				away = min(away, float64(n)-away)
				row[i] = math.Exp(-away*away/8) * r.Uniform(0.7, 1.3)
				if row[i] < 0.02 {
					row[i] = 0
				}
				sum += row[i]
			}
			for i := range row {
				row[i] *= size[s] * day / sum
			}
		}
		c.load = append(c.load, load)
	}
	return c, nil
}

// p3Outcome is what one method does in all slots.
type p3Outcome struct {
	late, starts, cloudLow, cloudHigh float64
	perSlot                           []float64
}

func p3Run(c p3Case, p labels.Params, static bool) (o p3Outcome) {
	planner := &labels.Planner{Net: c.net, Services: c.services, Params: p}
	var state *labels.State
	for t, load := range c.load {
		var now *labels.State
		if static && t > 0 {
			now = planner.Answer(state, load)
		} else {
			now = planner.Slot(load, state)
			if state != nil {
				o.starts += float64(started(state, now)) / float64(len(c.load)-1)
			}
			state = now
		}
		late := planner.Violations(now)
		o.perSlot = append(o.perSlot, late)
		o.late += late / float64(len(c.load))
		var cloud, all [2]float64
		for s, d := range now.Services {
			sens := 1
			if c.services[s].Bound < p.Sensitive {
				sens = 0
			}
			for _, x := range d.Clients {
				all[sens] += x.Load
				if x.Server == labels.At {
					cloud[sens] += x.Load
				}
			}
		}
		o.cloudHigh += cloud[0] / max(all[0], 1) / float64(len(c.load))
		o.cloudLow += cloud[1] / max(all[1], 1) / float64(len(c.load))
	}
	return o
}

// started counts the replicas that were not there in the slot before.
func started(before, now *labels.State) (count int) {
	for s, d := range now.Services {
		for _, r := range d.Replicas {
			if !slices.ContainsFunc(before.Services[s].Replicas, func(old labels.Replica) bool { return old.Node == r.Node }) {
				count++
			}
		}
	}
	return count
}

var p3Methods = []struct {
	name   string
	static bool
	params func() labels.Params
}{
	{"static", true, labels.Defaults},
	{"without labels", false, func() labels.Params { p := labels.Defaults(); p.Unlabeled = true; return p }},
	{"labels k=0.05", false, func() labels.Params { p := labels.Defaults(); p.Gradient = 0.05; return p }},
	{"labels k=0.2", false, labels.Defaults},
}

func runLabels(ctx context.Context, o Options) (Report, error) {
	slots := p3Slots
	if o.Quick {
		slots = 12
	}
	seeds := o.seeds(20, 2)
	runs, err := each(ctx, seeds, o.Progress, func(_ context.Context, i int) ([][]p3Outcome, error) {
		var all [][]p3Outcome
		for _, room := range p3Room {
			c, err := p3Draw(o.First+uint64(i), room.low, room.high, slots, o.Topology)
			if err != nil {
				return nil, err
			}
			var outcomes []p3Outcome
			for _, m := range p3Methods {
				outcomes = append(outcomes, p3Run(c, m.params(), m.static))
			}
			all = append(all, outcomes)
		}
		return all, nil
	})
	if err != nil {
		return Report{}, err
	}
	of := func(room, method int, value func(p3Outcome) float64) (values []float64) {
		for _, r := range runs {
			values = append(values, value(r[room][method]))
		}
		return values
	}
	late := func(o p3Outcome) float64 { return 100 * o.late }
	var r Report
	t := Table{Name: "labels", Title: "Requests answered later than their bound (%), starts of replicas a slot, load that the cloud serves (%)",
		Columns: []Column{{"room", 0}, {"cores", 0}, {"method", 0}, {"late", 2}, {"starts", 1}, {"cloud, low", 1}, {"cloud, high", 1}}}
	for room := range p3Room {
		for m, method := range p3Methods {
			t.Add(p3Room[room].name, fmt.Sprintf("%v-%v", p3Room[room].low, p3Room[room].high), method.name, intervalOf(of(room, m, late)),
				intervalOf(of(room, m, func(o p3Outcome) float64 { return o.starts })),
				intervalOf(of(room, m, func(o p3Outcome) float64 { return 100 * o.cloudLow })),
				intervalOf(of(room, m, func(o p3Outcome) float64 { return 100 * o.cloudHigh })))
		}
	}
	r.Tables = append(r.Tables, t)
	const tight = 1
	c := chart.Chart{Name: "labels-tight", Title: "Late requests over a day, tight capacity", X: "slot", Y: "late (%)"}
	for m, method := range p3Methods {
		line := chart.Line{Name: method.name, Dashed: method.static}
		for slot := range slots {
			line.Points = append(line.Points, chart.Point{X: float64(slot), Y: intervalOf(of(tight, m, func(o p3Outcome) float64 { return 100 * o.perSlot[slot] })).Mean})
		}
		c.Lines = append(c.Lines, line)
	}
	r.Charts = append(r.Charts, c)
	if !o.Paper {
		return r, nil
	}
	const static, without, with = 0, 1, 3
	part := func(a, b int) Interval {
		i := ratioOf(of(tight, a, late), of(tight, b, late))
		return Interval{i.Mean/100 + 1, i.Half / 100, i.N}
	}
	r.Claims = append(r.Claims,
		Claim{What: "tight: late with labels over late without", Got: part(with, without), Unit: "ratio", High: 1, Gate: true},
		Claim{What: "tight: late without labels over late of static", Got: part(without, static), Unit: "ratio", High: 1, Gate: true},
		Claim{What: "tight: late with labels over late of static", Got: part(with, static), Unit: "ratio", High: 0.3, Gate: true})
	r.Figures = append(r.Figures,
		Figure{Name: "plan.labels_late_percent", Value: intervalOf(of(tight, with, late)).Mean, Unit: "percent", Runs: seeds}.Against(intervalOf(of(tight, without, late)).Mean),
		Figure{Name: "plan.labels_off_late_percent", Value: intervalOf(of(tight, without, late)).Mean, Unit: "percent", Runs: seeds}.Against(intervalOf(of(tight, static, late)).Mean))
	r.Claims = append(r.Claims, Claim{What: "tight: labels save a quarter of what is late", Got: part(with, without), Unit: "ratio", High: 0.75,
		Reason: "the ratio is that of one load: here half of the services are highly sensitive, and they alone take more than tight nodes have"})
	r.Notes = append(r.Notes, "The patent publishes no experiment (P3-29): network, load and goals are ours. \"Without labels\" deploys anew in each slot, too, in the order of load alone.")
	return r, nil
}
