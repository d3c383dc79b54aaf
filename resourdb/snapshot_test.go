package resourdb

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/netmap"
)

func rowsOf(rows ...Row) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, r := range rows {
		all[r.Table()+"|"+strings.Join(r.Parts(), "|")] = r.Row()
	}
	return all
}

// The snapshot holds what parses; each row of garbage is named with its key and field.
func TestSnapshot(t *testing.T) {
	kms := netmap.ReplicaID{Service: "kms"}
	rows := rowsOf(append(slices.Clone(samples),
		Node{Name: "leaf2", Addr: "10.1.0.2"},
		Neighbor{Node: "leaf2", Port: "Ethernet4", Neighbor: "leaf1", SpeedBPS: 10e9},
		Neighbor{Node: "leaf2", Port: "Ethernet8", Neighbor: "printer", SpeedBPS: 1e9},
		Seen{Node: "leaf2", State: netmap.Dead, Heard: 12 * time.Second},
		Seen{Node: "leaf7", State: netmap.Alive},
	)...)
	rows["RESOUR_RESOURCE|leaf2|compute"] = map[string]string{"capacity": "lots", "used": "1"}
	rows["RESOUR_RESOURCE|leaf2|memory"] = map[string]string{"capacity": "1000", "used": "100", "colour": "green"}
	rows["RESOUR_INSTANCE|kms|0"] = map[string]string{"state": "running"}
	rows["1.3.6.1.2.1.2"] = map[string]string{"type": "COUNTER_32"}

	got, bad := SnapshotOf(rows)
	want := netmap.Snapshot{
		Nodes: []netmap.Node{
			{Name: "leaf1", Address: "10.1.0.1", Tier: "edge", Liveness: netmap.Alive, Heard: 420 * time.Millisecond, Resources: []netmap.Resource{
				{Kind: netmap.Compute, Capacity: 0.6, Used: 0.153, Unit: "cores", Source: "cpuacct of /netservices"},
				{Kind: netmap.Forwarding, Capacity: 98304, Used: 14, Unit: "entries", Source: "CRM ipv4_route"},
			}},
			{Name: "leaf2", Address: "10.1.0.2", Liveness: netmap.Dead, Heard: 12 * time.Second, Resources: []netmap.Resource{
				{Kind: netmap.Memory, Capacity: 1000, Used: 100},
			}},
		},
		Links: []netmap.Link{{From: "leaf1", To: "leaf2", SpeedBPS: 10e9}, {From: "leaf2", To: "leaf1", SpeedBPS: 10e9}},
		Replicas: []netmap.Placed{{ID: kms, Node: "leaf1", State: netmap.Running, DataBytes: 7380992,
			Demand: netmap.Demand{netmap.Compute: 0.2, netmap.Memory: 67108864, netmap.Storage: 40960}}},
		Reserved: map[string]netmap.Demand{"leaf2": {netmap.Compute: 0.2}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	said := errors.Join(bad...).Error()
	for _, want := range []string{
		"key RESOUR_RESOURCE|leaf2|compute: field capacity",
		"key RESOUR_INSTANCE|kms|0: 2 parts after the table",
		"key RESOUR_SEEN|leaf7: no RESOUR_NODE|leaf7",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("errors lack %q:\n%s", want, said)
		}
	}
	if len(bad) != 3 {
		t.Errorf("%d errors, want 3:\n%s", len(bad), said)
	}
}

// A key of another type is named beside the snapshot, and a node nobody has judged is no target.
func TestSnapshotOfDatabase(t *testing.T) {
	d, sw := openTest(t)
	if err := d.WriteFor(t.Context(), Node{Name: "leaf1"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	sw.Redis(t, "7", "set", "RESOUR_NODE|text", "not a hash")
	s, err := d.Snapshot(t.Context())
	if len(s.Nodes) != 1 || s.Nodes[0].Liveness != netmap.Stale {
		t.Errorf("nodes %+v", s.Nodes)
	}
	if err == nil || !strings.Contains(err.Error(), "RESOUR_NODE|text") {
		t.Errorf("error %v", err)
	}
}

// A reading vanishes with its writer, and a watcher hears of it.
func TestWriteFor(t *testing.T) {
	d, _ := openTest(t)
	keys, err := d.WatchPatterns(t.Context(), OwnPatterns("leaf1")...)
	if err != nil {
		t.Fatal(err)
	}
	r := Resource{Node: "leaf1", Resource: netmap.Resource{Kind: netmap.Compute}}
	if err := d.WriteFor(t.Context(), r, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(10 * time.Second); ; {
		select {
		case key := <-keys:
			row, err := d.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if row == nil && key == "RESOUR_RESOURCE|leaf1|compute" {
				return
			}
		case <-deadline:
			t.Fatal("not told")
		}
	}
}

func TestScopeOf(t *testing.T) {
	for key, want := range map[string]struct {
		scope Scope
		node  string
	}{
		"RESOUR_NODE|leaf1":             {NodeOwned, "leaf1"},
		"RESOUR_RESOURCE|leaf1|compute": {NodeOwned, "leaf1"},
		"RESOUR_USAGE|kms|0|leaf2":      {NodeOwned, "leaf2"},
		"RESOUR_USAGE|kms|0":            {Local, ""},
		"RESOUR_SERVICE|kms":            {ManagerOwned, ""},
		"RESOUR_SERVICE":                {Local, ""},
		"RESOUR_SEEN|leaf2":             {Local, ""},
		"RESOUR_FORWARDING|leaf2":       {Local, ""},
		"1.3.6.1.2.1.2":                 {Local, ""},
	} {
		if scope, node := ScopeOf(key); scope != want.scope || node != want.node {
			t.Errorf("%s: %v of %q", key, scope, node)
		}
	}
}

// Any row makes a snapshot or an error, never a panic.
func FuzzSnapshot(f *testing.F) {
	for key, row := range rowsOf(samples...) {
		for field, value := range row {
			f.Add(key, field, value)
		}
	}
	f.Fuzz(func(t *testing.T, key, field, value string) {
		rows := rowsOf(samples...)
		if rows[key] == nil {
			rows[key] = map[string]string{}
		}
		rows[key][field] = value
		s, _ := SnapshotOf(rows)
		for _, n := range s.Nodes {
			for _, r := range n.Resources {
				if u := r.Utilisation(); u < 0 || u != u {
					t.Errorf("%s %s: utilisation %v", n.Name, r.Kind, u)
				}
			}
		}
	})
}
