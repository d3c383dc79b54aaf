package rendezvous

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
)

// State is what a supernode has to know to go on where it was: its edges, with the tokens that prove who they are. Whoever
// reads it can be any of them.
type State struct {
	Format  int         `json:"format"` // 1
	MAC     string      `json:"mac"`
	Token   []byte      `json:"token"`
	KeyTime uint32      `json:"key_time"` // of the dynamic keys: edges go on with theirs
	Edges   []EdgeState `json:"edges"`
}

// StateFormat is the newest that this version writes.
const StateFormat = 1

// EdgeState is one edge in it.
type EdgeState struct {
	Community []byte         `json:"community"` // 20 bytes
	Encrypted bool           `json:"encrypted,omitempty"`
	MAC       []byte         `json:"mac"`
	Public    netip.AddrPort `json:"public"`
	Local     netip.AddrPort `json:"local,omitzero"`
	Address   netip.Prefix   `json:"address,omitzero"`
	Name      string         `json:"name,omitempty"`
	Scheme    uint16         `json:"scheme"`
	Token     []byte         `json:"token"`
	Stamp     uint64         `json:"stamp,omitempty"` // of its newest encrypted header: older ones are replays
	First     time.Time      `json:"first"`
	Seen      time.Time      `json:"seen"`
}

// Changed says that State differs from what was kept by more than when edges were heard.
func (m *Machine) Changed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version != m.kept
}

// Kept says that a version of State is where it will be found again.
func (m *Machine) Kept(version uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = version
}

// State gives what there is to be kept, its edges one after the other, since all of them at once are several times what the machine itself
// takes, and the number of this version.
func (m *Machine) State() (s *State, edges iter.Seq[EdgeState], version uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s = &State{Format: StateFormat, MAC: m.config.MAC.String(), Token: m.config.Token[:], KeyTime: m.keyTime}
	list := make([]*edge, 0, m.edges)
	for _, c := range m.sorted() {
		list = slices.AppendSeq(list, c.edges.all)
	}
	return s, func(yield func(EdgeState) bool) {
		for _, e := range list {
			if s, here := m.stateOf(e); here && !yield(s) {
				return
			}
		}
	}, m.version
}

// stateOf gives an edge that came by UDP and is still here. Who came by TCP has lost its connection with the process, and comes again.
func (m *Machine) stateOf(e *edge) (s EdgeState, here bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := e.view(m)
	if v.Gone || v.Public.Conn != 0 {
		return s, false
	}
	return EdgeState{Community: v.Community[:], Encrypted: v.Encrypted, MAC: v.MAC[:], Public: v.Public.Addr,
		Local: v.Local, Address: v.Address, Name: v.Name.String(), Scheme: uint16(e.auth.Scheme), Token: e.auth.Token(),
		Stamp: uint64(e.replay.latest()), First: v.First, Seen: v.Seen}, true
}

// restoreFor is how old a registration may be that is restored: what is behind the address may be somebody else by then.
const restoreFor = 10 * time.Minute

// Restore takes the edges of an earlier life in, those that may still be here. They have to register as everybody has, and
// get the same time for it.
func (m *Machine) Restore(s *State, now time.Time) (restored int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.KeyTime != 0 && s.KeyTime <= m.keyTime {
		m.keyTime = s.KeyTime
		for _, c := range *m.communities.Load() {
			if c.users {
				c.rekey(m)
			}
		}
	}
	for i := range s.Edges {
		if m.restore(&s.Edges[i], now) {
			restored++
		}
	}
	return restored
}

func (m *Machine) restore(s *EdgeState, now time.Time) bool {
	auth, err := n2n.AuthOf(n2n.AuthScheme(s.Scheme), s.Token)
	if err != nil || len(s.Community) != len(n2n.Community{}) || len(s.MAC) != len(n2n.MAC{}) || !s.Public.IsValid() ||
		now.Sub(s.Seen) > restoreFor || s.Seen.After(now.Add(restoreFor)) || m.edges >= m.config.MaxEdges {
		return false
	}
	c, why := m.community(n2n.Community(s.Community))
	header := ClearHeader
	if s.Encrypted {
		header = EncryptedHeader
	}
	mac := n2n.MAC(s.MAC)
	if why != accepted || !c.holds(header) || c.edges.get(mac) != nil {
		return false
	}
	e := &edge{mac: mac, community: c, desc: n2n.DescOf(s.Name), auth: auth, first: m.age(s.First), seen: m.age(now)}
	e.setLocal(s.Local)
	e.path.Store(&Path{Addr: s.Public})
	e.replay.restore(n2n.Stamp(s.Stamp))
	m.add(e)
	c.settle(header)
	if subnet, err := n2n.SubnetOf(s.Address); err == nil && c.byAddress[subnet.Addr] == nil {
		c.setSubnet(e, subnet)
	}
	m.touch(e)
	return true
}
