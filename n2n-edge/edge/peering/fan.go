package peering

import (
	"net/netip"
	"time"

	"sonic-netservices/internal/n2n"
)

// A NAT that draws a port by chance for each receiver can be left, but not entered: nobody knows the port. If the peer's NAT lets
// in only who was sent to, the two find each other by chance all the same, as two of a few dozen people have one birthday:
//
//	behind the NAT that draws             behind the one that filters
//	a fan: 256 sockets send to the   ──▶  (its NAT drops it)
//	peer, so that 256 ports are open
//	"there is a fan" ──▶ supernode ───▶  draws ports, 2,048 of 64,512, and sends a REGISTER to each
//	one of them is open              ◀──  the answer comes back through that port, in both NATs
//
// 1,024 draws find a port in 98 of 100 cases, 2,048 in more than 99.9.

// fan is the side of who opens sockets.
type fan struct {
	to       netip.AddrPort // where they send; invalid: there is none
	opened   int
	until    time.Time
	toldAt   time.Time // the peer, by the supernode
	attempts int       // that found nothing, since the last one that did
	next     time.Time // no other one before
}

// draw is the side of who tries ports.
type draw struct {
	at, step int // the next port is at + step, modulo all of them: none comes twice
	left     int
	next     time.Time // no other one before
}

const (
	fanFrom   = 4                // rounds without an answer, before there is a fan
	fanLasts  = 10 * time.Second // for the peer to find one of the ports
	fanTell   = 2 * time.Second  // that there is a fan, again
	fanAgain  = 30 * time.Second // after the first that found nothing; twice as long after each further one
	fanSeldom = 5                // how often it gets twice as long
	fanRest   = 10 * time.Minute // for which a way found so is kept though no frames go
	drawAgain = 20 * time.Second // draws of one peer: less than fanAgain

	firstPort = 1024 // NATs leave the ones below to others
	ports     = 1<<16 - firstPort
)

// tickFan begins a fan, opens its sockets bit by bit, and ends it.
func (m *Machine) tickFan(now time.Time, p *peer) {
	f := &p.fan
	switch {
	case p.direct.IsValid():
	case !f.to.IsValid():
		if m.mayFan(now, p) {
			m.fanned = p
			f.to, f.opened, f.until, f.toldAt = p.public, 0, now.Add(fanLasts), now
			m.note("a fan of sockets, as the NAT draws ports by chance", "peer", p.mac, "addr", f.to, "sockets", m.cfg.Fan)
			m.forwarded(p)
		}
	case !now.Before(f.until) || !m.registered:
		f.next = now.Add(fanAgain << min(f.attempts, fanSeldom))
		f.attempts++
		m.fold(p)
		return
	case now.Sub(f.toldAt) >= fanTell:
		f.toldAt = now
		m.forwarded(p)
	}
	if m.fanned != p {
		return
	}
	if n := min(m.cfg.Fan-f.opened, m.budget); n > 0 {
		m.budget -= n
		f.opened += n
		m.do(Fan{f.to, n, m.registration(p, n2n.RankPort)})
	}
}

// mayFan says whether a fan can help: everything else was tried, frames wait, and the peer will look for it. There is one at a
// time, as each takes hundreds of sockets, and of ports of the NAT.
func (m *Machine) mayFan(now time.Time, p *peer) bool {
	return m.cfg.Fan > 0 && m.fanned == nil && m.registered && !m.cfg.Relayed && p.draws && p.tries >= fanFrom &&
		now.Sub(p.used) < silence && !now.Before(p.fan.next) && p.public.Addr().Is4() &&
		m.NAT() == n2n.NATSymmetric && p.nat != n2n.NATSymmetric
}

// fanEnds looks, once a peer is direct, whether that is by its fan.
func (m *Machine) fanEnds(p *peer) {
	p.draw.left = 0
	if p.direct != p.fan.to {
		m.fold(p)
		return
	}
	p.fan.attempts, p.fan.next = 0, time.Time{}
	m.fanned = nil
}

// fold closes a fan, or the way that was found by it.
func (m *Machine) fold(p *peer) {
	if m.fanned == p {
		m.fanned = nil
	}
	if p.fan.to.IsValid() {
		m.do(Fold{p.fan.to})
		p.fan.to = netip.AddrPort{}
	}
}

// beginDraw begins to look for a peer's fan. Who only says that there is one must not make us send to somebody: we do it for a
// peer that frames of ours go to, and seldom.
func (m *Machine) beginDraw(now time.Time, p *peer) {
	d := &p.draw
	if m.cfg.Draws == 0 || m.cfg.Relayed || p.direct.IsValid() || d.left > 0 || now.Before(d.next) || now.Sub(p.wanted) >= silence ||
		m.NAT() == n2n.NATSymmetric || !p.public.Addr().Is4() {
		return
	}
	m.note("drawing ports of a peer whose NAT does", "peer", p.mac, "host", p.public.Addr(), "ports", m.cfg.Draws)
	d.left, d.next, d.at = m.cfg.Draws, now.Add(drawAgain), int(m.random.Uint64()%ports)
	for d.step = 0; d.step%2 == 0 || d.step%3 == 0 || d.step%7 == 0; { // what divides the number of ports would come round early
		d.step = int(m.random.Uint64() % ports)
	}
}

// tickDraw sends to ports of a peer.
func (m *Machine) tickDraw(now time.Time, p *peer) {
	d := &p.draw
	n := min(d.left, m.budget)
	m.budget -= n
	d.left -= n
	for range n {
		d.at = (d.at + d.step) % ports
		m.do(Send{To: netip.AddrPortFrom(p.public.Addr(), uint16(firstPort+d.at)), Message: m.registration(p, n2n.RankPort)})
	}
	if n > 0 {
		p.sentAt = now
	}
}

// tellNAT tells peers without a straight way what NAT we are behind, once that is known: what they try depends on it.
func (m *Machine) tellNAT(now time.Time) {
	nat := m.NAT()
	if nat == m.toldNAT || !m.registered || m.cfg.Relayed {
		return
	}
	m.toldNAT = nat
	if nat == n2n.NATUnknown {
		return
	}
	for _, mac := range m.sortedPeers() {
		if p := m.peers[mac]; !p.direct.IsValid() && now.Sub(p.used) < silence {
			m.forwarded(p)
		}
	}
}
