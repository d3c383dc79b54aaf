package resourdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sonic-netservices/netmap"
)

// Snapshot reads the network as this node knows it. The error names every row that was left out, and why, beside the
// snapshot of the others; only without a database is there none.
func (d *DB) Snapshot(ctx context.Context) (netmap.Snapshot, error) {
	rows, err := d.All(ctx)
	if rows == nil && err != nil {
		return netmap.Snapshot{}, err
	}
	s, bad := SnapshotOf(rows)
	return s, errors.Join(append([]error{err}, bad...)...)
}

// SnapshotOf makes a snapshot of all rows of one node's database, by key. What it cannot use it leaves out and names.
func SnapshotOf(rows map[string]map[string]string) (s netmap.Snapshot, bad []error) {
	keys := slices.Sorted(maps.Keys(rows))
	nodes := map[string]*netmap.Node{}
	for n := range each(keys, rows, NodeTable, ParseNode, &bad) {
		// Stale until this node's resource-sync says better: nothing is known of when it spoke last.
		nodes[n.Name] = &netmap.Node{Name: n.Name, Address: n.Addr, Tier: n.Tier, Liveness: netmap.Stale}
	}
	known := func(key, name string) *netmap.Node {
		n := nodes[name]
		if n == nil {
			bad = append(bad, fmt.Errorf("key %s: no %s|%s", key, NodeTable, name))
		}
		return n
	}
	for v := range each(keys, rows, SeenTable, ParseSeen, &bad) {
		if n := known(SeenTable+"|"+v.Node, v.Node); n != nil {
			n.Liveness, n.Heard = v.State, v.Heard
		}
	}
	for r := range each(keys, rows, ResourceTable, ParseResource, &bad) { // sorted by key, so by kind
		if n := known(ResourceTable+"|"+r.Node+"|"+string(r.Kind), r.Node); n != nil {
			n.Resources = append(n.Resources, r.Resource)
		}
	}
	for l := range each(keys, rows, NeighborTable, ParseNeighbor, &bad) {
		if nodes[l.Node] != nil && nodes[l.Neighbor] != nil { // a cable to a host or another AS carries no service
			s.Links = append(s.Links, netmap.Link{From: l.Node, To: l.Neighbor, SpeedBPS: l.SpeedBPS})
		}
	}
	slices.SortStableFunc(s.Links, func(a, b netmap.Link) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	s.Replicas = placed(keys, rows, &bad)
	for r := range each(keys, rows, ReservedTable, ParseReserved, &bad) {
		if s.Reserved == nil {
			s.Reserved = map[string]netmap.Demand{}
		}
		if s.Reserved[r.Node] == nil {
			s.Reserved[r.Node] = netmap.Demand{}
		}
		s.Reserved[r.Node][r.Kind] = r.Amount
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		s.Nodes = append(s.Nodes, *nodes[name])
	}
	return s, bad
}

// placed lists the replicas of RESOUR_INSTANCE with what they need: the larger of what is declared and measured.
func placed(keys []string, rows map[string]map[string]string, bad *[]error) []netmap.Placed {
	services := map[string]Service{}
	for v := range each(keys, rows, ServiceTable, ParseService, bad) {
		services[v.Name] = v
	}
	usages := map[string]Usage{}
	for u := range each(keys, rows, UsageTable, ParseUsage, bad) {
		usages[u.ID.String()+"|"+u.Node] = u
	}
	var list []netmap.Placed
	for i := range each(keys, rows, InstanceTable, ParseInstance, bad) {
		p := netmap.Placed{ID: i.ID, Node: i.Node, State: i.State, Demand: netmap.Demand{}}
		for kind, amount := range services[i.ID.Service].Demand {
			p.Demand[netmap.Kind(kind)] = amount
		}
		if u, ok := usages[i.ID.String()+"|"+i.Node]; ok {
			for kind, amount := range map[netmap.Kind]float64{
				netmap.Compute: u.CPU, netmap.Memory: u.Memory, netmap.Storage: u.Disk} {
				p.Demand[kind] = max(p.Demand[kind], amount)
			}
			p.DataBytes = u.DataBytes
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b netmap.Placed) int {
		return cmp.Or(cmp.Compare(a.ID.Service, b.ID.Service), cmp.Compare(a.ID.Replica, b.ID.Replica), cmp.Compare(a.Node, b.Node))
	})
	return list
}

// each goes over the rows of a table that parse, in the order of their keys, and collects why the others do not.
func each[T any](keys []string, rows map[string]map[string]string, table string,
	parse func(string, map[string]string) (T, error), bad *[]error) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for _, key := range keys {
			if !strings.HasPrefix(key, table+"|") {
				continue
			}
			v, err := parse(key, rows[key])
			if err != nil {
				*bad = append(*bad, err)
				continue
			}
			if !yield(v) {
				return
			}
		}
	}
}
