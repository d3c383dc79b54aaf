package balance

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sonic-netservices/netmap"
)

// crowded is a node with some replicas, and others that may take them.
func crowded(t *rapid.T) (snap *netmap.Snapshot, ask func(netmap.ReplicaID) Problem) {
	snap = network(nil)
	used := 0.5
	for i := range rapid.IntRange(1, 9).Draw(t, "replicas") {
		r := netmap.Placed{ID: netmap.ReplicaID{Service: fmt.Sprintf("s%d", i)}, Node: "hot", State: netmap.Running,
			Demand:    netmap.Demand{netmap.Compute: rapid.SampledFrom([]float64{0.01, 0.04, 0.05, 0.09, 0.1, 0.3}).Draw(t, "needs")},
			DataBytes: rapid.SampledFrom([]float64{0, 1e7, 1e8, 1e9}).Draw(t, "bytes")}
		used += r.Demand[netmap.Compute]
		snap.Replicas = append(snap.Replicas, r)
	}
	snap.Nodes = []netmap.Node{node("hot", fmt.Sprintf("compute %v", used))}
	for i := range rapid.IntRange(0, 4).Draw(t, "nodes") {
		name := fmt.Sprintf("n%d", i)
		snap.Nodes = append(snap.Nodes, node(name, fmt.Sprintf("compute %.2f", rapid.Float64Range(0, 0.9).Draw(t, name))))
		snap.Links = append(snap.Links, cable(snap.Nodes[rapid.IntRange(0, i).Draw(t, "beside")].Name, name, gbps)...)
	}
	return snap, func(id netmap.ReplicaID) Problem {
		i := slices.IndexFunc(snap.Replicas, func(r netmap.Placed) bool { return r.ID == id })
		return Problem{Replica: id, Source: "hot", Demand: snap.Replicas[i].Demand, DataBytes: snap.Replicas[i].DataBytes}
	}
}

// Weighing changes the order of the first few alone. Who then leaves has a place if any of them has; relieves the node
// alone if the first that has a place does, and else by half of what that one would; and of those that do, its move is
// worth most.
func TestWeighProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, ask := crowded(t)
		plain, err := Leave(snap, "hot", "", 0.70, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := plain
		got.Order = slices.Clone(plain.Order)
		got.Weigh(field(t, snap), ask)
		few := min(Weighed, len(plain.Order))
		if diff := gocmp.Diff(plain.Order[few:], got.Order[few:]); diff != "" {
			t.Fatalf("others than the first few (-were +are):\n%s", diff)
		}
		sorted := func(list []Victim) []Victim {
			list = slices.Clone(list)
			for i := range list {
				list[i].To, list[i].Gain = "", 0
			}
			slices.SortFunc(list, func(a, b Victim) int { return cmp.Compare(a.Replica, b.Replica) })
			return list
		}
		if diff := gocmp.Diff(sorted(plain.Order), sorted(got.Order)); diff != "" {
			t.Fatalf("somebody was lost or changed (-were +are):\n%s", diff)
		}
		var first *Victim // of the plain order that has a place
		for i := range few {
			d := mustDecide(t, snap, ask(plain.Order[i].ID), Defaults())
			best, _ := d.Best()
			v := got.Order[slices.IndexFunc(got.Order, func(v Victim) bool { return v.ID == plain.Order[i].ID })]
			if v.To != best.Node || !near(v.Gain, best.Gain) {
				t.Fatalf("%s to %q for %v, Decide says %q for %v", v.Replica, v.To, v.Gain, best.Node, best.Gain)
			}
			if first == nil && v.To != "" {
				first = &v
			}
		}
		if first == nil {
			if diff := gocmp.Diff(plain, got); diff != "" {
				t.Fatalf("nobody has a place (-was +is):\n%s", diff)
			}
			return
		}
		leaves := got.Order[0]
		if leaves.To == "" || leaves.Relieves != first.Relieves || !leaves.Relieves && leaves.Share < first.Share/2 {
			t.Fatalf("%s leaves instead of %s\n%s", leaves.Replica, first.Replica, got)
		}
		for _, v := range got.Order[:few] {
			if alike := v.Relieves == first.Relieves && (v.Relieves || v.Share >= first.Share/2); alike && v.To != "" && grain(v.Gain) > grain(leaves.Gain) {
				t.Fatalf("%s leaves, whose move is worth less than that of %s\n%s", leaves.Replica, v.Replica, got)
			}
		}
	})
}

// Of two that relieve as much the one that is cheap to carry to its best node goes; a small one does not go first because
// it is cheap; who fits nowhere is passed over.
func TestWeigh(t *testing.T) {
	at := func(service string, compute, bytes float64) netmap.Placed {
		return netmap.Placed{ID: netmap.ReplicaID{Service: service}, Node: "hot", State: netmap.Running,
			Demand: netmap.Demand{netmap.Compute: compute}, DataBytes: bytes}
	}
	for _, c := range []struct {
		about    string
		used     string
		target   string
		replicas []netmap.Placed
		want     string
	}{
		{"cheap to carry", "compute 1.2", "compute 0.1", []netmap.Placed{at("heavy", 0.3, 9e9), at("light", 0.25, 1e7)}, "light-0"},
		{"small and cheap", "compute 1.2", "compute 0.1", []netmap.Placed{at("heavy", 0.3, 1e9), at("tiny", 0.01, 0)}, "heavy-0"},
		{"enough before not enough", "compute 0.9", "compute 0.1", []netmap.Placed{at("enough", 0.25, 1e9), at("short", 0.15, 0)}, "enough-0"},
		{"fits nowhere", "compute 1.2", "compute 0.5", []netmap.Placed{at("big", 0.3, 0), at("small", 0.1, 1e9)}, "small-0"},
	} {
		snap := network([]netmap.Node{node("hot", c.used), node("cool", c.target)}, cable("hot", "cool", gbps))
		snap.Replicas = c.replicas
		l, err := Leave(snap, "hot", "", 0.70, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Weigh(field(t, snap), func(id netmap.ReplicaID) Problem {
			i := slices.IndexFunc(c.replicas, func(r netmap.Placed) bool { return r.ID == id })
			return Problem{Replica: id, Source: "hot", Demand: c.replicas[i].Demand, DataBytes: c.replicas[i].DataBytes}
		})
		if got := l.Order[0].Replica; got != c.want {
			t.Errorf("%s: %s leaves, want %s\n%s", c.about, got, c.want, l)
		}
	}
}

func field(t rapid.TB, snap *netmap.Snapshot) *Field {
	f, err := NewField(snap, nil, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	return f
}
