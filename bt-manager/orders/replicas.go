package orders

import (
	"maps"
	"slices"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// listed is a list of the desired replicas, and what it was made of. Who ticks the trees and who reserves for them ask for
// it several times a second, and it is the same most of the time.
type listed struct {
	replicas []decide.Replica
	state    <-chan struct{} // Manager.changed then: another one for each state
	rows     []netmap.Placed
	leases   map[string]bool // over or not, by node that has a replica for which it matters
}

// Replicas implements decide.World. The list is never changed.
func (t *Trees) Replicas() []decide.Replica {
	rows := t.Snapshot().Replicas
	t.listing.Lock()
	defer t.listing.Unlock()
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	now := time.Now()
	if !t.listed.holds(t.m, rows, now) {
		t.listed = t.m.list(rows, now)
	}
	return t.listed.replicas
}

// holds says whether a list is as it would be if it were made now. The caller holds the manager's mu.
func (l *listed) holds(m *Manager, rows []netmap.Placed, now time.Time) bool {
	if l.state != m.changed || len(l.rows) != len(rows) || len(rows) > 0 && &l.rows[0] != &rows[0] {
		return false
	}
	for node, over := range l.leases {
		if over != m.leaseOver(node, now) {
			return false
		}
	}
	return true
}

// list lists the replicas that are desired, with what has been measured of those in rows, which are sorted by ID. The
// caller holds mu.
func (m *Manager) list(rows []netmap.Placed, now time.Time) listed {
	l := listed{state: m.changed, rows: rows, leases: map[string]bool{}}
	flights := map[netmap.ReplicaID]string{}
	for id, op := range m.state.Ops {
		flights[op.Replica] = id
	}
	for _, name := range slices.Sorted(maps.Keys(m.state.Services)) {
		service := m.state.Services[name]
		for n := range service.Spec.Replicas {
			id := netmap.ReplicaID{Service: name, Replica: n}
			r := decide.Replica{
				ID: id, Index: service.Index, Node: service.Replicas[n].Node, Op: flights[id], Demand: declared(service.Spec),
				Pin: service.Spec.Constraints.Pin, Avoid: service.Spec.Constraints.Avoid,
				Together: !service.Spec.Constraints.Spread, Mode: service.Spec.Migration,
				Redeploy: service.Spec.OnLostNode == spec.Redeploy,
			}
			if p, ok := measured(rows, id); ok {
				r.DataBytes = p.DataBytes
				for kind, amount := range p.Demand {
					r.Demand[kind] = max(r.Demand[kind], amount)
				}
			}
			if r.Node != "" && r.Redeploy {
				r.LeaseOver = m.leaseOver(r.Node, now)
				l.leases[r.Node] = r.LeaseOver
			}
			l.replicas = append(l.replicas, r)
		}
	}
	return l
}

// measured finds a replica in rows sorted by ID: on two nodes during a move, of which the last one counts.
func measured(rows []netmap.Placed, id netmap.ReplicaID) (*netmap.Placed, bool) {
	after, _ := slices.BinarySearchFunc(rows, netmap.ReplicaID{Service: id.Service, Replica: id.Replica + 1}, func(p netmap.Placed, id netmap.ReplicaID) int {
		return p.ID.Compare(id)
	})
	if after == 0 || rows[after-1].ID != id {
		return nil, false
	}
	return &rows[after-1], true
}

func declared(s *spec.Service) netmap.Demand {
	d := netmap.Demand{}
	for kind, amount := range s.Demand {
		d[netmap.Kind(kind)] = float64(amount)
	}
	return d
}
