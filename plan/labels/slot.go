package labels

import (
	"cmp"
	"math"
	"slices"
)

// Planner deploys services slot by slot on one network. It keeps its memory and serves one caller at a time.
type Planner struct {
	Net      *Network
	Services []Service
	Params   Params

	cpu, memory []float64 // free, by node
	labels      []Label
	order       []int
	all         []Clients // of all services
	ends        []int     // of each service in all

	// Of the service that is being deployed:
	have     []float64 // computing of its replicas, by node
	hosts    []int32   // nodes with replicas
	served   []float64 // load of its replica, by node
	farthest []float64 // what its clients' requests take at most, by node
	clients  []int32   // places in Deployed.Clients
	tries    []try
}

// try is a node that may be the host, and how much speaks for it.
type try struct {
	node int32
	np   float64
}

// Slot deploys for the load of a slot, by service * nodes + node. Before is the slot before; nil: slot 0, which is placed by
// the same methods with nothing to inherit, and which strategy static keeps for ever.
func (p *Planner) Slot(load []float64, before *State) *State {
	now := p.arrive(load)
	p.cpu, p.memory = append(p.cpu[:0], p.Net.CPU...), append(p.memory[:0], p.Net.Memory...)
	p.labels, p.order = p.labels[:0], p.order[:0]
	for s, service := range p.Services {
		last := 0.0
		if before != nil {
			last = before.Services[s].Load()
		}
		p.labels, p.order = append(p.labels, LabelOf(service, now.Services[s].Load(), last, p.Params)), append(p.order, s)
	}
	if before != nil {
		now.Slot = before.Slot + 1
		// The high-sensitive have handed back all; the low-sensitive keep theirs until it is their turn.
		for s := range p.Services {
			if p.labels[s].Sens == 1 {
				p.hand(s, before.Services[s].Replicas, -1)
			}
		}
	}
	slices.SortFunc(p.order, func(a, b int) int {
		set := cmp.Compare(p.labels[a].Set(), p.labels[b].Set())
		if p.Params.Unlabeled {
			set = 0
		}
		return cmp.Or(set, cmp.Compare(p.labels[b].Load, p.labels[a].Load), cmp.Compare(p.Services[a].Name, p.Services[b].Name))
	})
	for _, s := range p.order {
		if p.labels[s].Sens == 0 {
			p.high(s, &now.Services[s])
		} else {
			var old []Replica
			if before != nil {
				old = before.Services[s].Replicas
				p.hand(s, old, +1)
			}
			p.low(s, &now.Services[s], old)
		}
		p.settle(&now.Services[s])
	}
	if before != nil {
		p.keep(now, before)
	}
	p.times(now)
	return now
}

// arrive is a state with the clients of a slot and nothing else.
func (p *Planner) arrive(load []float64) *State {
	n := len(p.Net.CPU)
	if len(p.have) != n {
		p.have, p.served, p.farthest = make([]float64, n), make([]float64, n), make([]float64, n)
	}
	p.all, p.ends = p.all[:0], p.ends[:0]
	for s := range p.Services {
		for node, x := range load[s*n : s*n+n] {
			if x > 0 {
				p.all = append(p.all, Clients{Node: int32(node), Server: At, Load: x})
			}
		}
		p.ends = append(p.ends, len(p.all))
	}
	now, all, first := &State{Services: make([]Deployed, len(p.Services))}, slices.Clone(p.all), 0
	for s, end := range p.ends {
		now.Services[s].Clients = all[first:end:end]
		first = end
	}
	return now
}

// Free is the room that the last slot has left, by node.
func (p *Planner) Free() (cpu, memory []float64) { return p.cpu, p.memory }

// Labels of the last slot, by service.
func (p *Planner) Labels() []Label { return p.labels }

// hand gives a service's allocations back (+1) or takes them (-1).
func (p *Planner) hand(s int, replicas []Replica, sign float64) {
	for _, r := range replicas {
		p.cpu[r.Node] += sign * r.CPU
		p.memory[r.Node] += sign * p.Services[s].Memory
	}
}

// take gives a service computing on a node, where it may have some already; false when there is no room.
func (p *Planner) take(s int, node int32, cpu float64) bool {
	have, memory := p.have[node], 0.0
	if have == 0 {
		memory = p.Services[s].Memory
	}
	if cpu-have > p.cpu[node] || memory > p.memory[node] || cpu <= 0 {
		return false
	}
	if have == 0 {
		p.hosts = append(p.hosts, node)
	}
	p.cpu[node] -= cpu - have
	p.memory[node] -= memory
	p.have[node] = cpu
	return true
}

// settle writes down what a service has taken.
func (p *Planner) settle(d *Deployed) {
	slices.Sort(p.hosts)
	d.Replicas = make([]Replica, 0, len(p.hosts))
	for _, node := range p.hosts {
		d.Replicas = append(d.Replicas, Replica{Node: node, CPU: p.have[node]})
		p.have[node] = 0
	}
	p.hosts = p.hosts[:0]
}

// high deploys a highly sensitive service: a replica on every node with load, as far as there is room; from where there
// is none, the nearest replica that can answer in time, else the cloud (figure 5; hole (c)).
func (p *Planner) high(s int, d *Deployed) {
	service, k := p.Services[s], p.Params.KSens[0]
	p.clients = p.clients[:0]
	for i, c := range d.Clients {
		p.clients = append(p.clients, int32(i))
		p.served[c.Node], p.farthest[c.Node] = c.Load, 0
	}
	slices.SortFunc(p.clients, func(a, b int32) int {
		return cmp.Or(cmp.Compare(d.Clients[b].Load, d.Clients[a].Load), cmp.Compare(a, b))
	})
	short := p.clients[:0]
	for _, i := range p.clients {
		c := &d.Clients[i]
		if cpu, ok := service.Size(k, c.Load, service.Bound); ok && p.take(s, c.Node, cpu) {
			c.Server = c.Node
		} else {
			short = append(short, i)
		}
	}
	slices.Sort(p.hosts)
	for _, i := range short {
		c := &d.Clients[i]
		best, size, near := At, 0.0, 0.0
		for _, to := range p.hosts {
			it := p.Net.IT(service, c.Node, to)
			if best != At && it >= near {
				continue
			}
			cpu, ok := service.Size(k, p.served[to]+c.Load, service.Bound-max(p.farthest[to], it))
			if ok && cpu-p.have[to] <= p.cpu[to] {
				best, size, near = to, cpu, it
			}
		}
		if best != At && p.take(s, best, max(size, p.have[best])) {
			c.Server = best
			p.served[best] += c.Load
			p.farthest[best] = max(p.farthest[best], near)
		}
	}
}

// low deploys a service of low sensitivity: one replica for all its clients, on a node that had it if there is room, else
// on the node of the largest np, else the cloud (figure 4, claim 10; hole (b)).
func (p *Planner) low(s int, d *Deployed, old []Replica) {
	service, total := p.Services[s], p.labels[s].Load
	least, ok := service.Size(p.Params.KSens[1], total, service.Bound)
	if total == 0 || !ok {
		return
	}
	fits := func(node int32) bool { return least <= p.cpu[node] && service.Memory <= p.memory[node] }
	// np of claim 10: the node's part of the load, by the part of it that is free. Nodes that had the service come first.
	p.tries = p.tries[:0]
	add := func(node int32, load, bonus float64) {
		room := p.room(node)
		p.tries = append(p.tries, try{node, load/total*room + bonus + room*empty})
	}
	i := 0
	for _, c := range d.Clients {
		for ; i < len(old) && old[i].Node < c.Node; i++ {
			add(old[i].Node, 0, had)
		}
		bonus := 0.0
		if i < len(old) && old[i].Node == c.Node {
			bonus = had
			i++
		}
		add(c.Node, c.Load, bonus)
	}
	for ; i < len(old); i++ {
		add(old[i].Node, 0, had)
	}
	byNP := func(a, b try) int { return cmp.Or(cmp.Compare(b.np, a.np), cmp.Compare(a.node, b.node)) }
	slices.SortFunc(p.tries, byNP)
	for _, t := range p.tries {
		if t.np > unknown && fits(t.node) && p.host(s, d, t.node) {
			return
		}
	}
	known := len(p.tries)
	for node := range int32(len(p.cpu)) {
		if !fits(node) {
			continue
		}
		t := try{node, p.room(node) * empty}
		if i := slices.IndexFunc(p.tries[:known], func(t try) bool { return t.node == node }); i >= 0 {
			t = p.tries[i]
		}
		if t.np <= unknown {
			p.tries = append(p.tries, t)
		}
	}
	slices.SortFunc(p.tries[known:], byNP)
	for _, t := range p.tries[known:] {
		if p.host(s, d, t.node) {
			return
		}
	}
}

const (
	had     = 2         // more than any np
	empty   = 1e-6      // of equal np, first of all 0, the emptier goes first
	unknown = 2 * empty // more than that of a node without load or replica
)

// host puts the one replica of a service on a node; false when there is no room, or no time on the way.
func (p *Planner) host(s int, d *Deployed, node int32) bool {
	cpu, ok := p.size(s, d, node)
	if !ok || !p.take(s, node, cpu) {
		return false
	}
	for i := range d.Clients {
		d.Clients[i].Server = node
	}
	return true
}

// size is the computing that a node needs to answer all clients of a service in time; false when none is enough.
func (p *Planner) size(s int, d *Deployed, node int32) (cpu float64, ok bool) {
	service, farthest := p.Services[s], 0.0
	for _, c := range d.Clients {
		farthest = max(farthest, p.Net.IT(service, c.Node, node)) // hole (e): only nodes with load
	}
	return service.Size(p.Params.KSens[1], p.labels[s].Load, service.Bound-farthest)
}

// room is the part of a node that is free, of the kind it has least of.
func (p *Planner) room(node int32) float64 {
	room := 0.0
	if p.Net.CPU[node] > 0 {
		room = p.cpu[node] / p.Net.CPU[node]
	}
	if p.Net.Memory[node] > 0 {
		room = min(room, p.memory[node]/p.Net.Memory[node])
	}
	return room
}

// keep lets replicas stay that have lost their load, for some slots, where everybody else has left room: load that comes
// back then costs no start (hole (d)).
func (p *Planner) keep(now, before *State) {
	for s := range p.Services {
		if p.labels[s].Sens == 1 {
			continue
		}
		d := &now.Services[s]
		there := func(node int32) bool {
			_, busy := at(d.Clients, func(c Clients) int32 { return c.Node }, node)
			_, serves := at(d.Replicas, func(r Replica) int32 { return r.Node }, node)
			return busy || serves
		}
		var kept []Replica
		for _, r := range before.Services[s].Replicas {
			if int(r.Idle) < p.Params.KeepAlive && !there(r.Node) && p.take(s, r.Node, p.Params.Warm) {
				kept = append(kept, Replica{Node: r.Node, CPU: p.Params.Warm, Idle: r.Idle + 1})
				p.have[r.Node] = 0
			}
		}
		p.hosts = p.hosts[:0]
		if kept != nil {
			d.Replicas = append(d.Replicas, kept...)
			slices.SortFunc(d.Replicas, func(a, b Replica) int { return cmp.Compare(a.Node, b.Node) })
		}
	}
}

// at finds what belongs to a node in a list by node.
func at[T any](list []T, of func(T) int32, node int32) (i int, ok bool) {
	return slices.BinarySearchFunc(list, node, func(x T, node int32) int { return cmp.Compare(of(x), node) })
}

// times fills in y: what clients near each node wait.
func (p *Planner) times(now *State) {
	for s := range p.Services {
		p.answer(s, &now.Services[s])
	}
}

// answer fills in the times of a service's clients, by who serves them.
func (p *Planner) answer(s int, d *Deployed) {
	service, k := p.Services[s], p.Params.KSens[p.Services[s].sensitivity(p.Params)]
	for _, r := range d.Replicas {
		p.served[r.Node], p.have[r.Node] = 0, r.CPU
	}
	for _, c := range d.Clients {
		if c.Server != At {
			p.served[c.Server] += c.Load
		}
	}
	for i := range d.Clients {
		c := &d.Clients[i]
		if c.Server == At {
			c.Time = p.Net.Cloud.Time(service)
		} else {
			c.Time = p.Net.IT(service, c.Node, c.Server) + service.Time(k, p.served[c.Server], p.have[c.Server])
		}
	}
	for _, r := range d.Replicas {
		p.have[r.Node] = 0
	}
}

// Answer is a state with its replicas as they are and the clients of another load: those it knows are served by whom it
// says, the others by the nearest replica, or the cloud. So a placement that stays is measured.
func (p *Planner) Answer(state *State, load []float64) *State {
	now := p.arrive(load)
	now.Slot = state.Slot
	for s, old := range state.Services {
		d := &now.Services[s]
		d.Replicas = old.Replicas
		for i := range d.Clients {
			c := &d.Clients[i]
			if j, known := at(old.Clients, func(c Clients) int32 { return c.Node }, c.Node); known {
				c.Server = old.Clients[j].Server
			} else {
				c.Server = p.nearest(s, c.Node, d.Replicas)
			}
		}
		p.answer(s, d)
	}
	return now
}

// nearest replica, or the cloud.
func (p *Planner) nearest(s int, node int32, replicas []Replica) int32 {
	best, least := At, math.Inf(1)
	for _, r := range replicas {
		if it := p.Net.IT(p.Services[s], node, r.Node); it < least {
			best, least = r.Node, it
		}
	}
	return best
}

// Violations is the part of all requests that is answered later than its service's bound.
func (p *Planner) Violations(state *State) float64 {
	late, all := 0.0, 0.0
	for s, d := range state.Services {
		for _, c := range d.Clients {
			all += c.Load
			if c.Late(p.Services[s]) {
				late += c.Load
			}
		}
	}
	if all == 0 {
		return 0
	}
	return late / all
}

// Late says whether clients of a service wait longer than its bound.
func (c Clients) Late(s Service) bool { return c.Time > s.Bound*(1+1e-9) }
