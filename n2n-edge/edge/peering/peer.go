package peering

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
)

// peer is another edge of the community.
type peer struct {
	mac     n2n.MAC
	subnet  n2n.Subnet
	desc    n2n.Desc
	ours    bool // it runs our program
	fast    bool
	paced   bool // it runs ntop's
	draws   bool // it tries ports by chance, if it is told of a fan
	nat     n2n.NAT
	seen    time.Time        // the last word, over any way
	used    time.Time        // the last frame, to it or from it
	wanted  time.Time        // the last frame to it
	asked   time.Time        // the supernode, for it
	open    bool             // there is no answer yet
	public  netip.AddrPort   // as a supernode sees it
	others  []netip.AddrPort // where else it says it is
	targets []netip.AddrPort // where REGISTERs went since punching began

	// punching
	tries  int // rounds of REGISTERs without an answer
	nextAt time.Time
	guess  int  // ports guessed so far
	knocks bool // its REGISTERs arrive here
	fan    fan
	draw   draw

	// direct
	direct netip.AddrPort
	rank   n2n.Rank
	heard  time.Time // over the direct way
	sentAt time.Time // the REGISTER whose answer tells the round trip
	rtt    time.Duration
}

// rounds are the pauses after each round of REGISTERs; the last one goes on as long as the peer is in use.
var rounds = [...]time.Duration{500 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 20 * time.Second}

// maxTargets is how many addresses of a peer are remembered: answers from others are not taken.
const maxTargets = 16

// answerIn is how long the answer may take where a peer is. It has no cookie: unasked, it could come from anybody.
const answerIn = 5 * time.Second

// guessFrom is the round from which ports are guessed.
const guessFrom = 2

// known gives a peer, a new one if there is room. Nobody is their own peer.
func (m *Machine) known(now time.Time, mac n2n.MAC) *peer {
	if mac == m.cfg.MAC || mac.IsZero() || mac.IsBroadcast() {
		m.Counts.NotForUs++
		return nil
	}
	p := m.peers[mac]
	if p == nil {
		if len(m.peers) >= maxPeers || m.strangers >= maxStrangers {
			m.Counts.Full++
			return nil
		}
		p = &peer{mac: mac}
		m.peers[mac] = p
		m.strangers++
	}
	p.seen = now
	return p
}

func (m *Machine) sortedPeers() []n2n.MAC {
	list := make([]n2n.MAC, 0, len(m.peers))
	for mac := range m.peers {
		list = append(list, mac)
	}
	slices.SortFunc(list, func(a, b n2n.MAC) int { return bytes.Compare(a[:], b[:]) })
	return list
}

func (m *Machine) tickPeers(now time.Time) {
	purge := !now.Before(m.purgeAt)
	if purge {
		m.purgeAt = now.Add(forget / 2)
	}
	for _, mac := range m.sortedPeers() {
		p := m.peers[mac]
		switch {
		case purge && now.Sub(p.seen) >= forget && now.Sub(p.used) >= forget:
			m.drop(p)
		case p.direct.IsValid():
			m.tickDirect(now, p)
		case !p.nextAt.IsZero() && !now.Before(p.nextAt) && now.Sub(p.used) < forget:
			m.round(now, p)
		}
		if p.fan.to.IsValid() || !p.direct.IsValid() {
			m.tickFan(now, p)
			m.tickDraw(now, p)
		}
	}
}

// tickDirect looks whether a direct way still works while it is in use.
func (m *Machine) tickDirect(now time.Time, p *peer) {
	quiet, rests := now.Sub(p.heard), silence
	if p.fan.to == p.direct { // another fan is dearer than to keep this way
		rests = fanRest
	}
	switch {
	case now.Sub(p.used) >= rests && quiet >= silence:
		// Nobody speaks. The way is tried again with the next frame; until then it rests.
		if quiet >= forget {
			m.loseDirect(p)
		}
	case quiet >= silence:
		m.note("peer fell silent: by the supernode", "peer", p.mac, "addr", p.direct)
		m.loseDirect(p)
		m.ask(now, p)
		m.punch(now, p)
	case quiet >= keepalive && now.Sub(p.sentAt) >= keepalive/2 && now.Sub(p.used) < rests:
		m.registerTo(now, p, p.direct, p.rank, 0)
	}
}

func (m *Machine) drop(p *peer) {
	m.fold(p)
	m.pace(p, false)
	if p.direct.IsValid() {
		m.do(Route{MAC: p.mac})
	} else {
		m.strangers--
	}
	delete(m.peers, p.mac)
}

func (m *Machine) loseDirect(p *peer) {
	if !p.direct.IsValid() {
		return
	}
	p.direct, p.rank, p.rtt, p.knocks = netip.AddrPort{}, 0, 0, false
	m.strangers++
	m.do(Route{MAC: p.mac})
	m.fold(p)
}

// Relayed says that a PACKET came by a supernode, which had it from that address. Say it for the first one of a peer, and
// once a second as long as more come.
func (m *Machine) Relayed(now time.Time, src n2n.MAC, public netip.AddrPort) {
	p := m.known(now, src)
	if p == nil {
		return
	}
	p.used = now
	m.found(now, p, public)
}

// Heard says that a PACKET came straight from a peer. Say it for the first one, for each from another address, and once a
// second as long as more come.
func (m *Machine) Heard(now time.Time, src n2n.MAC, from netip.AddrPort) {
	p := m.known(now, src)
	if p == nil {
		return
	}
	p.used = now
	if p.direct == from {
		p.heard = now
		return
	}
	m.knocked(now, p, from)
}

// Wanted says that a frame went to a peer, by the supernode or straight. Say it for the first one, and once a second as
// long as more go.
func (m *Machine) Wanted(now time.Time, dst n2n.MAC) {
	p := m.peers[dst]
	if p == nil {
		if p = m.known(now, dst); p == nil {
			return
		}
	}
	fresh := now.Sub(p.used) >= silence
	p.used, p.wanted = now, now
	if p.direct.IsValid() {
		if quiet := now.Sub(p.heard); fresh && quiet >= silence { // it rested; whether it still works has to be seen
			m.loseDirect(p)
			m.ask(now, p)
			m.punch(now, p)
		}
		return
	}
	m.ask(now, p)
	if p.nextAt.IsZero() && p.public.IsValid() {
		m.punch(now, p)
	}
}

// ask has the supernode tell where a peer is, and tell the peer where we are.
func (m *Machine) ask(now time.Time, p *peer) {
	if m.cfg.Relayed || !m.registered || p.direct.IsValid() || !p.asked.IsZero() && now.Sub(p.asked) < m.cfg.Interval {
		return
	}
	p.asked, p.open = now, true
	m.forwarded(p)
	q := n2n.QueryPeer{Header: m.header, Src: m.cfg.MAC, Target: p.mac}
	m.send(m.current.addr, q.Append(nil))
}

// forwarded sends a REGISTER by the supernode: the peer then opens its NAT towards us.
func (m *Machine) forwarded(p *peer) {
	if m.registered {
		m.send(m.current.addr, m.registration(p, n2n.RankForwarded))
	}
}

func (m *Machine) registration(p *peer, rank n2n.Rank) []byte {
	r := n2n.Register{Header: m.header, Rank: rank, Src: m.cfg.MAC, Dst: p.mac, Sock: m.cfg.Preferred, Subnet: m.subnet,
		Desc: m.cfg.Desc, Rest: m.ours(p)}
	return r.Append(nil)
}

// registerTo sends a REGISTER straight to an address.
func (m *Machine) registerTo(now time.Time, p *peer, to netip.AddrPort, rank n2n.Rank, ttl int) {
	if !slices.Contains(p.targets, to) && len(p.targets) < maxTargets {
		p.targets = append(p.targets, to)
	}
	p.sentAt = now
	m.do(Send{To: to, Message: m.registration(p, rank), TTL: ttl})
}

// found begins to punch when it is news where a peer is, or when that was too long ago.
func (m *Machine) found(now time.Time, p *peer, public netip.AddrPort) {
	if !public.IsValid() {
		return
	}
	if !m.acceptable(public) {
		m.Counts.Loop++
		return
	}
	news, moved := p.public != public, p.public.IsValid() && p.public != public
	p.public = public
	if moved { // or started again: nobody is where it was
		m.loseDirect(p)
		m.fold(p)
	}
	if m.cfg.Relayed || p.direct.IsValid() {
		return
	}
	if news || p.nextAt.IsZero() {
		m.punch(now, p)
	}
}

// punch begins a series of rounds.
func (m *Machine) punch(now time.Time, p *peer) {
	if m.cfg.Relayed {
		return
	}
	p.tries, p.guess, p.targets = 0, 0, p.targets[:0]
	m.round(now, p)
	if p.asked != now {
		m.forwarded(p)
	}
}

// round sends REGISTERs to all addresses where a peer may be.
func (m *Machine) round(now time.Time, p *peer) {
	pause := rounds[min(p.tries, len(rounds)-1)]
	p.nextAt = now.Add(pause)
	for _, a := range p.others {
		m.registerTo(now, p, a, n2n.RankLocal, 0)
	}
	if p.public.IsValid() {
		m.registerTo(now, p, p.public, n2n.RankRegular, 0)
		if p.tries >= guessFrom && p.guess < m.cfg.Ports && p.nat != n2n.NATNone && p.nat != n2n.NATFull {
			m.guessPorts(now, p)
		}
	}
	if p.tries == guessFrom || p.tries >= len(rounds)-1 {
		m.forwarded(p)
	}
	p.tries++
}

// guessPorts tries the ports behind the one the peer was seen at: a NAT that gives every receiver another one mostly counts
// on.
func (m *Machine) guessPorts(now time.Time, p *peer) {
	n := min(m.cfg.Ports-p.guess, 16)
	for i := range n {
		port := int(p.public.Port()) + 1 + p.guess + i
		if port > 65535 {
			break
		}
		m.do(Send{To: netip.AddrPortFrom(p.public.Addr(), uint16(port)), Message: m.registration(p, n2n.RankPort)})
	}
	p.guess += n
	p.sentAt = now
}

// peerRegister deals with a REGISTER.
func (m *Machine) peerRegister(now time.Time, from netip.AddrPort, r *n2n.Register) {
	relayed := r.Flags&n2n.FromSupernode != 0
	if r.Dst != m.cfg.MAC && (relayed || !r.Dst.IsZero()) {
		m.Counts.NotForUs++
		return
	}
	p := m.known(now, r.Src)
	if p == nil {
		return
	}
	var o n2n.Ours
	if relayed || from == p.direct || !p.direct.IsValid() || now.Sub(p.heard) >= keepalive { // else it is said by the way that works
		p.subnet, p.desc = r.Subnet, r.Desc
		o = m.learnOurs(p, r.Rest, !relayed)
	}
	if relayed {
		if o.Fan {
			m.beginDraw(now, p)
		}
		p.used = now // who asks for us is about to send
		if p.direct.IsValid() && r.Rank == n2n.RankForwarded && now.Sub(p.heard) >= keepalive {
			m.loseDirect(p) // it lost its way to us; so did we, perhaps
		}
		m.found(now, p, r.Sock)
		return
	}
	if m.cfg.Relayed {
		return
	}
	if !m.acceptable(from) {
		m.Counts.Loop++
		return
	}
	if !p.sentTo(from) && p.direct != from {
		m.unsolicited(from)
	}
	a := n2n.RegisterAck{Header: m.header, Rank: r.Rank, Dst: r.Src, Src: m.cfg.MAC, Rest: m.ours(p)}
	to := from
	if r.Sock.IsValid() && m.acceptable(r.Sock) { // the socket it prefers
		to = r.Sock
	}
	m.send(to, a.Append(nil))
	p.knocks = true
	if p.direct == from {
		p.heard = now
		return
	}
	m.knocked(now, p, from)
}

// knocked answers somebody who came straight, from an address that is not the direct one: by a REGISTER of our own, whose
// answer decides.
func (m *Machine) knocked(now time.Time, p *peer, from netip.AddrPort) {
	if m.cfg.Relayed || !m.acceptable(from) {
		return
	}
	if p.direct.IsValid() && now.Sub(p.heard) < keepalive {
		return // it has several ways to us, and ours works
	}
	if now.Sub(p.sentAt) < 100*time.Millisecond && slices.Contains(p.targets, from) {
		return
	}
	rank := n2n.RankRegular
	if slices.Contains(p.others, from) {
		rank = n2n.RankLocal
	}
	if p.nextAt.IsZero() {
		p.nextAt = now.Add(rounds[0])
	}
	m.registerTo(now, p, from, rank, 0)
}

// sentTo says whether we have sent to that address' host since punching began: its NAT may have changed the port.
func (p *peer) sentTo(a netip.AddrPort) bool {
	for _, t := range p.targets {
		if t.Addr() == a.Addr() {
			return true
		}
	}
	return p.public.Addr() == a.Addr()
}

// unsolicited notes that somebody came in to whom we had sent nothing.
func (m *Machine) unsolicited(from netip.AddrPort) {
	for _, other := range m.peers {
		if other.sentTo(from) {
			return
		}
	}
	m.fullCone = true
}

// peerAck deals with the answer to a REGISTER: the way works, in both directions.
func (m *Machine) peerAck(now time.Time, from netip.AddrPort, a *n2n.RegisterAck) {
	if a.Dst != m.cfg.MAC {
		m.Counts.NotForUs++
		return
	}
	p := m.peers[a.Src]
	if p == nil || m.cfg.Relayed || !p.sentTo(from) {
		m.Counts.Cookie++
		return
	}
	if !m.acceptable(from) {
		m.Counts.Loop++
		return
	}
	m.learnOurs(p, a.Rest, true)
	p.seen = now
	if rtt := now.Sub(p.sentAt); !p.sentAt.IsZero() && rtt < keepalive {
		if p.rtt == 0 {
			p.rtt = rtt
		}
		p.rtt = max((3*p.rtt+rtt)/4, 1)
	}
	if p.direct.IsValid() && p.direct != from && a.Rank <= p.rank && now.Sub(p.heard) < silence {
		return
	}
	p.heard = now
	if p.direct == from {
		return
	}
	if !p.direct.IsValid() {
		m.strangers--
	}
	p.direct, p.rank, p.tries, p.nextAt = from, a.Rank, 0, time.Time{}
	m.fanEnds(p)
	m.note("direct", "peer", p.mac, "addr", from)
	m.do(Route{p.mac, from, p.fast})
}

// peerInfo deals with a supernode's answer where a peer is.
func (m *Machine) peerInfo(now time.Time, i *n2n.PeerInfo) {
	p := m.peers[i.MAC]
	if p == nil || !p.open || now.Sub(p.asked) > answerIn {
		m.Counts.Cookie++
		return
	}
	p.seen, p.open = now, false
	if i.Preferred.IsValid() && m.acceptable(i.Preferred) && !slices.Contains(p.others, i.Preferred) && len(p.others) < n2n.MaxAddrs {
		p.others = append(p.others, i.Preferred)
		p.public = netip.AddrPort{} // all addresses are tried anew
	}
	m.found(now, p, i.Sock)
}

// learnOurs reads what our own programs tell. A peer that says nothing of the kind is ntop's, or is by now; but not when it speaks
// by a supernode, which may be ntop's and pass on only what it knows.
func (m *Machine) learnOurs(p *peer, rest []byte, straight bool) n2n.Ours {
	o, ok := n2n.ParseOurs(rest)
	if straight || ok || m.current != nil && m.current.fast { // a supernode of ours passes on all there is
		m.pace(p, !ok)
	}
	if !ok && !straight {
		return o
	}
	p.ours, p.nat, p.draws = ok, o.NAT, o.Draws
	if p.fast != o.Fast {
		p.fast = o.Fast
		if p.direct.IsValid() {
			m.do(Route{p.mac, p.direct, p.fast})
		}
	}
	if !ok {
		return o
	}
	p.others = p.others[:0]
	for _, a := range o.Addrs() {
		if m.acceptable(a) && !m.ownNumber(a) {
			p.others = append(p.others, a)
		}
	}
	return o
}

func (m *Machine) pace(p *peer, on bool) {
	if p.paced != on {
		p.paced = on
		m.do(Pace{p.mac, on})
	}
}

// ownNumber says whether an address of the peer's network is an address of this host, too: private networks are numbered
// alike.
func (m *Machine) ownNumber(a netip.AddrPort) bool { return slices.Contains(m.addrs, a.Addr()) }
