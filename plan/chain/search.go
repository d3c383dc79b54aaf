package chain

import (
	"context"
	"math"
	"slices"

	"sonic-netservices/plan/chance"
)

// neighbours is our own search: large neighbourhoods under simulated annealing. Each step takes a part of a solution away
// and puts it back by a shortest way through the layers of its chain, where nodes and links without room are dear; then
// the whole is worked out and kept, or not.
type neighbours struct {
	m     *model
	e     *evaluator
	r     *chance.Rand
	watch func(work int, best float64) // told of each step

	others []solution // that were the best before the present one, newest first

	now   solution
	worth float64
	state state // of now

	free   []float64 // what the repair of a solution may still take
	wanted []int32   // requests that a repaired replica is for
	dist   []float64 // by layer and node
	from   []int32
	holes  []bool
}

// state is what a solution left of the network, and who took what.
type state struct {
	free   []float64
	taken  []float64 // by profile and resource
	served []bool
	by     []int32 // by request: replica of its first stream
}

// Steps of the search.
const (
	oneFunction  = iota // to a random node
	twoFunctions        // change places
	oneReplica          // of a service, rather one with rejected requests
	oneService          // all its replicas
	oneNode             // all functions there
	oneRank             // a request goes before others, or after them; batches only
	steps
)

// run weighs so many solutions and answers with the best.
func (b *neighbours) run(ctx context.Context, work int) (best solution, spent int) {
	m := b.m
	b.free = make([]float64, len(m.free))
	b.state = state{free: make([]float64, len(m.free)), taken: make([]float64, len(b.e.profiles)*len(m.free)), served: make([]bool, len(m.requests)), by: make([]int32, len(m.requests))}
	b.dist, b.from = make([]float64, m.nodes*16), make([]int32, m.nodes*16)
	bestWorth := b.begin()
	var trial solution
	best.copy(&b.now)
	round := work / max(1, work/(roundWork*m.places))
	for spent = 1; spent < work && ctx.Err() == nil; spent++ {
		if spent%round == 0 && work-spent >= round {
			if w := b.begin(); w < bestWorth {
				bestWorth = w
				b.succeed(&best)
			}
			continue
		}
		heat := m.rejection * hot * math.Pow(cold/hot, float64(spent%round)/float64(round))
		trial.copy(&b.now)
		step := b.choose()
		b.change(step, &trial)
		if m.batch && step != oneRank && b.r.Float64() < alsoRank {
			b.rerank(&trial)
		}
		o := b.e.evaluate(&trial)
		if o.fitness <= b.worth+heat*b.r.Exp(1) {
			b.now, trial = trial, b.now
			b.worth = o.fitness
			b.remember()
			if o.fitness < bestWorth {
				bestWorth = o.fitness
				b.succeed(&best)
			}
		}
		b.watch(spent, bestWorth)
	}
	return best, spent
}

const (
	hot, cold  = 0.3, 0.01 // of the weight of a rejection, first and last
	alternates = 2
	roundWork  = 300 // for each place; then the search begins again somewhere else
	alsoRank   = 0.1 // of the other steps change a rank, too
)

// chances of the steps.
var chances = [steps]float64{oneFunction: 0.25, twoFunctions: 0.15, oneReplica: 0.25, oneService: 0.1, oneNode: 0.15, oneRank: 0.1}

// choose a step.
func (b *neighbours) choose() int {
	for {
		at := b.r.Float64()
		for step, chance := range chances {
			if at -= chance; at < 0 && (step != oneRank || b.m.batch) { // ranks mean nothing in order of arrival
				return step
			} else if at < 0 {
				break
			}
		}
	}
}

// begin makes the first solution: what runs already stays, the rest goes in one by one where there is room.
func (b *neighbours) begin() float64 {
	m := b.m
	b.now = solution{place: make([]int32, m.places), rank: make([]float64, len(m.requests))}
	for t := range b.now.rank {
		b.now.rank[t] = 1
	}
	for at, number := range m.runs {
		b.now.place[at] = m.functions[number].allowed[0]
	}
	copy(b.free, m.free)
	for i := range m.services {
		s := &m.services[i]
		for r := range m.replicas {
			at := s.at(r)
			if m.home[at] >= 0 {
				copy(b.now.place[at:], m.home[at:at+len(s.functions)])
				continue
			}
			b.want(i, r, true)
			b.all(len(s.functions))
			b.rebuild(b.now.place, i, r)
			b.occupy(b.now.place, i, r)
		}
	}
	o := b.e.evaluate(&b.now)
	b.worth = o.fitness
	b.remember()
	return o.fitness
}

// succeed makes the present solution the best, and the best one of the others.
func (b *neighbours) succeed(best *solution) {
	var last solution
	if len(b.others) == alternates {
		last = b.others[alternates-1]
		b.others = b.others[:alternates-1]
	}
	last.copy(best)
	b.others = slices.Insert(b.others, 0, last)
	best.copy(&b.now)
}

// remember keeps what the evaluator knows of the solution that is now the present one.
func (b *neighbours) remember() {
	m, s := b.m, &b.state
	copy(s.free, b.e.free)
	copy(s.served, b.e.served)
	clear(s.taken)
	for i := range b.e.streams {
		st := &b.e.streams[i]
		q := &m.requests[st.request]
		sv := &m.services[q.service]
		profile := int(q.service)*m.replicas + int(st.replica)
		taken := s.taken[profile*len(m.free) : (profile+1)*len(m.free)]
		rate := q.rate * float64(st.share) / units
		for _, u := range b.e.profiles[profile].uses {
			taken[u.resource] += rate * u.amount
		}
		for _, l := range m.between(q.from, st.hosts[0])[0].links {
			taken[l] += rate
		}
		for _, l := range m.between(st.hosts[len(st.hosts)-1], q.to)[0].links {
			taken[l] += rate * sv.rates[len(sv.functions)]
		}
		s.by[st.request] = st.replica
	}
}

// change takes a part of the solution away and puts it back.
func (b *neighbours) change(step int, s *solution) {
	m := b.m
	switch step {
	case oneFunction:
		at := b.somewhere()
		allowed := m.functions[m.runs[at]].allowed
		s.place[at] = allowed[b.r.IntN(len(allowed))]
	case twoFunctions:
		b.swap(s)
	case oneReplica:
		i, r := b.needy(), b.r.IntN(m.replicas)
		copy(b.free, b.state.free)
		b.release(i, r)
		b.want(i, r, false)
		b.all(len(m.services[i].functions))
		b.rebuild(s.place, i, r)
	case oneService:
		i := b.needy()
		copy(b.free, b.state.free)
		for r := range m.replicas {
			b.release(i, r)
		}
		for r := range m.replicas {
			b.want(i, r, true)
			b.all(len(m.services[i].functions))
			b.rebuild(s.place, i, r)
			b.occupy(s.place, i, r)
		}
	case oneNode:
		b.clearNode(s)
	case oneRank:
		b.rerank(s)
	}
}

// rerank lets a request go before others, rather a rejected one, or after them.
func (b *neighbours) rerank(s *solution) {
	t := b.r.IntN(len(b.m.requests))
	for range 8 {
		if !b.state.served[t] {
			break
		}
		t = b.r.IntN(len(b.m.requests))
	}
	factor := math.Exp(b.r.Exp(0.5))
	if !b.state.served[t] {
		factor = 1 / factor
	}
	s.rank[t] *= factor
}

// somewhere is a place of a service that somebody asks for.
func (b *neighbours) somewhere() int {
	s := &b.m.services[b.m.requests[b.r.IntN(len(b.m.requests))].service]
	return s.first + b.r.IntN(b.m.replicas*len(s.functions))
}

// needy is a service, rather one with rejected requests.
func (b *neighbours) needy() int {
	t := b.r.IntN(len(b.m.requests))
	for range 4 {
		if !b.state.served[t] {
			break
		}
		t = b.r.IntN(len(b.m.requests))
	}
	return int(b.m.requests[t].service)
}

// swap lets two functions change places.
func (b *neighbours) swap(s *solution) {
	for range 8 {
		i, j := b.somewhere(), b.somewhere()
		x, y := s.place[i], s.place[j]
		if x != y && slices.Contains(b.m.functions[b.m.runs[i]].allowed, y) && slices.Contains(b.m.functions[b.m.runs[j]].allowed, x) {
			s.place[i], s.place[j] = y, x
			return
		}
	}
}

func (b *neighbours) clearNode(s *solution) {
	m := b.m
	node := s.place[b.somewhere()]
	copy(b.free, b.state.free)
	for i := range m.services {
		sv := &m.services[i]
		for r := range m.replicas {
			hosts := s.place[sv.at(r) : sv.at(r)+len(sv.functions)]
			b.holes = b.holes[:0]
			here := false
			for _, h := range hosts {
				b.holes = append(b.holes, h == node)
				here = here || h == node
			}
			if !here {
				continue
			}
			b.release(i, r)
			b.want(i, r, false)
			b.rebuild(s.place, i, r)
			b.occupy(s.place, i, r)
		}
	}
}

func (b *neighbours) all(n int) {
	b.holes = b.holes[:0]
	for range n {
		b.holes = append(b.holes, true)
	}
}

// release gives the repair what a replica takes in the present solution.
func (b *neighbours) release(service, replica int) {
	profile := service*b.m.replicas + replica
	for i, x := range b.state.taken[profile*len(b.free) : (profile+1)*len(b.free)] {
		b.free[i] += x
	}
}

// want chooses the requests that a replica is for: those it serves and the rejected ones, or its part of all.
func (b *neighbours) want(service, replica int, part bool) {
	b.wanted = b.wanted[:0]
	for t := range b.m.requests {
		if int(b.m.requests[t].service) != service {
			continue
		}
		if part && (t+replica)%b.m.replicas == 0 || !part && (!b.state.served[t] || int(b.state.by[t]) == replica) {
			b.wanted = append(b.wanted, int32(t))
		}
	}
}

// rebuild places the functions of a replica where there are holes, by the shortest way through the layers of its chain:
// what a unit of the wanted traffic costs, and what share of it has no room, at the price of a rejection.
func (b *neighbours) rebuild(place []int32, serviceNumber, replica int) {
	m, s := b.m, &b.m.services[serviceNumber]
	at := s.at(replica)
	total := 0.0
	for _, t := range b.wanted {
		total += m.requests[t].rate
	}
	if total == 0 {
		return
	}
	dear := m.rejection * float64(len(b.wanted)) / total // of a Mbit/s without room
	room := total * b.r.Uniform(0.3, 1)                  // no replica must carry it all
	hurry := b.r.Uniform(0, 0.1)
	missing := func(free, need float64) float64 {
		if need <= free || need == 0 {
			return 0
		}
		return dear * (1 - max(0, free)/need)
	}
	way := func(a, c int32, rate float64) float64 {
		ways := m.between(a, c)
		if len(ways) == 0 {
			return math.Inf(1)
		}
		narrow := math.Inf(1)
		for _, l := range ways[0].links {
			narrow = min(narrow, b.free[l])
		}
		return rate*ways[0].cost + hurry*ways[0].delay + missing(narrow, rate*room)
	}
	n := m.nodes
	k := len(s.functions)
	if len(b.dist) < n*k {
		b.dist, b.from = make([]float64, n*k), make([]int32, n*k)
	}
	for layer, number := range s.functions {
		f := &m.functions[number]
		dist, via := b.dist[layer*n:(layer+1)*n], b.from[layer*n:(layer+1)*n]
		for i := range dist {
			dist[i] = math.Inf(1)
		}
		for _, h := range f.allowed {
			if !b.holes[layer] && place[at+layer] != h {
				continue
			}
			need := f.perMbps * s.rates[layer]
			here := (need*m.price[h] + missing(b.free[h], need*room+f.reserve)) * b.r.Uniform(0.9, 1.1)
			if m.home[at+layer] >= 0 && m.home[at+layer] != h {
				here += m.move / total
			}
			if layer == 0 {
				dist[h] = here
				for _, t := range b.wanted {
					q := &m.requests[t]
					if ways := m.between(q.from, h); len(ways) > 0 {
						dist[h] += q.rate / total * (ways[0].cost + hurry*ways[0].delay)
					} else {
						dist[h] = math.Inf(1)
					}
				}
			} else {
				before := b.dist[(layer-1)*n : layer*n]
				for g, d := range before {
					if math.IsInf(d, 1) {
						continue
					}
					if d += here + way(int32(g), h, s.rates[layer]); d < dist[h] {
						dist[h], via[h] = d, int32(g)
					}
				}
			}
			if layer == k-1 {
				for _, t := range b.wanted {
					q := &m.requests[t]
					if ways := m.between(h, q.to); len(ways) > 0 {
						dist[h] += q.rate / total * (s.rates[k]*ways[0].cost + hurry*ways[0].delay)
					} else {
						dist[h] = math.Inf(1)
					}
				}
			}
		}
	}
	last := int32(-1)
	least := math.Inf(1)
	for h, d := range b.dist[(k-1)*n : k*n] {
		if d < least {
			last, least = int32(h), d
		}
	}
	for layer := k - 1; layer >= 0 && last >= 0; layer-- {
		place[at+layer] = last
		last = b.from[layer*n+int(last)]
	}
}

// occupy takes from the repair what a replica would take of its wanted traffic.
func (b *neighbours) occupy(place []int32, serviceNumber, replica int) {
	m, s := b.m, &b.m.services[serviceNumber]
	total := 0.0
	for _, t := range b.wanted {
		total += m.requests[t].rate
	}
	hosts := place[s.at(replica) : s.at(replica)+len(s.functions)]
	for k, h := range hosts {
		b.free[h] -= total * s.rates[k] * m.functions[s.functions[k]].perMbps
		if k > 0 {
			if ways := m.between(hosts[k-1], h); len(ways) > 0 {
				for _, l := range ways[0].links {
					b.free[l] -= total * s.rates[k]
				}
			}
		}
	}
}
