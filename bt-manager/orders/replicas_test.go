package orders

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// The list of replicas is made when something it says is another, and only then.
func TestReplicasAreListed(t *testing.T) {
	var records []Record
	for _, wanted := range []string{
		"{name: dns, image: 'kms:1.0', address: 10.20.0.20/24, demand: {compute: 2}, on_lost_node: redeploy}",
		"{name: kms, image: 'kms:1.0', address: 10.20.0.10/24, demand: {compute: 1}, replicas: 2}",
	} {
		records = append(records, Record{Kind: Desired, Desire: &Desire{Spec: wanted, ImageID: "sha256:aa", Lasts: true}})
	}
	at := func(op, service, node string) {
		id := netmap.ReplicaID{Service: service}
		records = append(records, Record{Kind: Begun, Op: &Op{ID: op, Verb: Deploy, Replica: id, Node: node}},
			Record{Kind: Ended, ID: op, End: &End{Outcome: Committed}})
	}
	at("a", "dns", "leaf1")
	at("b", "kms", "leaf2")
	m, _, _ := run(t, records...)
	dns, kms := netmap.ReplicaID{Service: "dns"}, netmap.ReplicaID{Service: "kms"}
	rows := netmap.Snapshot{Replicas: []netmap.Placed{
		{ID: dns, Node: "leaf1", Demand: netmap.Demand{netmap.Compute: 3}, DataBytes: 5},
		{ID: kms, Node: "leaf2", Demand: netmap.Demand{netmap.Compute: 0.5}},
		{ID: kms, Node: "leaf3", Demand: netmap.Demand{netmap.Memory: 7}}, // where it is on its way to
	}}
	trees := m.ForTrees(func(context.Context) (netmap.Snapshot, error) { return rows, nil }, func() {})
	trees.refresh(t.Context())

	list := trees.Replicas()
	if len(list) != 3 {
		t.Fatalf("replicas %+v", list)
	}
	for i, want := range []decide.Replica{
		{ID: dns, Node: "leaf1", DataBytes: 5, Demand: netmap.Demand{netmap.Compute: 3}},
		{ID: kms, Node: "leaf2", Demand: netmap.Demand{netmap.Compute: 1, netmap.Memory: 7}},
		{ID: netmap.ReplicaID{Service: "kms", Replica: 1}, Demand: netmap.Demand{netmap.Compute: 1}},
	} {
		got := list[i]
		if got.ID != want.ID || got.Node != want.Node || got.DataBytes != want.DataBytes ||
			got.Demand[netmap.Compute] != want.Demand[netmap.Compute] || got.Demand[netmap.Memory] != want.Demand[netmap.Memory] {
			t.Errorf("replica %d is %+v, want %+v", i, got, want)
		}
	}

	same := func() bool {
		was := list
		list = trees.Replicas()
		return &was[0] == &list[0]
	}
	if !same() {
		t.Error("made again, although nothing is another")
	}
	m.mu.Lock()
	m.started = time.Now().Add(-time.Hour)
	m.mu.Unlock()
	if same() || !list[0].LeaseOver || list[1].LeaseOver {
		t.Errorf("the lease of leaf1 is over: %+v", list)
	}
	if _, err := trees.Admit("kms"); err != nil {
		t.Fatal(err)
	}
	if same() || list[1].Index != 1 {
		t.Errorf("kms is admitted: %+v", list)
	}
	rows.Replicas = []netmap.Placed{{ID: dns, Node: "leaf1", Demand: netmap.Demand{netmap.Compute: 4}}}
	trees.refresh(t.Context())
	if same() || list[0].Demand[netmap.Compute] != 4 {
		t.Errorf("other rows: %+v", list)
	}
}

// BenchmarkReplicas is what a look at the world costs with 10,000 replicas, when there are new rows.
func BenchmarkReplicas(b *testing.B) {
	m := New(Config{}, nil, nil)
	wanted, err := spec.Parse("x", []byte("{name: kms, image: 'kms:1.0', address: 10.20.0.10/24, demand: {compute: 1}}"))
	if err != nil {
		b.Fatal(err)
	}
	var rows []netmap.Placed
	for i := range 10000 {
		id := netmap.ReplicaID{Service: fmt.Sprintf("kms%05d", i)}
		m.state.Services[id.Service] = &Service{Spec: wanted, Index: i + 1, Replicas: map[int]Placement{0: {Node: "leaf1"}}}
		rows = append(rows, netmap.Placed{ID: id, Node: "leaf1", Demand: netmap.Demand{netmap.Compute: 0.4}})
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		m.list(rows, now)
	}
}
