package rendezvous

import "sonic-netservices/internal/n2n"

// registerSuper takes an edge in, keeps it, gives it an address, or refuses it.
func (w *Worker) registerSuper(out *Out) Refusal {
	r := &w.super
	if err := r.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	if w.federal {
		return w.registerPeer(out)
	}
	if w.peer != nil {
		return w.registeredElsewhere(out)
	}
	if !w.m.limit.allow(w.from.Addr.Addr(), w.now) {
		return TooMany
	}
	var why Refusal
	if w.community == nil {
		if w.community, why = w.m.community(r.Community); why != accepted {
			return why
		}
		defer w.m.forget(w.community) // unless an edge stays
		if !w.community.holds(ClearHeader) {
			return WrongHeader
		}
	}
	if why := w.login(); why != accepted {
		return why
	}
	if r.MAC.IsZero() {
		return w.draw(out)
	}
	if r.MAC[0]&1 != 0 || r.MAC == w.m.config.MAC {
		return BadMAC
	}
	if w.loops() {
		return Loop
	}
	e, why := w.admit()
	if why == Taken {
		w.reply(out, w.from, n2n.Ordered, &n2n.RegisterSuperNak{Header: w.ours(), Cookie: r.Cookie, MAC: r.MAC})
	}
	if why != accepted {
		return why
	}
	w.count.registered.Add(1)
	w.acknowledge(out, e)
	w.relayRegistration(out)
	return accepted
}

// loops says whether the edge comes from an address inside the overlay: its packets to the supernode go through the overlay,
// whose packets go to the supernode. Refused, it tries again, by then perhaps straight.
func (w *Worker) loops() bool {
	ip := w.from.Addr.Addr()
	if !ip.Is4() {
		return false
	}
	return ip.As4() == w.super.Subnet.Addr || w.community.byAddress[ip.As4()] != nil
}

// admit finds the edge that registers, or makes it, and writes down what it says of itself.
func (w *Worker) admit() (*edge, Refusal) {
	r, c := &w.super, w.community
	e, other := c.edges.get(r.MAC), (*edge)(nil)
	if !r.Subnet.WantsAddress() {
		if other = c.byAddress[r.Subnet.Addr]; other == e {
			other = nil
		}
	}
	for _, had := range []*edge{e, other} {
		if had == nil {
			continue
		}
		if !w.mayReplace(had) {
			return nil, Taken
		}
		if why := w.fresh(had); why != accepted {
			return nil, why
		}
	}
	if e == nil && other == nil && w.m.edges >= w.m.config.MaxEdges {
		return nil, Full
	}
	isNew := e == nil
	if isNew {
		e = &edge{mac: r.MAC, community: c, first: w.m.age(w.now)}
		if other != nil {
			e.replay.restore(other.replay.latest())
		} else if why := w.fresh(e); why != accepted {
			return nil, why
		}
	}
	if other != nil { // its address goes to e
		w.m.drop(other)
	}
	w.describe(e)
	if isNew {
		w.m.add(e)
		c.settle(w.headerHere())
	}
	c.elsewhere.remove(r.MAC)
	return e, accepted
}

// mayReplace says whether the edge that registers may be the one that is known by its MAC or address.
func (w *Worker) mayReplace(had *edge) bool {
	return sameHolder(&had.auth, &w.super.Auth) || w.m.config.AnyToken ||
		w.m.config.Takeover && had.to().Addr.Addr() == w.from.Addr.Addr()
}

// describe writes what the registration says into the edge.
func (w *Worker) describe(e *edge) {
	r := &w.super
	subnet := r.Subnet
	if subnet.WantsAddress() {
		subnet = w.community.assign(w, e, r.Desc)
	}
	p := e.path.Load()
	e.confirmed = p != nil && *p == w.from
	if !e.confirmed {
		from := w.from
		e.path.Store(&from)
	}
	if e.learn(r.Rest) || !e.confirmed || subnet != e.subnet || r.Desc != e.desc || r.Sock != e.local() || !sameHolder(&r.Auth, &e.auth) {
		w.m.touch(e)
	}
	w.community.setSubnet(e, subnet)
	e.setLocal(r.Sock)
	e.desc, e.auth, e.cookie, e.seen = r.Desc, r.Auth, r.Cookie, w.m.age(w.now)
}

// acknowledge tells an edge that it is in, and of the other supernodes once it has come again the same way.
func (w *Worker) acknowledge(out *Out, e *edge) {
	ack := &w.ack
	*ack = w.yes()
	if w.super.Subnet.WantsAddress() {
		ack.Subnet = e.subnet
	}
	if e.confirmed {
		w.list = w.m.federal.list(w.list[:0], w.from, w.now)
		ack.Supernodes = w.list
	}
	w.reply(out, w.from, n2n.Ordered, ack)
}

// yes is the ACK of the registration at hand. Of a user it proves that this supernode knows the secret, and brings the key.
func (w *Worker) yes() n2n.RegisterSuperAck {
	ack := n2n.RegisterSuperAck{Header: w.ours(), Cookie: w.super.Cookie, MAC: w.m.config.MAC, Lifetime: ackLifetime, Sock: w.from.Addr}
	if w.secret != nil {
		ack.Auth, _ = w.secret.Answer(&w.super.Auth, w.community.dynamic.Load().key) // login has checked the token
	}
	return ack
}

// draw gives an address to who has no device yet. Nothing is kept but that the address is promised.
func (w *Worker) draw(out *Out) Refusal {
	if !w.super.Subnet.WantsAddress() {
		return BadMAC
	}
	ack := w.yes()
	ack.Subnet = w.community.assign(w, nil, w.super.Desc)
	if ack.Subnet.WantsAddress() {
		return Full
	}
	w.count.drawn.Add(1)
	w.reply(out, w.from, n2n.Ordered, &ack)
	return accepted
}

// unregisterSuper takes an edge off that says that it ends.
func (w *Worker) unregisterSuper() Refusal {
	var r n2n.UnregisterSuper
	if err := r.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	if w.peer != nil || w.community == nil {
		return NotForUs
	}
	e := w.community.edges.get(r.MAC)
	switch {
	case e == nil:
		return Unregistered
	case !sameHolder(&e.auth, &r.Auth) || e.auth.Scheme == n2n.AuthLogin && e.to() != w.from:
		return WrongToken
	}
	if why := w.fresh(e); why != accepted {
		return why
	}
	w.m.drop(e)
	w.m.forget(w.community)
	return accepted
}
