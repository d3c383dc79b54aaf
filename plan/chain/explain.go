package chain

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
)

// explainer turns what the evaluator has worked out into actions and words.
type explainer struct {
	view *plan.View
	p    *Problem
	Result
}

func (x *explainer) why() []string {
	opened, split := 0, 0
	for i := range x.evaluator.profiles {
		if x.evaluator.profiles[i].charged {
			opened++
		}
	}
	for i := 1; i < len(x.evaluator.streams); i++ {
		if x.evaluator.streams[i].request == x.evaluator.streams[i-1].request {
			split++
		}
	}
	order := "in the order of arrival"
	if x.p.Batch {
		order = "cheap ones first"
	}
	why := []string{
		fmt.Sprintf("%d of %d requests are served, %s; cost %.6g", x.Accepted, len(x.p.Requests), order, x.Cost),
		fmt.Sprintf("%d replicas of %d services, at most %d each; %d further streams by splitting, by flow", opened, len(x.p.Services), x.model.replicas, split),
	}
	if x.Late > 0 {
		why = append(why, fmt.Sprintf("%d of them miss their deadline once all are in: this method looks at it only as each is admitted", x.Late))
	}
	if len(x.p.Running) > 0 {
		why = append(why, fmt.Sprintf("%d functions of running replicas move, at %.6g each", x.Moved, x.model.move))
	}
	return why
}

// actions lead to the solution: first what is placed, moved or resized, then routes, last what is taken away.
func (x *explainer) actions() []plan.Action {
	m, e := x.model, x.evaluator
	var first, last []plan.Action
	load := make([]float64, m.places)
	for i := range e.streams {
		st := &e.streams[i]
		q := &m.requests[st.request]
		s := &m.services[q.service]
		for k := range s.functions {
			load[s.at(int(st.replica))+k] += q.rate * float64(st.share) / units * s.rates[k] * m.functions[s.functions[k]].perMbps
		}
	}
	before := x.before()
	for i, s := range x.p.Services {
		sv := &m.services[i]
		for r := range m.replicas {
			profile := &e.profiles[i*m.replicas+r]
			for k, name := range s.Functions {
				at := sv.at(r) + k
				a := plan.Action{Subject: fmt.Sprintf("%s/%d/%s", s.Name, r, name)}
				home := m.home[at]
				if !profile.charged {
					if home >= 0 {
						a.Kind, a.From, a.Amount = plan.Remove, x.view.Nodes[home].Name, netmap.Demand{netmap.Compute: before[at]}
						last = append(last, a)
					}
					continue
				}
				host := x.view.Nodes[profile.hosts[k]].Name
				need := load[at] + m.functions[sv.functions[k]].reserve
				a.To, a.Amount = host, netmap.Demand{netmap.Compute: need}
				a.Needs = []plan.Need{{Node: host, Kind: netmap.Compute, Amount: need}}
				switch {
				case home < 0:
					a.Kind = plan.Place
				case home == profile.hosts[k]:
					a.Kind, a.Before = plan.Resize, netmap.Demand{netmap.Compute: before[at]}
				default:
					a.Kind, a.From = plan.Migrate, x.view.Nodes[home].Name
				}
				first = append(first, a)
			}
		}
	}
	for i := range e.streams {
		first = append(first, x.route(&e.streams[i]))
	}
	return append(first, last...)
}

// before is what the functions of running replicas take, by place.
func (x *explainer) before() map[int]float64 {
	takes := map[int]float64{}
	for _, run := range x.p.Running {
		for i, s := range x.p.Services {
			if s.Name == run.Service {
				for k, amount := range run.Takes {
					takes[x.model.services[i].at(run.Replica)+k] = amount
				}
			}
		}
	}
	return takes
}

// route is the way of a stream, from cloud to cloud.
func (x *explainer) route(st *stream) plan.Action {
	m := x.model
	q := &m.requests[st.request]
	s := &m.services[q.service]
	rate := q.rate * float64(st.share) / units
	a := plan.Action{Kind: plan.Route, Subject: x.p.Requests[st.request].Name, Rate: rate, Path: []string{x.view.Nodes[q.from].Name}}
	if st.share < units {
		a.Share = float64(st.share) / units
	}
	need := map[int32]float64{}
	var used []int32
	at := q.from
	for k := 0; k <= len(st.hosts); k++ {
		to := q.to
		if k < len(st.hosts) {
			to = st.hosts[k]
			a.Hosts = append(a.Hosts, x.view.Nodes[to].Name)
		}
		way := 0
		if st.ways >= 0 {
			way = int(x.evaluator.ways[int(st.ways)+k])
		}
		for _, resource := range m.between(at, to)[way].links {
			if _, known := need[resource]; !known {
				used = append(used, resource)
			}
			need[resource] += rate * s.rates[k]
			link := x.view.Links[int(resource)-m.nodes]
			next := link.A
			if a.Path[len(a.Path)-1] == link.A {
				next = link.B
			}
			a.Path = append(a.Path, next)
		}
		at = to
	}
	for _, resource := range used {
		link := x.view.Links[int(resource)-m.nodes]
		a.Needs = append(a.Needs, plan.Need{LinkA: link.A, LinkB: link.B, Amount: need[resource]})
	}
	return a
}

// refused says of each request that is not served what it lacks, and what would let it in beside all others.
func (x *explainer) refused() []plan.Infeasible {
	var all []plan.Infeasible
	for t, served := range x.evaluator.served {
		if served {
			continue
		}
		r := plan.Infeasible{What: "request " + x.p.Requests[t].Name}
		r.Because, r.Relax = x.lacks(int32(t))
		all = append(all, r)
	}
	return all
}

// lacks tries a request again, without its deadline, then with less traffic, then with more of what is short.
func (x *explainer) lacks(t int32) (because, relax string) {
	m, e := x.model, x.evaluator
	q := &m.requests[t]
	was := *q
	defer func() { *q = was }()
	if because, relax = x.apart(t); because != "" {
		return because, relax
	}
	service := x.p.Services[q.service].Name
	q.deadline = math.Inf(1)
	if late, ok := x.trial(t); ok {
		return fmt.Sprintf("no replica of %s answers within %.4g ms, nor do all of them together", service, was.deadline),
			fmt.Sprintf("a deadline of %.4g ms", math.Ceil(late*100)/100)
	}
	q.deadline = was.deadline
	because = fmt.Sprintf("no replica of %s has room for %.4g Mbit/s, nor do all of them together", service, q.rate)
	var shorts []shortage
	for i := range e.choice {
		all, why := x.short(t, int32(i))
		if why != "" {
			because += fmt.Sprintf("; replica %d: %s", i, why)
		}
		if len(all) == 1 {
			shorts = append(shorts, all[0])
		}
	}
	for tenths := 9; tenths > 0; tenths-- {
		q.rate = was.rate * float64(tenths) / 10
		if _, ok := x.trial(t); ok {
			return because, fmt.Sprintf("a rate of %.4g Mbit/s", q.rate)
		}
	}
	q.rate = was.rate
	slices.SortStableFunc(shorts, func(a, b shortage) int { return cmp.Compare(a.missing(), b.missing()) })
	for _, s := range shorts {
		if more, ok := x.enough(t, s); ok {
			return because, fmt.Sprintf("%.4g %s more", more, x.named(s.resource))
		}
	}
	return because, ""
}

// enough is how much more of a resource lets a request in, to a hundredth of what it needs: what is missing, or up to twice
// as much, since a node that is full answers nobody in time.
func (x *explainer) enough(t int32, s shortage) (more float64, ok bool) {
	works := func(more float64) bool {
		free, capacity := x.evaluator.free[s.resource], x.model.capacity[s.resource]
		x.evaluator.free[s.resource], x.model.capacity[s.resource] = free+more, capacity+more
		_, ok := x.trial(t)
		x.evaluator.free[s.resource], x.model.capacity[s.resource] = free, capacity
		return ok
	}
	for percent := 0; percent <= 100; percent++ {
		if more = s.missing() + s.needs*float64(percent)/100; works(more) {
			return more, true
		}
	}
	return 0, false
}

// apart says of a request that no choice of nodes could serve: no part of the network has both its ends and a node for
// each of its functions.
func (x *explainer) apart(t int32) (because, relax string) {
	m := x.model
	q := &m.requests[t]
	part, count := m.net.Components()
	if count == 1 {
		return "", ""
	}
	from, to := x.p.Requests[t].From, x.p.Requests[t].To
	if part[q.from] != part[q.to] {
		return fmt.Sprintf("%s and %s are in parts of the network that nothing joins", from, to), fmt.Sprintf("a link between the parts of %s and %s", from, to)
	}
	for _, number := range m.services[q.service].functions {
		allowed := m.functions[number].allowed
		if !slices.ContainsFunc(allowed, func(h int32) bool { return part[h] == part[q.from] }) {
			host := x.view.Nodes[allowed[0]].Name
			return fmt.Sprintf("no node that %s may run on can be reached from %s", x.p.Functions[number].Name, from), fmt.Sprintf("a link between the parts of %s and %s", from, host)
		}
	}
	return "", ""
}

// shortage is a resource of which there is not enough for a request.
type shortage struct {
	resource    int32
	needs, free float64
}

func (s shortage) missing() float64 { return s.needs - s.free }

// named is a resource, after an amount.
func (x *explainer) named(resource int32) string {
	if int(resource) < x.model.nodes {
		return fmt.Sprintf("of %s on %s", netmap.Compute, x.view.Nodes[resource].Name)
	}
	l := x.view.Links[int(resource)-x.model.nodes]
	return fmt.Sprintf("Mbit/s on %s-%s", l.A, l.B)
}

// trial admits a request and takes it back: its delay, and whether there was room.
func (x *explainer) trial(t int32) (delay float64, ok bool) {
	e := x.evaluator
	undo, streams, ways := len(e.undo), len(e.streams), len(e.ways)
	var shares []uint8
	if x.best.shares != nil {
		shares = x.best.shares
	}
	var opened [mostReplicas]bool
	first := int(e.m.requests[t].service) * e.m.replicas
	for r := range e.m.replicas {
		opened[r] = !e.profiles[first+r].charged
	}
	if !e.admit(t, shares) {
		return 0, false
	}
	for i := streams; i < len(e.streams); i++ {
		delay = max(delay, e.delay(&e.streams[i]))
	}
	e.dismiss(t, undo, streams, ways, &opened)
	return delay, true
}

// short is what a request finds too little of on its way through a replica, and the worst of it in words.
func (x *explainer) short(t, r int32) (all []shortage, why string) {
	m, e := x.model, x.evaluator
	q := &m.requests[t]
	p := &e.profiles[int(q.service)*m.replicas+int(r)]
	if !p.whole {
		return nil, "its functions do not reach each other"
	}
	in, out := m.between(q.from, p.hosts[0]), m.between(p.hosts[len(p.hosts)-1], q.to)
	if len(in) == 0 || len(out) == 0 {
		return nil, "there is no way to it and back"
	}
	needs := profile{}
	for _, u := range p.uses {
		needs.use(u.resource, u.amount*q.rate)
	}
	for _, l := range in[0].links {
		needs.use(l, q.rate)
	}
	for _, l := range out[0].links {
		needs.use(l, q.rate*m.services[q.service].rates[len(p.hosts)])
	}
	if !p.charged { // its instances have to be started first
		for k, h := range p.hosts {
			needs.use(h, m.functions[m.services[q.service].functions[k]].reserve)
		}
	}
	least := 1.0
	for _, u := range needs.uses {
		free := max(0, e.free[u.resource])
		if u.amount <= free+m.slack[u.resource] {
			continue
		}
		all = append(all, shortage{u.resource, u.amount, free})
		if share := free / u.amount; share < least || why == "" {
			least = share
			why = fmt.Sprintf("needs %.4g %s, free is %.4g", u.amount, x.named(u.resource), free)
		}
	}
	return all, why
}
