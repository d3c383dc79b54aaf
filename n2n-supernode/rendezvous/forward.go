package rendezvous

import (
	"time"

	"sonic-netservices/internal/n2n"
)

// forward passes a PACKET on: to the edge its frame is for, or to all of the community. Payloads are not looked at.
func (w *Worker) forward(out *Out) Refusal {
	p := &w.packet
	if err := p.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	if p.TTL == 0 {
		return Refusal(n2n.ReasonTTL)
	}
	src, why := w.sender(p.Src)
	if why != accepted {
		return why
	}
	p.TTL--
	p.Flags |= n2n.FromSupernode
	if w.peer == nil {
		p.Sock = w.from.Addr
	}
	to := w.community.edges.get(p.Dst)
	if to == nil && w.peer != nil && !p.Dst.IsBroadcast() {
		return NoRoute // no second hop
	}
	start := len(out.Bytes)
	out.Bytes = p.AppendHeader(out.Bytes)
	n := len(out.Bytes) - start
	out.Bytes = append(out.Bytes, p.Payload...)
	w.seal(out, start, n, n2n.Jittered)
	switch {
	case p.Dst.IsBroadcast():
		sent := 0
		for _, e := range w.community.all(w.m) {
			if e.mac != p.Src {
				out.send(e.to(), start)
				sent++
			}
		}
		w.count.broadcast.Add(uint64(sent))
		if w.peer == nil {
			w.toPeers(out, start)
		}
	case to != nil:
		out.send(to.to(), start)
		w.count.forwarded.Add(1)
		src.relay(w.now)
	default:
		if why := w.toPlace(out, start, p.Dst); why != accepted {
			return why
		}
		src.relay(w.now)
	}
	return accepted
}

// relay counts what an edge did not send straight.
func (e *edge) relay(now time.Time) {
	if e != nil {
		e.relayed.Add(1)
		e.relayedAt.Store(now.UnixNano())
	}
}

// handshake passes on a REGISTER that an edge sends to another by way of its supernode.
func (w *Worker) handshake(out *Out) Refusal {
	r := &w.register
	if err := r.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	if r.TTL == 0 {
		return Refusal(n2n.ReasonTTL)
	}
	src, why := w.sender(r.Src)
	if why != accepted {
		return why
	}
	if src != nil && src.learn(r.Rest) {
		w.m.mu.Lock()
		w.m.touch(src)
		w.m.mu.Unlock()
	}
	to := w.community.edges.get(r.Dst)
	if to == nil && w.peer != nil {
		return NoRoute
	}
	r.TTL--
	r.Flags |= n2n.FromSupernode
	if w.peer == nil {
		r.Sock = w.from.Addr
	}
	start := len(out.Bytes)
	out.Bytes = r.Append(out.Bytes)
	w.seal(out, start, len(out.Bytes)-start, n2n.Ordered)
	if to == nil {
		return w.toPlace(out, start, r.Dst)
	}
	out.send(to.to(), start)
	w.count.forwarded.Add(1)
	return accepted
}

// sender checks who a PACKET or REGISTER comes from: a supernode, or the edge that it names.
func (w *Worker) sender(src n2n.MAC) (*edge, Refusal) {
	if w.peer != nil {
		return nil, accepted
	}
	return w.edgeAt(src)
}

// toPlace sends what an edge has for one that is not registered here to the supernode it is at, or to all of them.
func (w *Worker) toPlace(out *Out, start int, dst n2n.MAC) Refusal {
	if !w.m.federal.any() {
		out.Bytes = out.Bytes[:start]
		return NoRoute
	}
	if at := w.community.elsewhere.get(dst); at != nil && at.alive(w.now) {
		out.send(at.path, start)
		w.count.toPeers.Add(1)
		return accepted
	}
	if w.toPeers(out, start) == 0 {
		out.Bytes = out.Bytes[:start]
		return NoRoute
	}
	return accepted
}

// toPeers sends it to all supernodes that are there, and says how many.
func (w *Worker) toPeers(out *Out, start int) (sent int) {
	for _, p := range *w.m.federal.peers.Load() {
		if p.alive(w.now) {
			out.send(p.path, start)
			sent++
		}
	}
	w.count.toPeers.Add(uint64(sent))
	return sent
}

// all gives the edges of the community as they are now. The slice is not to be changed.
func (c *community) all(m *Machine) []*edge {
	if list := c.members.Load(); list != nil {
		return *list
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*edge, 0, c.edges.live)
	for e := range c.edges.all {
		list = append(list, e)
	}
	c.members.Store(&list)
	return list
}
