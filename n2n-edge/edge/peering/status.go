package peering

import (
	"fmt"
	"net/netip"
	"time"

	"sonic-netservices/internal/n2n"
)

// Status is what people are told.
type Status struct {
	Registered bool           `json:"registered"`
	Refused    string         `json:"refused,omitempty"`
	Supernode  netip.AddrPort `json:"supernode"`
	Local      netip.AddrPort `json:"local"`
	Public     netip.AddrPort `json:"public"`
	NAT        string         `json:"nat"`
	Address    netip.Prefix   `json:"address"`
	Supernodes []SupernodeStatus
	Peers      []PeerStatus
}

// SupernodeStatus is one line about a supernode.
type SupernodeStatus struct {
	Addr    netip.AddrPort `json:"addr"`
	Name    string         `json:"name,omitempty"`
	MAC     string         `json:"mac,omitempty"`
	Current bool           `json:"current"`
	Public  netip.AddrPort `json:"public"`
	RTT     time.Duration  `json:"rtt_ns"`
	Version string         `json:"version,omitempty"`
	Uptime  uint32         `json:"uptime_s,omitempty"`
}

// PeerStatus is one line about a peer.
type PeerStatus struct {
	MAC     string         `json:"mac"`
	Address netip.Prefix   `json:"address"`
	Desc    string         `json:"desc,omitempty"`
	Path    string         `json:"path"` // direct or relay
	Addr    netip.AddrPort `json:"addr"` // direct: where to; else where the supernode sees it
	Why     string         `json:"why,omitempty"`
	Ours    bool           `json:"ours"`
	NAT     string         `json:"nat"`
	RTT     time.Duration  `json:"rtt_ns,omitempty"`
}

// Status tells what the machine knows, peers in the order of their MACs.
func (m *Machine) Status(now time.Time) Status {
	s := Status{Registered: m.registered, Refused: m.refused, Supernode: m.currentAddr(), Local: m.local, NAT: m.NAT().String()}
	if !m.subnet.WantsAddress() {
		s.Address = m.subnet.Prefix()
	}
	if m.looped && !m.registered {
		s.Refused = "a route leads to the supernode through the overlay itself"
	}
	if m.current != nil {
		s.Public = m.current.public
	}
	for _, n := range m.supernodes {
		one := SupernodeStatus{Addr: n.addr, Name: n.name, Current: n == m.current, Public: n.public, RTT: n.rtt, Version: n.version, Uptime: n.uptime}
		if !n.mac.IsZero() {
			one.MAC = n.mac.String()
		}
		s.Supernodes = append(s.Supernodes, one)
	}
	for _, mac := range m.sortedPeers() {
		p := m.peers[mac]
		one := PeerStatus{MAC: mac.String(), Desc: p.desc.String(), Path: "relay", Addr: p.public, Why: m.why(now, p), Ours: p.ours,
			NAT: p.nat.String(), RTT: p.rtt}
		if p.subnet.Bits > 0 {
			one.Address = p.subnet.Prefix()
		}
		if p.direct.IsValid() {
			one.Path, one.Addr = "direct", p.direct
		}
		s.Peers = append(s.Peers, one)
	}
	return s
}

// why says what keeps a peer from being direct, "" when it is.
func (m *Machine) why(now time.Time, p *peer) string {
	own := m.NAT()
	switch {
	case p.direct.IsValid():
		return ""
	case m.cfg.Relayed:
		return "this edge sends by the supernode only"
	case !m.registered:
		return "this edge is not registered"
	case !p.public.IsValid():
		return "no supernode has told where it is"
	case p == m.fanned:
		return fmt.Sprintf("this edge is behind a symmetric NAT: a fan of %d sockets is open to the peer", p.fan.opened)
	case p.draw.left > 0:
		return fmt.Sprintf("the peer is behind a symmetric NAT: drawing its ports, %d left", p.draw.left)
	case p.tries < len(rounds):
		return fmt.Sprintf("punching: %d rounds without an answer", p.tries)
	case own == n2n.NATSymmetric && p.nat == n2n.NATSymmetric:
		return "both are behind a symmetric NAT"
	case own == n2n.NATSymmetric && p.nat != n2n.NATNone && p.nat != n2n.NATFull:
		return "this edge is behind a symmetric NAT, and the peer's NAT lets in only who was sent to" + m.fanFailed(now, p)
	case p.nat == n2n.NATSymmetric && own != n2n.NATNone && own != n2n.NATFull:
		return "the peer is behind a symmetric NAT, and ours lets in only who was sent to" + m.drawFailed(p)
	case p.knocks:
		return "one way only: its REGISTERs arrive here, ours are not answered"
	}
	return fmt.Sprintf("no answer from %v in %d rounds: a firewall, or a NAT that changes ports", p.public, p.tries)
}

// fanFailed says what fans have to do with it that there is no straight way.
func (m *Machine) fanFailed(now time.Time, p *peer) string {
	switch {
	case m.cfg.Fan == 0:
		return "; fans are off here"
	case !p.draws:
		return "; the peer looks for no fans"
	case p.fan.attempts > 0:
		return fmt.Sprintf("; fans without success: %d, the next one in %v", p.fan.attempts, max(p.fan.next.Sub(now), 0).Round(time.Second))
	}
	return ""
}

// drawFailed is fanFailed at the other end.
func (m *Machine) drawFailed(p *peer) string {
	switch {
	case m.cfg.Draws == 0:
		return "; draws are off here"
	case !p.draw.next.IsZero():
		return fmt.Sprintf("; %d ports drawn without success", m.cfg.Draws)
	}
	return ""
}

// Supernode is the current one's address; invalid: there is none.
func (m *Machine) Supernode() netip.AddrPort { return m.currentAddr() }
