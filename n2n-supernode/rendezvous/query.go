package rendezvous

import "sonic-netservices/internal/n2n"

// queryPeer says where an edge is, or that this supernode is there. Who asks for an edge must be one, too.
func (w *Worker) queryPeer(out *Out) Refusal {
	q := &w.query
	if err := q.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	switch {
	case q.Target.IsZero() && w.peer == nil:
		return w.pong(out)
	case w.community == nil:
		return UnknownCommunity
	case w.peer != nil: // another supernode asks for an edge of its own
		if e := w.community.edges.get(q.Target); e != nil {
			w.tell(out, e)
			return accepted
		}
		return NoRoute
	case q.TTL == 0:
		return Refusal(n2n.ReasonTTL)
	}
	if _, why := w.edgeAt(q.Src); why != accepted {
		return why
	}
	w.count.queries.Add(1)
	if e := w.community.edges.get(q.Target); e != nil {
		w.tell(out, e)
		return accepted
	}
	q.TTL--
	q.Flags |= n2n.FromSupernode
	start := len(out.Bytes)
	out.Bytes = q.Append(out.Bytes)
	w.seal(out, start, len(out.Bytes)-start, n2n.Jittered)
	return w.toPlace(out, start, q.Target)
}

// tell answers with the address of an edge.
func (w *Worker) tell(out *Out, e *edge) {
	w.reply(out, w.from, n2n.Jittered, &n2n.PeerInfo{Header: w.ours(), Src: w.query.Src, MAC: e.mac, Sock: e.to().Addr, Preferred: e.local()})
}

// pong answers a ping: edges choose their supernode by it, before they are registered anywhere.
func (w *Worker) pong(out *Out) Refusal {
	if w.community == nil {
		if _, ok := w.m.config.Communities.entry(w.query.Community); !ok {
			return UnknownCommunity
		}
	}
	if !w.m.limit.allow(w.from.Addr.Addr(), w.now) {
		return TooMany
	}
	o, ours := n2n.ParseOurs(w.query.Rest)
	w.count.pings.Add(1)
	info := n2n.PeerInfo{Header: w.ours(), Src: w.m.config.MAC, Sock: w.from.Addr, Load: uint32(w.m.edges),
		Uptime: uint32(w.now.Sub(w.m.started).Seconds()), Version: n2n.VersionTextOf(w.m.config.Version)}
	if ours {
		info.Rest = w.m.self
	}
	w.reply(out, w.from, n2n.Jittered, &info)
	if ours && o.OtherPort && w.from.Conn == 0 && w.m.limit.allow(w.from.Addr.Addr(), w.now) {
		twice := out.Sends[len(out.Sends)-1]
		twice.OtherPort = true
		out.Sends = append(out.Sends, twice)
	}
	return accepted
}

// peerInfo passes another supernode's answer on to the edge that asked.
func (w *Worker) peerInfo(out *Out) Refusal {
	i := &w.info
	if err := i.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	if w.peer == nil || w.community == nil {
		return NotForUs
	}
	e := w.community.edges.get(i.Src)
	switch {
	case e == nil:
		return NoRoute
	case i.TTL == 0:
		return Refusal(n2n.ReasonTTL)
	}
	i.TTL--
	w.reply(out, e.to(), n2n.Jittered, i)
	return accepted
}
