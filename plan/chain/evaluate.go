package chain

import (
	"cmp"
	"math"
	"slices"
)

// solution is what searches vary: where the functions of each replica are, and how requests are split.
type solution struct {
	place  []int32   // by place: host
	shares []uint8   // by request and replica: of units; adds up to units for each request. Nil: as it is cheapest
	rank   []float64 // by request: factor of its cost in the order of admission; nil: 1. Small goes first
}

func (s *solution) copy(from *solution) {
	s.place = append(s.place[:0], from.place...)
	if from.shares != nil {
		s.shares = append(s.shares[:0], from.shares...)
	}
	if from.rank != nil {
		s.rank = append(s.rank[:0], from.rank...)
	}
}

// outcome is what a solution is worth.
type outcome struct {
	accepted int
	moved    int     // functions that left their home
	cost     float64 // eq. 4
	fitness  float64 // eq. 17, and moves
	delay    float64 // ms, of accepted requests together
}

// splitting is what becomes of a request's shares.
type splitting int

const (
	lazily     splitting = iota // one replica if one has room, the largest share first; else the shares
	statically                  // the shares, always
	cheaply                     // the cheapest replica with room; else what fits on each, the cheapest first
)

// evaluator works solutions out, one after the other. What it keeps from one to the next changes no result.
type evaluator struct {
	loads
	split    splitting
	profiles []profile // by service and replica
	keys     []float64 // by request: cost of admission
	order    []int32   // of admission
	served   []bool    // by request
	choice   []int32   // replicas in the order to try
	ways     []uint8
}

// profile is a replica of a service, worked out for 1 Mbit/s that enters it.
type profile struct {
	hosts   []int32
	uses    []use
	links   float64 // ms
	cost    float64 // computing and links between its functions
	fixed   float64 // cost of its instances
	whole   bool    // its functions reach each other
	charged bool    // somebody uses it
	scarce  int     // of uses: the one that had no room the last time
}

type use struct {
	resource int32
	amount   float64
}

func newEvaluator(m *model, split splitting, guarded bool) *evaluator {
	e := &evaluator{split: split, profiles: make([]profile, len(m.services)*m.replicas), keys: make([]float64, len(m.requests)),
		order: make([]int32, len(m.requests)), served: make([]bool, len(m.requests)), choice: make([]int32, m.replicas)}
	e.loads = loads{m: m, free: make([]float64, len(m.free)), guarded: guarded, limit: make([]float64, m.nodes), through: make([][]int32, m.nodes)}
	for i := range e.order {
		e.order[i] = int32(i)
	}
	slices.SortStableFunc(e.order, func(a, b int32) int { return m.first(a) - m.first(b) })
	return e
}

// first is 0 for a request that is served already, else 1.
func (m *model) first(t int32) int {
	if m.requests[t].served {
		return 0
	}
	return 1
}

// evaluate is algorithm 1, lines 4 to 17: request after request, what has no room or is late is rejected.
func (e *evaluator) evaluate(s *solution) outcome {
	m := e.m
	e.reset()
	e.ways = e.ways[:0]
	for i := range m.services {
		for r := range m.replicas {
			e.settle(i, r, s.place)
		}
	}
	if m.batch && e.split == cheaply {
		e.sort(s.rank)
	}
	var o outcome
	for _, t := range e.order {
		before := len(e.streams)
		e.served[t] = e.admit(t, s.shares)
		if !e.served[t] {
			o.fitness += m.requests[t].weight
			continue
		}
		o.accepted++
		latest := 0.0
		for i := before; i < len(e.streams); i++ {
			o.cost += e.streams[i].cost
			latest = max(latest, e.delay(&e.streams[i]))
		}
		o.delay += latest
	}
	for i := range e.profiles {
		if e.profiles[i].charged {
			o.cost += e.profiles[i].fixed
		}
	}
	for i, h := range m.home {
		if h >= 0 && h != s.place[i] {
			o.moved++
		}
	}
	o.fitness += o.cost + m.move*float64(o.moved)
	return o
}

// settle works a replica out, unless it is where it was.
func (e *evaluator) settle(serviceNumber, replica int, place []int32) {
	m, s := e.m, &e.m.services[serviceNumber]
	p := &e.profiles[serviceNumber*m.replicas+replica]
	p.charged = false
	at := s.at(replica)
	hosts := place[at : at+len(s.functions)]
	if len(p.hosts) == len(hosts) {
		same := true
		for k, h := range hosts {
			same = same && p.hosts[k] == h
		}
		if same {
			return
		}
	}
	p.hosts = append(p.hosts[:0], hosts...)
	p.uses, p.links, p.cost, p.fixed, p.whole, p.scarce = p.uses[:0], 0, 0, 0, true, 0
	for k, h := range hosts {
		f := &m.functions[s.functions[k]]
		need := f.perMbps * s.rates[k]
		p.use(h, need)
		p.cost += need * m.price[h]
		p.fixed += f.fixed
		if k == 0 {
			continue
		}
		ways := m.between(hosts[k-1], h)
		if len(ways) == 0 {
			p.whole = false
			return
		}
		for _, l := range ways[0].links {
			p.use(l, s.rates[k])
		}
		p.links += ways[0].delay
		p.cost += ways[0].cost * s.rates[k]
	}
}

func (p *profile) use(resource int32, amount float64) {
	for i := range p.uses {
		if p.uses[i].resource == resource {
			p.uses[i].amount += amount
			return
		}
	}
	p.uses = append(p.uses, use{resource, amount})
}

// marginal is what a request costs on a replica by its first paths, +Inf: there is no way.
func (e *evaluator) marginal(t int32, replica int) float64 {
	m := e.m
	q := &m.requests[t]
	s := &m.services[q.service]
	p := &e.profiles[int(q.service)*m.replicas+replica]
	if !p.whole {
		return math.Inf(1)
	}
	in, out := m.between(q.from, p.hosts[0]), m.between(p.hosts[len(p.hosts)-1], q.to)
	if len(in) == 0 || len(out) == 0 {
		return math.Inf(1)
	}
	return q.rate * (in[0].cost + p.cost + out[0].cost*s.rates[len(s.functions)])
}

// sort puts the cheapest requests first. The order of the last solution is nearly right, so insertion is quick.
func (e *evaluator) sort(rank []float64) {
	for t := range e.keys {
		least := math.Inf(1)
		for r := range e.m.replicas {
			least = min(least, e.marginal(int32(t), r))
		}
		if rank != nil {
			least *= rank[t]
		}
		e.keys[t] = least
	}
	for i := 1; i < len(e.order); i++ {
		t := e.order[i]
		j := i
		for ; j > 0; j-- {
			o := e.order[j-1]
			if cmp.Or(cmp.Compare(e.m.first(o), e.m.first(t)), cmp.Compare(e.keys[o], e.keys[t]), cmp.Compare(o, t)) < 0 {
				break
			}
			e.order[j] = o
		}
		e.order[j] = t
	}
}

// admit takes what a request needs; false, and nothing taken, when it cannot be served.
func (e *evaluator) admit(t int32, shares []uint8) bool {
	replicas := e.m.replicas
	var mine []uint8
	if shares != nil {
		mine = shares[int(t)*replicas : int(t+1)*replicas]
	}
	for i := range e.choice {
		e.choice[i] = int32(i)
	}
	switch e.split {
	case statically:
		return e.admitShares(t, mine)
	case lazily:
		e.by(func(r int32) float64 { return -float64(mine[r]) })
	case cheaply:
		var costs [mostReplicas]float64
		for r := range replicas {
			costs[r] = e.marginal(t, r)
			if p := &e.profiles[int(e.m.requests[t].service)*replicas+r]; !p.charged {
				costs[r] += p.fixed
			}
		}
		e.by(func(r int32) float64 { return costs[r] })
	}
	for _, r := range e.choice {
		if e.admitStream(t, r, units) {
			return true
		}
	}
	if replicas == 1 {
		return false
	}
	if e.split == lazily {
		return e.admitShares(t, mine)
	}
	return e.admitParts(t)
}

func (e *evaluator) by(key func(r int32) float64) {
	for i := 1; i < len(e.choice); i++ {
		for j := i; j > 0 && key(e.choice[j]) < key(e.choice[j-1]); j-- {
			e.choice[j], e.choice[j-1] = e.choice[j-1], e.choice[j]
		}
	}
}

// admitShares splits a request as its shares say.
func (e *evaluator) admitShares(t int32, shares []uint8) bool {
	undo, streams, ways := len(e.undo), len(e.streams), len(e.ways)
	var opened [mostReplicas]bool
	for r, share := range shares {
		if share == 0 {
			continue
		}
		p := &e.profiles[int(e.m.requests[t].service)*e.m.replicas+r]
		opened[r] = !p.charged
		if !e.admitStream(t, int32(r), int32(share)) {
			e.dismiss(t, undo, streams, ways, &opened)
			return false
		}
	}
	return true
}

// admitParts puts as much of a request on each replica as there is room for, the cheapest first.
func (e *evaluator) admitParts(t int32) bool {
	undo, streams, ways := len(e.undo), len(e.streams), len(e.ways)
	var opened [mostReplicas]bool
	left := int32(units)
	for _, r := range e.choice {
		p := &e.profiles[int(e.m.requests[t].service)*e.m.replicas+int(r)]
		part := min(left, e.room(t, r))
		if part == 0 {
			continue
		}
		fresh := !p.charged
		if !e.admitStream(t, r, part) {
			continue
		}
		opened[r] = fresh
		if left -= part; left == 0 {
			return true
		}
	}
	e.dismiss(t, undo, streams, ways, &opened)
	return false
}

func (e *evaluator) dismiss(t int32, undo, streams, ways int, opened *[mostReplicas]bool) {
	e.leave(streams)
	e.back(undo)
	e.ways = e.ways[:ways]
	for r := range e.m.replicas {
		if opened[r] {
			e.profiles[int(e.m.requests[t].service)*e.m.replicas+r].charged = false
		}
	}
}

// room is how many units of a request its replica has room for, by its nodes and its own first links.
func (e *evaluator) room(t, r int32) int32 {
	q := &e.m.requests[t]
	p := &e.profiles[int(q.service)*e.m.replicas+int(r)]
	if !p.whole {
		return 0
	}
	most := 1.0
	for _, u := range p.uses {
		if u.amount > 0 {
			most = min(most, (e.free[u.resource]+e.m.slack[u.resource])/(u.amount*q.rate))
		}
	}
	return int32(max(0, most) * units)
}

// admitStream puts so many units of a request on a replica; false, and nothing taken, when there is no room or no time.
func (e *evaluator) admitStream(t, r, share int32) bool {
	m := e.m
	q := &m.requests[t]
	s := &m.services[q.service]
	p := &e.profiles[int(q.service)*m.replicas+int(r)]
	if !p.whole {
		return false
	}
	in, out := m.between(q.from, p.hosts[0]), m.between(p.hosts[len(p.hosts)-1], q.to)
	if len(in) == 0 || len(out) == 0 {
		return false
	}
	undo, ways := len(e.undo), len(e.ways)
	rate, behind := q.rate*float64(share)/units, s.rates[len(s.functions)]
	if u := p.uses[p.scarce]; u.amount*rate > e.free[u.resource]+m.slack[u.resource] && (m.tries == 1 || int(u.resource) < m.nodes) {
		return false // what had no room for another one has none for this
	}
	st := stream{request: t, replica: r, share: share, hosts: p.hosts, ways: -1}
	if e.open(s, p) && e.takeFirst(p, in[0], out[0], rate, behind) {
		st.delay = in[0].delay + p.links + out[0].delay
		st.cost = rate * (in[0].cost + p.cost + out[0].cost*behind)
	} else if e.back(undo); m.tries == 1 || !e.open(s, p) || !e.takeOther(s, p, q, rate, &st) {
		e.back(undo)
		e.ways = e.ways[:ways]
		return false
	}
	if !e.inTime(st) {
		e.back(undo)
		e.ways = e.ways[:ways]
		return false
	}
	p.charged = true
	return true
}

// open takes what the instances of a replica need, if nobody has before.
func (e *evaluator) open(s *service, p *profile) bool {
	if p.charged {
		return true
	}
	for k, h := range p.hosts {
		if reserve := e.m.functions[s.functions[k]].reserve; reserve > 0 && !e.take(h, reserve) {
			return false
		}
	}
	return true
}

// takeFirst takes a stream's needs along the first path of each piece.
func (e *evaluator) takeFirst(p *profile, in, out path, rate, behind float64) bool {
	for i, u := range p.uses {
		if !e.take(u.resource, u.amount*rate) {
			p.scarce = i
			return false
		}
	}
	return e.takeAll(in.links, rate) && e.takeAll(out.links, rate*behind)
}

// takeOther takes a stream's needs piece by piece, each along the first path with room.
func (e *evaluator) takeOther(s *service, p *profile, q *request, rate float64, st *stream) bool {
	st.ways = int32(len(e.ways))
	from := q.from
	for k := 0; k <= len(p.hosts); k++ {
		to := q.to
		if k < len(p.hosts) {
			to = p.hosts[k]
		}
		found := false
		for i, way := range e.m.between(from, to) {
			undo := len(e.undo)
			if found = e.takeAll(way.links, rate*s.rates[k]); found {
				e.ways = append(e.ways, uint8(i))
				st.delay += way.delay
				st.cost += rate * s.rates[k] * way.cost
				break
			}
			e.back(undo)
		}
		if !found {
			return false
		}
		if k < len(p.hosts) {
			need := rate * s.rates[k] * e.m.functions[s.functions[k]].perMbps
			if !e.take(to, need) {
				return false
			}
			st.cost += need * e.m.price[to]
		}
		from = to
	}
	return true
}
