package decide

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"sonic-netservices/netmap"
)

// Moves knows which moves are under way and which replicas have just moved: at most one move in flight per source and
// per target, and none of a replica that cools down. It is told of every move, also of those people order.
type Moves struct {
	params  Params
	flying  map[netmap.ReplicaID]flight
	cooling map[netmap.ReplicaID]flight
}

type flight struct {
	from, to string
	until    time.Duration // end of the cool-down
}

// NewMoves checks the parameters.
func NewMoves(p Params) (*Moves, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	return &Moves{params: p, flying: map[netmap.ReplicaID]flight{}, cooling: map[netmap.ReplicaID]flight{}}, nil
}

// Begin says that a replica is on its way. To repeat it changes nothing.
func (m *Moves) Begin(id netmap.ReplicaID, from, to string) {
	m.flying[id] = flight{from: from, to: to}
}

// End says that it arrived, or stays where it was: it cools down in both cases, so that a move that fails is not
// ordered again at once.
func (m *Moves) End(id netmap.ReplicaID, now time.Duration) {
	maps.DeleteFunc(m.cooling, func(_ netmap.ReplicaID, f flight) bool { return f.until <= now })
	if f, ok := m.flying[id]; ok {
		delete(m.flying, id)
		m.Recall(id, f.from, f.to, now)
	}
}

// Recall says that a move ended at a time, perhaps before this Moves was made.
func (m *Moves) Recall(id netmap.ReplicaID, from, to string, ended time.Duration) {
	m.cooling[id] = flight{from, to, ended + time.Duration(m.params.CoolDown)*m.params.Period}
}

// Refused says that nothing was begun, because the target said no: the replica need not cool down.
func (m *Moves) Refused(id netmap.ReplicaID) { delete(m.flying, id) }

// Leave says why a replica may not leave a node now, "" when it may.
func (m *Moves) Leave(id netmap.ReplicaID, from string, now time.Duration) string {
	if f, ok := m.flying[id]; ok {
		return fmt.Sprintf("%s is on its way from %s to %s", id, f.from, f.to)
	}
	if f, ok := m.cooling[id]; ok && now < f.until {
		return fmt.Sprintf("%s cools down for %v more after its move from %s to %s", id, f.until-now, f.from, f.to)
	}
	if by, ok := m.by(from); ok {
		return fmt.Sprintf("%s takes part in the move of %s", from, by)
	}
	return ""
}

// Enter says why nothing may move to a node now, "" when it may.
func (m *Moves) Enter(to string) string {
	if by, ok := m.by(to); ok {
		return fmt.Sprintf("%s takes part in the move of %s", to, by)
	}
	return ""
}

// by finds the move a node takes part in; of several, which people may order, the first by name.
func (m *Moves) by(node string) (netmap.ReplicaID, bool) {
	ids := slices.SortedFunc(maps.Keys(m.flying), func(a, b netmap.ReplicaID) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Replica, b.Replica))
	})
	for _, id := range ids {
		if f := m.flying[id]; f.from == node || f.to == node {
			return id, true
		}
	}
	return netmap.ReplicaID{}, false
}
