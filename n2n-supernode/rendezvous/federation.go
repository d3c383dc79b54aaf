package rendezvous

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
)

// federation is the supernodes that share their edges.
type federation struct {
	name      string         // without the asterisk
	community n2n.Community  // with it
	key       *n2n.HeaderKey // nil: there is none
	open      bool           // who knows the name is taken in
	token     n2n.Auth
	peers     atomic.Pointer[[]*peer]
	check     time.Time
}

// peer is another supernode.
type peer struct {
	path   Path
	mac    n2n.MAC // zero: it has not answered yet
	fixed  bool    // of the configuration: never forgotten
	seen   atomic.Int64
	replay replay
	cookie uint32 // of what was last asked
	asked  time.Time
}

func (p *peer) alive(now time.Time) bool { return now.UnixNano()-p.seen.Load() < int64(peerLost) }
func (p *peer) heard(now time.Time)      { p.seen.Store(now.UnixNano()) }

// usualFederation is what ntop's supernodes are called if they are not told otherwise.
const usualFederation = "Federation"

func (f *federation) init(c Config, now time.Time) {
	f.peers.Store(&[]*peer{})
	f.name, f.open = c.Federation, c.Federation != ""
	if !f.open {
		f.name = usualFederation
	}
	copy(f.community[:len(f.community)-1], "*"+f.name)
	switch {
	case !f.open && !c.Federate && len(c.Peers) == 0:
		return
	case c.AsNtop:
		// Its -F writes the name over the usual one, but keeps the key that it has made of that.
		var usual n2n.Community
		copy(usual[:], "*"+usualFederation)
		f.community = usual
		copy(f.community[:len(f.community)-1], "*"+f.name+"\x00")
		f.key = n2n.NewHeaderKeyOf(f.community, usual)
	default:
		f.key = n2n.NewHeaderKey(f.community)
	}
	f.token, _ = n2n.AuthOf(n2n.AuthID, c.Token[:]) // 16 bytes fit
	for _, addr := range c.Peers {
		f.add(addr, now).fixed = true
	}
}

// SetPeers puts other addresses of the configuration in force, as names come to mean others. Those that are in it no more are
// forgotten when they fall silent.
func (m *Machine) SetPeers(peers []netip.AddrPort, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.federal.key == nil {
		return
	}
	for _, p := range *m.federal.peers.Load() {
		p.fixed = false
	}
	for _, addr := range peers {
		m.federal.add(addr, now).fixed = true
	}
	m.federal.check = time.Time{} // ask them now
}

// any says whether there is a supernode that packets could go to.
func (f *federation) any() bool { return len(*f.peers.Load()) > 0 }

// peerAt gives the supernode at an address, nil when none is known there.
func (f *federation) peerAt(from Path) *peer {
	for _, p := range *f.peers.Load() {
		if p.path == from {
			return p
		}
	}
	return nil
}

// add takes a supernode in. It counts as silent for so long that it is registered with at once, and soon given up.
func (f *federation) add(addr netip.AddrPort, now time.Time) *peer {
	path := Path{Addr: addr}
	if p := f.peerAt(path); p != nil {
		return p
	}
	p := &peer{path: path}
	p.seen.Store(now.Add(-60 * time.Second).UnixNano())
	list := append(slices.Clone(*f.peers.Load()), p)
	f.peers.Store(&list)
	return p
}

// list adds the supernodes that live to what an ACK tells, but for the one it goes to: ntop would register with itself.
func (f *federation) list(l n2n.SupernodeList, to Path, now time.Time) n2n.SupernodeList {
	for _, p := range *f.peers.Load() {
		if p.path != to && p.alive(now) && !p.mac.IsZero() && l.Len() < n2n.MaxSupernodes {
			l = l.Append(n2n.Supernode{Addr: p.path.Addr, MAC: p.mac})
		}
	}
	return l
}

// tick registers with supernodes that have been silent, and forgets those that stay so.
func (f *federation) tick(m *Machine, now time.Time, w *Worker, out *Out) {
	if f.key == nil || now.Sub(f.check) < peerCheck {
		return
	}
	f.check = now
	list := slices.DeleteFunc(slices.Clone(*f.peers.Load()), func(p *peer) bool { return !p.fixed && !p.alive(now) })
	f.peers.Store(&list)
	w.arrival = arrival{now: now, federal: true, encrypted: true, header: n2n.Header{Community: f.key.Community()}}
	for _, p := range list {
		if now.UnixNano()-p.seen.Load() <= int64(peerQuiet) {
			continue
		}
		p.cookie, p.asked = uint32(w.random.Uint64()), now
		w.reply(out, p.path, n2n.Ordered, &n2n.RegisterSuper{Header: w.ours(), Cookie: p.cookie, MAC: m.config.MAC, Auth: f.token, KeyTime: m.keyTime})
	}
}

// registerPeer takes in another supernode.
func (w *Worker) registerPeer(out *Out) Refusal {
	r, f := &w.super, &w.m.federal
	if r.Flags&n2n.FromSupernode == 0 || r.MAC.IsZero() || r.MAC[0]&1 != 0 || r.MAC == w.m.config.MAC {
		return BadMAC
	}
	p := f.peerAt(w.from)
	if p == nil {
		switch {
		case !f.open:
			return NotSupernode
		case len(*f.peers.Load()) >= n2n.MaxSupernodes:
			return Full
		case !w.m.limit.allow(w.from.Addr.Addr(), w.now):
			return TooMany
		}
		p = f.add(w.from.Addr, w.now)
	}
	if err := p.replay.accept(w.stamp, n2n.StampAt(w.now), n2n.Ordered); err != nil {
		return refusalOf(err)
	}
	p.mac = r.MAC
	p.heard(w.now)
	w.list = f.list(w.list[:0], w.from, w.now)
	w.reply(out, w.from, n2n.Ordered, &n2n.RegisterSuperAck{Header: w.ours(), Cookie: r.Cookie, MAC: w.m.config.MAC,
		Lifetime: ackLifetime, Sock: w.from.Addr, Supernodes: w.list, KeyTime: w.m.keyTime})
	w.m.newKeyTime(w, r.KeyTime, out)
	return accepted
}

// supernodeAck takes the answer of a supernode that this one registered with, and gets to know whom it knows.
func (w *Worker) supernodeAck(out *Out) Refusal {
	var a n2n.RegisterSuperAck
	if err := a.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	switch {
	case w.peer == nil || !w.federal:
		return NotForUs
	case a.Cookie != w.peer.cookie || w.peer.asked.IsZero():
		return Unasked
	}
	w.peer.asked = time.Time{}
	w.peer.mac = a.MAC
	w.peer.heard(w.now)
	for i := range a.Supernodes.Len() {
		s, err := a.Supernodes.At(i)
		if err == nil && s.MAC != w.m.config.MAC && len(*w.m.federal.peers.Load()) < n2n.MaxSupernodes && w.m.federal.isNew(s) {
			w.m.federal.add(s.Addr, w.now)
		}
	}
	w.m.newKeyTime(w, a.KeyTime, out)
	return accepted
}

// isNew says whether a supernode that another one names is to be asked.
func (f *federation) isNew(s n2n.Supernode) bool {
	if !s.Addr.IsValid() || s.Addr.Port() == 0 || s.Addr.Addr().IsUnspecified() || s.Addr.Addr().IsMulticast() {
		return false
	}
	return !slices.ContainsFunc(*f.peers.Load(), func(p *peer) bool { return p.mac == s.MAC || p.path.Addr == s.Addr })
}

// relayRegistration lets the other supernodes know that an edge is here: they hold the same tokens.
func (w *Worker) relayRegistration(out *Out) {
	if !w.m.federal.any() {
		return
	}
	r := w.super
	r.TTL = n2n.DefaultTTL // as ntop
	r.Flags |= n2n.FromSupernode
	r.Sock = w.from.Addr
	start := len(out.Bytes)
	out.Bytes = r.Append(out.Bytes)
	w.seal(out, start, len(out.Bytes)-start, n2n.Ordered)
	if w.toPeers(out, start) == 0 {
		out.Bytes = out.Bytes[:start]
	}
}

// registeredElsewhere hears from another supernode that an edge is there now, and tells it when another token holds it here.
func (w *Worker) registeredElsewhere(out *Out) Refusal {
	r := &w.super
	if w.community == nil || r.MAC.IsZero() {
		return UnknownCommunity
	}
	if why := w.login(); why != accepted {
		return why
	}
	if e := w.community.edges.get(r.MAC); e != nil {
		if !sameHolder(&e.auth, &r.Auth) && !w.m.config.AnyToken {
			w.reply(out, w.from, n2n.Ordered, &n2n.RegisterSuperNak{Header: w.ours(), Cookie: r.Cookie, MAC: r.MAC})
			return Taken
		}
		w.m.drop(e)
	}
	w.community.elsewhere.set(r.MAC, w.peer, w.now)
	return accepted
}

// supernodeNak hears from another supernode that an edge that has just registered here is there with another token.
func (w *Worker) supernodeNak(out *Out) Refusal {
	var n n2n.RegisterSuperNak
	if err := n.Decode(w.bytes); err != nil {
		return refusalOf(err)
	}
	if w.peer == nil || w.community == nil {
		return NotForUs
	}
	e := w.community.edges.get(n.MAC)
	if e == nil || e.cookie != n.Cookie {
		return Unasked
	}
	w.reply(out, e.to(), n2n.Ordered, &n2n.RegisterSuperNak{Header: w.ours(), Cookie: n.Cookie, MAC: n.MAC})
	w.m.drop(e)
	return accepted
}
