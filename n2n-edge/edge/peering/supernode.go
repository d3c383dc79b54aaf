package peering

import (
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
)

// supernode is one that the edge may register at.
type supernode struct {
	addr    netip.AddrPort
	name    string // as configured; "" when another supernode told us
	mac     n2n.MAC
	public  netip.AddrPort // of this edge, as this supernode sees it
	pinged  time.Time      // when an answer is due; zero when not
	pong    time.Time      // the last answer, to anything
	rtt     time.Duration  // smoothed; 0: not known
	failed  time.Time      // it did not answer a registration
	version string
	fast    bool // takes bursts
	load    uint32
	uptime  uint32
}

func (m *Machine) currentAddr() netip.AddrPort {
	if m.current == nil {
		return netip.AddrPort{}
	}
	return m.current.addr
}

func (m *Machine) supernodeAt(a netip.AddrPort) *supernode {
	for _, s := range m.supernodes {
		if s.addr == a {
			return s
		}
	}
	return nil
}

// Resolved gives the addresses of a name; the first that is not inside the overlay counts. None means that the name could
// not be resolved: an address that is known stays.
func (m *Machine) Resolved(now time.Time, name string, addrs []netip.AddrPort) {
	if s := m.named(name); s != nil && slices.Contains(addrs, s.addr) {
		return // names with several addresses give them in any order
	}
	for _, a := range addrs {
		if m.inside(a) {
			m.Counts.Loop++
			continue
		}
		s := m.named(name)
		if s == nil || m.supernodeAt(a) != nil {
			m.learn(now, a, name)
			break
		}
		m.note("the supernode moved", "name", name, "from", s.addr, "to", a)
		if s == m.current {
			m.leave()
		}
		s.addr = a
		m.listSupernodes()
		if s == m.current {
			m.use(now, s)
		}
		break
	}
	m.tickSupernodes(now)
}

func (m *Machine) named(name string) *supernode {
	for _, s := range m.supernodes {
		if s.name == name {
			return s
		}
	}
	return nil
}

// learn adds a supernode, if it is a new one.
func (m *Machine) learn(now time.Time, a netip.AddrPort, name string) *supernode {
	if s := m.supernodeAt(a); s != nil {
		if s.name == "" {
			s.name = name
		}
		return s
	}
	if len(m.supernodes) >= maxSupernodes {
		return nil
	}
	s := &supernode{addr: a, name: name}
	m.supernodes = append(m.supernodes, s)
	m.listSupernodes()
	if m.mayPing() {
		m.ping(now, s)
	}
	return s
}

// mayPing says whether supernodes answer questions: those of communities with users do so after a login only.
func (m *Machine) mayPing() bool { return m.registered || m.cfg.Secret == nil }

func (m *Machine) listSupernodes() {
	var list []netip.AddrPort
	for _, s := range m.supernodes {
		list = append(list, s.addr)
	}
	m.do(Supernodes{list})
}

func (m *Machine) tickSupernodes(now time.Time) {
	if len(m.supernodes) == 0 {
		return
	}
	if !now.Before(m.sweepAt) && m.mayPing() {
		m.sweepAt = now.Add(sweep)
		m.choose(now)
		for _, s := range m.supernodes {
			m.ping(now, s)
		}
	}
	if m.current == nil {
		best := m.best(now)
		pick := m.supernodes[0]
		switch {
		case best != nil:
			pick = best
		case m.cfg.Secret == nil && len(m.names) > 1 && now.Sub(m.started) < bootstrap:
			return
		}
		m.use(now, pick)
	}
	if now.Before(m.nextTry) {
		return
	}
	if m.waiting {
		m.tries++
		m.misses++
		if m.tries >= attempts {
			m.giveUp(now)
		}
		if m.misses > 0 && m.misses%rebindAt == 0 {
			m.note("no supernode answers: another socket", "registrations", m.misses)
			m.do(Rebind{})
			m.lookUp(now)
		}
	}
	m.register(now)
}

// use makes s the current supernode and registers there at once.
func (m *Machine) use(now time.Time, s *supernode) {
	m.current, m.waiting, m.tries, m.nextTry = s, false, 0, now
	m.do(LookAround{s.addr})
}

// leave says goodbye to the current supernode.
func (m *Machine) leave() {
	if m.registered {
		u := n2n.UnregisterSuper{Header: m.header, Auth: m.auth(), MAC: m.cfg.MAC}
		m.send(m.current.addr, u.Append(nil))
	}
	m.registered = false
	m.relay(netip.AddrPort{})
}

// relay says by whom frames without a straight way go.
func (m *Machine) relay(to netip.AddrPort) {
	if to != m.relayed {
		m.relayed = to
		m.do(Relay{to, to.IsValid() && m.current.fast})
	}
}

// giveUp goes on to the next supernode.
func (m *Machine) giveUp(now time.Time) {
	old := m.current
	old.failed, old.rtt, old.pinged = now, 0, time.Time{}
	if m.registered {
		m.note("the supernode does not answer", "supernode", old.addr)
	}
	m.registered = false
	m.relay(netip.AddrPort{})
	m.lookUp(now)
	next := m.best(now)
	if next == nil || next == old {
		for i, s := range m.supernodes {
			if s == old {
				next = m.supernodes[(i+1)%len(m.supernodes)]
			}
		}
	}
	m.use(now, next)
}

func (m *Machine) register(now time.Time) {
	m.cookie = uint32(m.random.Uint64())
	r := n2n.RegisterSuper{Header: m.header, Cookie: m.cookie, MAC: m.cfg.MAC, Sock: m.cfg.Preferred, Subnet: m.subnet,
		Desc: m.cfg.Desc, Auth: m.auth(), Rest: m.ours(nil)}
	if m.subnet.WantsAddress() {
		r.MAC, r.Subnet = n2n.MAC{}, n2n.Subnet{}
	}
	m.waiting, m.sentAt, m.nextTry = true, now, now.Add(min(retry, m.cfg.Interval))
	m.send(m.current.addr, r.Append(nil))
}

func (m *Machine) registerAck(now time.Time, from netip.AddrPort, a *n2n.RegisterSuperAck) {
	s := m.supernodeAt(from)
	if !m.waiting || s == nil || s != m.current || a.Cookie != m.cookie {
		m.Counts.Cookie++
		return
	}
	if m.cfg.Secret != nil {
		key, err := m.cfg.Secret.DynamicKey(&a.Auth, m.challenge)
		if err != nil {
			m.malformed(err)
			return
		}
		if key != m.dynamic {
			m.dynamic = key
			m.do(Key{key})
		}
	}
	m.heardSupernode(now, s, now.Sub(m.sentAt))
	s.mac = a.MAC
	m.waiting, m.tries, m.misses, m.refused = false, 0, 0, ""
	for i := range a.Supernodes.Len() {
		if other, err := a.Supernodes.At(i); err == nil && m.acceptable(other.Addr) {
			m.learn(now, other.Addr, "")
		}
	}
	if m.subnet.WantsAddress() {
		m.nextTry = now.Add(retry)
		if a.Subnet.WantsAddress() || a.Subnet.Bits > 30 {
			m.note("the supernode gives no address", "supernode", from)
			return
		}
		m.subnet = a.Subnet
		m.do(Assign{m.subnet})
		m.register(now)
		return
	}
	m.nextTry = now.Add(m.cfg.Interval)
	m.seenAs(s, a.Sock)
	if m.registered {
		return
	}
	m.registered = true
	if len(m.supernodes) == 1 { // ours name the others to who comes again only
		m.nextTry = now.Add(min(retry, m.cfg.Interval))
	}
	if m.cfg.Secret != nil { // from now on they answer questions
		m.sweepAt = now
	}
	m.note("registered", "supernode", from, "public", a.Sock)
	m.relay(from)
	m.do(Announce{})
	if m.announced {
		for _, mac := range m.sortedPeers() {
			m.ask(now, m.peers[mac])
		}
	}
	m.announced = true
}

func (m *Machine) registerNak(now time.Time, from netip.AddrPort, a *n2n.RegisterSuperNak) {
	if !m.waiting || from != m.currentAddr() || a.Cookie != m.cookie {
		m.Counts.Cookie++
		return
	}
	m.heardSupernode(now, m.current, now.Sub(m.sentAt))
	why := "another edge holds this MAC or address there, with another token"
	if m.cfg.Secret != nil {
		why = "user or password is wrong, or another edge holds this MAC or address"
	}
	if m.refused == "" {
		m.note("refused by the supernode", "supernode", from, "why", why)
	}
	m.refused = why
	m.waiting, m.misses, m.nextTry = false, 0, now.Add(m.cfg.Interval)
	if m.registered {
		m.registered = false
		m.relay(netip.AddrPort{})
	}
}

func (m *Machine) ping(now time.Time, s *supernode) {
	q := n2n.QueryPeer{Header: m.header, Src: m.cfg.MAC, Rest: (&n2n.Ours{OtherPort: true}).Append(nil)}
	if s.pinged.IsZero() {
		s.pinged = now
	}
	m.send(s.addr, q.Append(nil))
}

func (m *Machine) pong(now time.Time, from netip.AddrPort, p *n2n.PeerInfo) {
	s := m.supernodeAt(from)
	if s.pinged.IsZero() {
		m.Counts.Cookie++
		return
	}
	m.heardSupernode(now, s, now.Sub(s.pinged))
	s.pinged = time.Time{}
	s.mac, s.load, s.uptime, s.version = p.Src, p.Load, p.Uptime, p.Version.String()
	if o, _ := n2n.ParseOurs(p.Rest); o.Fast != s.fast {
		s.fast = o.Fast
		if s == m.current && m.registered {
			m.do(Relay{s.addr, s.fast})
		}
	}
	m.seenAs(s, p.Sock)
	if m.current == nil {
		m.tickSupernodes(now)
	}
}

func (m *Machine) heardSupernode(now time.Time, s *supernode, rtt time.Duration) {
	s.pong, s.failed = now, time.Time{}
	if s.rtt == 0 {
		s.rtt = rtt
	} else {
		s.rtt = (3*s.rtt + rtt) / 4
	}
	s.rtt = max(s.rtt, 1)
}

// best is the supernode with the shortest round trip; nil when none has answered lately.
func (m *Machine) best(now time.Time) (best *supernode) {
	for _, s := range m.supernodes {
		if s.rtt > 0 && s.failed.IsZero() && now.Sub(s.pong) < forgetPong && (best == nil || s.rtt < best.rtt) {
			best = s
		}
	}
	return best
}

// choose changes to a supernode that is a good deal nearer than the current one: by a fifth, and by 2 ms.
func (m *Machine) choose(now time.Time) {
	best := m.best(now)
	if m.current == nil || best == nil || best == m.current || m.subnet.WantsAddress() {
		return
	}
	if old := m.current.rtt; old > 0 && (best.rtt > old*4/5 || best.rtt > old-2*time.Millisecond) {
		return
	}
	m.note("a nearer supernode", "supernode", best.addr, "rtt", best.rtt, "before", m.current.addr, "rtt before", m.current.rtt)
	m.leave()
	m.use(now, best)
}

// seenAs is what a supernode says of our address.
func (m *Machine) seenAs(s *supernode, public netip.AddrPort) {
	if !m.inside(public) {
		s.public = public
	}
}

// NAT is what can be said of the way to the supernodes.
func (m *Machine) NAT() n2n.NAT {
	var one netip.AddrPort
	seen := 0
	for _, s := range m.supernodes {
		switch {
		case !s.public.IsValid() || s.public.Addr().Is4() != m.localFamily():
			continue
		case seen > 0 && s.public != one:
			return n2n.NATSymmetric
		}
		one = s.public
		seen++
	}
	switch {
	case seen == 0:
		return n2n.NATUnknown
	case one == m.local:
		return n2n.NATNone
	case m.fullCone:
		return n2n.NATFull
	case seen == 1:
		return n2n.NATUnknown
	}
	return n2n.NATRestricted
}

// localFamily says whether the current way to supernodes is IPv4: addresses of the other family say nothing about its NAT.
func (m *Machine) localFamily() bool { return !m.local.IsValid() || m.local.Addr().Is4() }
