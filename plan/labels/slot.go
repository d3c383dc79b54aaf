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
	nodes       []int32
	share       []float64
	served      []float64 // load of a service's replica, by node
	farthest    []float64 // what its clients' requests take at most
}

// Slot deploys for the load of a slot, by service * nodes + node. Before is the slot before; nil: slot 0, which is placed by
// the same methods with nothing to inherit, and which strategy static keeps for ever.
func (p *Planner) Slot(load []float64, before *State) *State {
	n := len(p.Net.CPU)
	now := &State{Load: load, CPU: make([]float64, len(load)), Server: make([]int32, len(load)), Time: make([]float64, len(load)), Idle: make([]int, len(load))}
	p.cpu, p.memory = append(p.cpu[:0], p.Net.CPU...), append(p.memory[:0], p.Net.Memory...)
	p.labels, p.order = p.labels[:0], p.order[:0]
	for s, service := range p.Services {
		var last []float64
		if before != nil {
			last = before.Load[s*n : s*n+n]
		}
		p.labels, p.order = append(p.labels, LabelOf(service, load[s*n:s*n+n], last, p.Params)), append(p.order, s)
	}
	if before != nil {
		now.Slot = before.Slot + 1
		// The high-sensitive have handed back all; the low-sensitive keep theirs until it is their turn.
		for s := range p.Services {
			if p.labels[s].Sens == 1 {
				p.hand(s, before.CPU[s*n:s*n+n], -1)
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
			p.high(s, now)
			continue
		}
		var old []float64
		if before != nil {
			old = before.CPU[s*n : s*n+n]
			p.hand(s, old, +1)
		}
		p.low(s, now, old)
	}
	if before != nil {
		p.keep(now, before)
	}
	p.times(now)
	return now
}

// Free is the room that the last slot has left, by node.
func (p *Planner) Free() (cpu, memory []float64) { return p.cpu, p.memory }

// Labels of the last slot, by service.
func (p *Planner) Labels() []Label { return p.labels }

// hand gives a service's allocations back (+1) or takes them (-1).
func (p *Planner) hand(s int, cpu []float64, sign float64) {
	for n, x := range cpu {
		if x > 0 {
			p.cpu[n] += sign * x
			p.memory[n] += sign * p.Services[s].Memory
		}
	}
}

// take gives a service computing on a node, where it may have some already; false when there is no room.
func (p *Planner) take(s, n int, cpu float64, now *State) bool {
	at := &now.CPU[s*len(p.cpu)+n]
	memory := 0.0
	if *at == 0 {
		memory = p.Services[s].Memory
	}
	if cpu-*at > p.cpu[n] || memory > p.memory[n] || cpu <= 0 {
		return false
	}
	p.cpu[n] -= cpu - *at
	p.memory[n] -= memory
	*at = cpu
	return true
}

// high deploys a highly sensitive service: a replica on every node with load, as far as there is room; from where there
// is none, the nearest replica that can answer in time, else the cloud (figure 5; hole (c)).
func (p *Planner) high(s int, now *State) {
	service, n, k := p.Services[s], len(p.cpu), p.Params.KSens[0]
	row := s * n
	load, server := now.Load[row:row+n], now.Server[row:row+n]
	p.served, p.farthest = append(p.served[:0], load...), append(p.farthest[:0], make([]float64, n)...)
	p.byLoad(load)
	short := p.nodes[:0]
	for _, node := range p.nodes {
		server[node] = At
		if cpu, ok := service.Size(k, load[node], service.Bound); ok && p.take(s, int(node), cpu, now) {
			server[node] = node
		} else {
			short = append(short, node)
		}
	}
	for _, node := range short {
		best, size := At, 0.0
		for to := range int32(n) {
			it := p.Net.IT(service, node, to)
			if now.CPU[row+int(to)] == 0 || best != At && it >= p.Net.IT(service, node, best) {
				continue
			}
			cpu, ok := service.Size(k, p.served[to]+load[node], service.Bound-max(p.farthest[to], it))
			if ok && cpu-now.CPU[row+int(to)] <= p.cpu[to] {
				best, size = to, cpu
			}
		}
		if best != At && p.take(s, int(best), max(size, now.CPU[row+int(best)]), now) {
			server[node] = best
			p.served[best] += load[node]
			p.farthest[best] = max(p.farthest[best], p.Net.IT(service, node, best))
		}
	}
}

// byLoad lists the nodes with load, most first.
func (p *Planner) byLoad(load []float64) {
	p.nodes = p.nodes[:0]
	for node, x := range load {
		if x > 0 {
			p.nodes = append(p.nodes, int32(node))
		}
	}
	slices.SortFunc(p.nodes, func(a, b int32) int { return cmp.Or(cmp.Compare(load[b], load[a]), cmp.Compare(a, b)) })
}

// low deploys a service of low sensitivity: one replica for all its clients, on a node that had it if there is room, else
// on the node of the largest np, else the cloud (figure 4, claim 10; hole (b)).
func (p *Planner) low(s int, now *State, old []float64) {
	service, n, k := p.Services[s], len(p.cpu), p.Params.KSens[1]
	load, server := now.Load[s*n:s*n+n], now.Server[s*n:s*n+n]
	total := p.labels[s].Load
	for node := range server {
		server[node] = At
	}
	if total == 0 {
		return
	}
	// np of claim 10: the node's part of the load, by the part of it that is free. Nodes that had the service come first.
	p.share, p.nodes = p.share[:0], p.nodes[:0]
	for node := range n {
		np := load[node] / total * p.room(node)
		if old != nil && old[node] > 0 {
			np += had
		}
		p.share = append(p.share, np+p.room(node)/1e6) // of equal np, first of all 0, the emptier
		if load[node] > 0 {
			p.nodes = append(p.nodes, int32(node))
		}
	}
	for range n {
		at := 0
		for node, np := range p.share {
			if np > p.share[at] {
				at = node
			}
		}
		p.share[at] = -1
		farthest := 0.0
		for _, node := range p.nodes {
			farthest = max(farthest, p.Net.IT(service, node, int32(at))) // hole (e): only nodes with load
		}
		cpu, ok := service.Size(k, total, service.Bound-farthest)
		if ok && p.take(s, at, cpu, now) {
			for node := range server {
				server[node] = int32(at)
			}
			return
		}
	}
}

// had is more than any np.
const had = 2

// room is the part of a node that is free, of the kind it has least of.
func (p *Planner) room(node int) float64 {
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
	n := len(p.cpu)
	for i, cpu := range before.CPU {
		if cpu == 0 || now.CPU[i] > 0 || now.Load[i] > 0 || p.labels[i/n].Sens == 1 || before.Idle[i] >= p.Params.KeepAlive {
			continue
		}
		if p.take(i/n, i%n, p.Params.Warm, now) {
			now.Idle[i] = before.Idle[i] + 1
		}
	}
}

// times fills in y: what clients near each node wait.
func (p *Planner) times(now *State) {
	p.Answer(now, now.Load)
}

// Answer fills a state in with the times of another load: each node is served by whom the state says; nodes it did not
// know by the nearest replica, or the cloud. So a placement that stays is measured.
func (p *Planner) Answer(state *State, load []float64) {
	n := len(p.Net.CPU)
	at := make([]float64, n)
	for s, service := range p.Services {
		sens := 1
		if service.Bound < p.Params.Sensitive {
			sens = 0
		}
		clear(at)
		row := s * n
		for node := range n {
			if state.Load[row+node] == 0 && load[row+node] > 0 {
				state.Server[row+node] = p.nearest(s, int32(node), state)
			}
			if server := state.Server[row+node]; server != At {
				at[server] += load[row+node]
			}
		}
		for node := range n {
			switch server := state.Server[row+node]; {
			case load[row+node] == 0:
				state.Time[row+node] = 0
			case server == At:
				state.Time[row+node] = p.Net.Cloud.Time(service)
			default:
				state.Time[row+node] = p.Net.IT(service, int32(node), server) + service.Time(p.Params.KSens[sens], at[server], state.CPU[row+int(server)])
			}
		}
	}
}

// nearest replica, or the cloud.
func (p *Planner) nearest(s int, node int32, state *State) int32 {
	n, best, least := len(p.Net.CPU), At, math.Inf(1)
	for to := range int32(n) {
		if state.CPU[s*n+int(to)] > 0 && p.Net.IT(p.Services[s], node, to) < least {
			best, least = to, p.Net.IT(p.Services[s], node, to)
		}
	}
	return best
}

// Violations is the part of all requests that is answered later than its service's bound.
func (p *Planner) Violations(state *State, load []float64) float64 {
	n, late, all := len(p.Net.CPU), 0.0, 0.0
	for s, service := range p.Services {
		for node := range n {
			all += load[s*n+node]
			if state.Time[s*n+node] > service.Bound*(1+1e-9) {
				late += load[s*n+node]
			}
		}
	}
	if all == 0 {
		return 0
	}
	return late / all
}
