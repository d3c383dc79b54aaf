package bench

import (
	"cmp"
	"fmt"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/labels"
)

// labelSlot is a slot of 1,000 services on 1,000 nodes, each with clients near about 20 of them; the slot before had the same
// load.
func labelSlot(r *chance.Rand, scale int) (contest, error) {
	n := 1000 / scale
	var nodes []plan.Node
	for i := range n {
		nodes = append(nodes, plan.Node{Name: fmt.Sprintf("n%04d", i), Capacity: netmap.Demand{netmap.Compute: r.Uniform(30, 60)}})
	}
	var links []plan.Link
	for _, l := range grown(r, n) {
		links = append(links, plan.Link{A: nodes[l.A].Name, B: nodes[l.B].Name, Bandwidth: 10000, Delay: r.Uniform(0.1, 0.5)})
	}
	view, err := plan.NewView(nodes, links)
	if err != nil {
		return contest{}, err
	}
	p := &labels.Planner{Net: labels.NewNetwork(view, labels.Cloud{Mbps: 200, RTT: 60}), Params: labels.Defaults()}
	load := make([]float64, n*n)
	for s := range n {
		p.Services = append(p.Services, labels.Service{Name: fmt.Sprintf("s%04d", s), Bound: r.Uniform(5, 60), Bits: 1e5, Alpha: 1})
		for range 20 {
			load[s*n+r.IntN(n)] = r.Uniform(0, 40)
		}
	}
	before := p.Slot(load, nil)
	plain := plainSlots{p, load, before}
	var now *labels.State
	var cpu []float64
	return contest{name: "labels_1000x1000_ms", goal: 10,
		ours:   &job{round: func() { now = p.Slot(load, before) }},
		beside: &job{round: func() { cpu = plain.slot() }},
		same: func() error {
			for s, d := range now.Services {
				for _, replica := range d.Replicas {
					at := &cpu[s*n+int(replica.Node)]
					if err := near(*at, replica.CPU); err != nil {
						return fmt.Errorf("%s on %s: %w", p.Services[s].Name, view.Nodes[replica.Node].Name, err)
					}
					*at = 0
				}
			}
			if i := slices.IndexFunc(cpu, func(x float64) bool { return x > 0 }); i >= 0 {
				return fmt.Errorf("%s on %s only with brute force", p.Services[i/n].Name, view.Nodes[i%n].Name)
			}
			cpu = plain.slot() // it was used up
			return nil
		}}, nil
}

// plainSlots deploys by the patent's rules and tries every service on every node. It knows only what labelSlot needs: loads
// that stay, and no memory.
type plainSlots struct {
	p      *labels.Planner
	load   []float64
	before *labels.State
}

// slot gives the computing of replicas, by service * nodes + node.
func (b plainSlots) slot() []float64 {
	net, n := b.p.Net, len(b.p.Net.CPU)
	cpu, free := make([]float64, len(b.load)), slices.Clone(net.CPU)
	old, total, order := make([]float64, len(b.load)), make([]float64, n), make([]int, n)
	high := func(s int) bool { return b.p.Services[s].Bound < b.p.Params.Sensitive }
	for s, d := range b.before.Services {
		order[s] = s
		for _, r := range d.Replicas {
			old[s*n+int(r.Node)] = r.CPU
			if !high(s) {
				free[r.Node] -= r.CPU
			}
		}
		for _, x := range b.load[s*n : s*n+n] {
			total[s] += x
		}
	}
	slices.SortFunc(order, func(a, c int) int {
		first := map[bool]int{true: 0, false: 1}
		return cmp.Or(first[high(a)]-first[high(c)], cmp.Compare(total[c], total[a]), cmp.Compare(a, c))
	})
	for _, s := range order {
		load, mine := b.load[s*n:s*n+n], cpu[s*n:s*n+n]
		if high(s) {
			b.high(s, load, mine, free)
			continue
		}
		had := old[s*n : s*n+n]
		for node, x := range had {
			free[node] += x
		}
		b.low(s, load, mine, had, free, total[s])
	}
	return cpu
}

func (b plainSlots) high(s int, load, cpu, free []float64) {
	service := b.p.Services[s]
	var clients, short []int
	for node, x := range load {
		if x > 0 {
			clients = append(clients, node)
		}
	}
	slices.SortStableFunc(clients, func(a, c int) int { return cmp.Compare(load[c], load[a]) })
	served, farthest := slices.Clone(load), make([]float64, len(load))
	for _, node := range clients {
		if need, ok := service.Size(1, load[node], service.Bound); ok && need <= free[node] {
			cpu[node] = need
			free[node] -= need
		} else {
			short = append(short, node)
		}
	}
	for _, node := range short {
		best, size, near := -1, 0.0, 0.0
		for to, has := range cpu {
			it := b.p.Net.IT(service, int32(node), int32(to))
			if has == 0 || best >= 0 && it >= near {
				continue
			}
			if need, ok := service.Size(1, served[to]+load[node], service.Bound-max(farthest[to], it)); ok && need-has <= free[to] {
				best, size, near = to, max(need, has), it
			}
		}
		if best >= 0 {
			free[best] -= size - cpu[best]
			cpu[best] = size
			served[best] += load[node]
			farthest[best] = max(farthest[best], near)
		}
	}
}

func (b plainSlots) low(s int, load, cpu, had, free []float64, total float64) {
	service, net := b.p.Services[s], b.p.Net
	best, most, size := -1, -1.0, 0.0
	for node := range load {
		farthest := 0.0
		for from, x := range load {
			if x > 0 {
				farthest = max(farthest, net.IT(service, int32(from), int32(node)))
			}
		}
		need, ok := service.Size(1, total, service.Bound-farthest)
		if !ok || need > free[node] {
			continue
		}
		room := free[node] / net.CPU[node]
		np := load[node]/total*room + room/1e6
		if had[node] > 0 {
			np += 2
		}
		if np > most {
			best, most, size = node, np, need
		}
	}
	if best >= 0 {
		cpu[best] = size
		free[best] -= size
	}
}
