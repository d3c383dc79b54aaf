package chain

import (
	"context"

	"sonic-netservices/plan/chance"
)

// The settings of the paper's search; the size of a neighbourhood is not said there, nor are the rest below it.
const (
	tabuLength    = 200
	iterations    = 200
	neighbourhood = 30
	elite         = 10 // last bests that crossover takes from
	mostShifts    = 5  // of units, in one neighbour
	delayWeight   = 0.1
)

// tabu search of the paper (algorithm 1). With genes it is TSGA, without TS.
type tabu struct {
	m     *model
	e     *evaluator
	r     *chance.Rand
	genes bool
	watch func(work int, best float64) // told of each iteration

	bests  []solution // the last of them, oldest first
	list   []uint64   // ring of solutions that are tabu
	oldest int
	known  map[uint64]int
}

// run weighs so many solutions and answers with the best.
func (b *tabu) run(ctx context.Context, work int) (best solution, spent int) {
	now, next, trial := b.random(), solution{}, solution{}
	b.known = map[uint64]int{}
	bestWorth := b.worth(&now)
	best.copy(&now)
	b.keep(&best)
	for spent = 1; spent < work && ctx.Err() == nil; {
		nextWorth, found := 0.0, false
		for range min(neighbourhood, work-spent) {
			trial.copy(&now)
			b.vary(&trial)
			worth := b.worth(&trial)
			spent++
			// Aspiration: what is no worse than the best of all may be tabu.
			if (worth <= bestWorth || b.known[key(&trial)] == 0) && (!found || worth < nextWorth) {
				next.copy(&trial)
				nextWorth, found = worth, true
			}
		}
		if found {
			now, next = next, now
			b.forbid(key(&now))
			if nextWorth <= bestWorth {
				bestWorth = nextWorth
				best.copy(&now)
				b.keep(&best)
			}
		}
		b.watch(spent, bestWorth)
	}
	return best, spent
}

// worth is eq. 17; TS weighs delay as well.
func (b *tabu) worth(s *solution) float64 {
	o := b.e.evaluate(s)
	if !b.genes {
		return o.fitness + delayWeight*o.delay
	}
	return o.fitness
}

func (b *tabu) random() solution {
	s := solution{place: make([]int32, b.m.places), shares: make([]uint8, len(b.m.requests)*b.m.replicas)}
	for at := range s.place {
		b.anywhere(&s, at)
	}
	for t := range b.m.requests {
		mine := s.shares[t*b.m.replicas : (t+1)*b.m.replicas]
		if b.genes {
			for range units {
				mine[b.r.IntN(len(mine))]++
			}
			continue
		}
		equally(mine)
	}
	return s
}

// equally splits units; what does not divide goes to the first.
func equally(shares []uint8) {
	for i := range shares {
		shares[i] = uint8((units + len(shares) - 1 - i) / len(shares))
	}
}

// vary makes a neighbour.
func (b *tabu) vary(s *solution) {
	if !b.genes {
		b.moveOne(s)
		return
	}
	switch b.r.IntN(3) {
	case 0:
		b.cross(s)
		b.moveOne(s)
	case 1:
		b.moveOne(s)
	case 2:
		for range 1 + b.r.IntN(mostShifts) {
			b.shift(s)
		}
	}
}

// moveOne puts one function of one replica on another node it may run on.
func (b *tabu) moveOne(s *solution) { b.anywhere(s, b.r.IntN(b.m.places)) }

func (b *tabu) anywhere(s *solution, place int) {
	allowed := b.m.functions[b.m.runs[place]].allowed
	s.place[place] = allowed[b.r.IntN(len(allowed))]
}

// cross takes services and requests from one of the last bests, each with a chance of a half.
func (b *tabu) cross(s *solution) {
	with := &b.bests[b.r.IntN(len(b.bests))]
	for i := range b.m.services {
		if b.r.IntN(2) == 0 {
			from, to := b.m.services[i].at(0), b.m.services[i].at(b.m.replicas)
			copy(s.place[from:to], with.place[from:to])
		}
	}
	for t := range b.m.requests {
		if b.r.IntN(2) == 0 {
			from, to := t*b.m.replicas, (t+1)*b.m.replicas
			copy(s.shares[from:to], with.shares[from:to])
		}
	}
}

// shift splits what two streams of a request have together anew (the paper's dynamic split).
func (b *tabu) shift(s *solution) {
	if b.m.replicas < 2 || len(b.m.requests) == 0 {
		return
	}
	t := b.r.IntN(len(b.m.requests)) * b.m.replicas
	i := b.r.IntN(b.m.replicas)
	j := (i + 1 + b.r.IntN(b.m.replicas-1)) % b.m.replicas
	both := int(s.shares[t+i] + s.shares[t+j])
	n := b.r.IntN(both + 1)
	s.shares[t+i], s.shares[t+j] = uint8(n), uint8(both-n)
}

func (b *tabu) keep(s *solution) {
	if len(b.bests) < elite {
		b.bests = append(b.bests, solution{})
	} else {
		oldest := b.bests[0]
		copy(b.bests, b.bests[1:])
		b.bests[elite-1] = oldest
	}
	b.bests[len(b.bests)-1].copy(s)
}

func (b *tabu) forbid(k uint64) {
	if len(b.list) < tabuLength {
		b.list = append(b.list, k)
	} else {
		if b.known[b.list[b.oldest]]--; b.known[b.list[b.oldest]] == 0 {
			delete(b.known, b.list[b.oldest])
		}
		b.list[b.oldest] = k
		b.oldest = (b.oldest + 1) % tabuLength
	}
	b.known[k]++
}

// key names a whole solution (FNV-1a).
func key(s *solution) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, p := range s.place {
		h = (h ^ uint64(uint32(p))) * 0x100000001b3
	}
	for _, u := range s.shares {
		h = (h ^ uint64(u)) * 0x100000001b3
	}
	return h
}

// roundRobin places the first function of each replica on the next node in turn, and each further one on the node with
// the fewest functions, among those the nearest to the one before it.
func roundRobin(m *model) solution {
	s := solution{place: make([]int32, m.places), shares: make([]uint8, len(m.requests)*m.replicas)}
	count, turn := make([]int, m.nodes), 0
	for r := range m.replicas {
		for i := range m.services {
			sv := &m.services[i]
			for k, number := range sv.functions {
				allowed := m.functions[number].allowed
				host := allowed[turn%len(allowed)]
				if k == 0 {
					turn++
				} else {
					host = m.nearestIdle(s.place[sv.at(r)+k-1], allowed, count)
				}
				count[host]++
				s.place[sv.at(r)+k] = host
			}
		}
	}
	for t := range m.requests {
		equally(s.shares[t*m.replicas : (t+1)*m.replicas])
	}
	return s
}

func (m *model) nearestIdle(from int32, allowed []int32, count []int) int32 {
	best, least, far := allowed[0], -1, 0.0
	for _, h := range allowed {
		ways := m.between(from, h)
		if len(ways) == 0 {
			continue
		}
		if least < 0 || count[h] < least || count[h] == least && ways[0].delay < far {
			best, least, far = h, count[h], ways[0].delay
		}
	}
	return best
}
