package rendezvous

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
)

// Edge is what the supernode knows of an edge, without its token.
type Edge struct {
	Community n2n.Community
	MAC       n2n.MAC
	Name      n2n.Desc
	Address   netip.Prefix   // inside the overlay; invalid: none
	Public    Path           // where it sends from
	Local     netip.AddrPort // its socket in its own network; invalid: it did not say
	Encrypted bool           // its headers
	NAT       n2n.NAT        // as it says of itself
	Relayed   uint64         // PACKETs from it to one other edge that went by here
	RelayedAt time.Time      // the newest of them
	First     time.Time      // it registered
	Seen      time.Time      // its newest REGISTER_SUPER
	Gone      bool           // it is registered no more
}

// view takes an edge as it is now. Called with the lock.
func (e *edge) view(m *Machine) Edge {
	v := Edge{Community: e.community.name, MAC: e.mac, Name: e.desc, Public: e.to(), Local: e.local(),
		Encrypted: Header(e.community.header.Load()) == EncryptedHeader, First: m.started.Add(e.first), Seen: m.started.Add(e.seen)}
	if !e.subnet.WantsAddress() {
		v.Address = e.subnet.Prefix()
	}
	v.NAT, v.Relayed = n2n.NAT(e.nat.Load()), e.relayed.Load()
	if at := e.relayedAt.Load(); at != 0 {
		v.RelayedAt = time.Unix(0, at)
	}
	v.Gone = e.community.edges.get(e.mac) != e
	return v
}

// Edges gives all edges, sorted by community and MAC.
func (m *Machine) Edges() []Edge {
	m.mu.Lock()
	list := make([]Edge, 0, m.edges)
	for _, c := range *m.communities.Load() {
		for e := range c.edges.all {
			list = append(list, e.view(m))
		}
	}
	m.mu.Unlock()
	slices.SortFunc(list, func(a, b Edge) int {
		return cmp.Or(slices.Compare(a.Community[:], b.Community[:]), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return list
}

// Touched gives the edges whose rows have changed since it was last asked.
func (m *Machine) Touched() []Edge {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Edge, len(m.touched))
	for i, e := range m.touched {
		list[i] = e.view(m)
		e.touched = false
	}
	m.touched = m.touched[:0]
	return list
}

// TouchAll has the rows of all edges written again.
func (m *Machine) TouchAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range *m.communities.Load() {
		for e := range c.edges.all {
			m.touch(e)
		}
	}
}

// Supernode is another supernode as this one knows it.
type Supernode struct {
	Addr  netip.AddrPort
	MAC   n2n.MAC // zero: it has not answered yet
	Alive bool
}

// Supernodes gives the others.
func (m *Machine) Supernodes(now time.Time) []Supernode {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Supernode
	for _, p := range *m.federal.peers.Load() {
		list = append(list, Supernode{p.path.Addr, p.mac, p.alive(now) && !p.mac.IsZero()})
	}
	return list
}

// Size says how many edges and communities there are.
func (m *Machine) Size() (edges, communities int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.edges, len(*m.communities.Load())
}
