package replica

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// Member is a node of the AS as this one knows it.
type Member struct {
	Name  string
	Addr  string
	State netmap.Liveness
	Heard time.Duration // since its newest row came
}

// Members lists all nodes that have told their address, this one included, sorted by name.
func (n *Node) Members(now time.Duration) []Member {
	var list []Member
	for _, name := range slices.Sorted(maps.Keys(n.store.owners)) {
		r, ok := n.store.get(name, resourdb.NodeTable+"|"+name)
		if name == manager || !ok || r.Fields == nil {
			continue
		}
		m := Member{Name: name, Addr: r.Fields["addr"], State: netmap.Alive, Heard: n.age(name, now)}
		if name != n.self {
			m.State = n.limits.judge(r.Fields["push_interval"], m.Heard)
		}
		list = append(list, m)
	}
	return list
}

// judge says what silence means for a node that promised to push this often.
func (l Limits) judge(interval string, silent time.Duration) netmap.Liveness {
	ms, err := strconv.Atoi(interval)
	each := time.Duration(ms) * time.Millisecond
	if err != nil || each <= 0 || each > l.Slowest {
		each = l.Slowest
	}
	switch {
	case silent > l.Dead:
		return netmap.Dead
	case silent > time.Duration(l.Periods)*each:
		return netmap.Stale
	}
	return netmap.Alive
}
