package balance

import (
	"fmt"
	"math"
	"testing"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/chance"
)

// drawn is a network with everything that can keep a replica off a node.
func drawn(r *chance.Rand, n int) *netmap.Snapshot {
	snap := &netmap.Snapshot{Reserved: map[string]netmap.Demand{}}
	for i := range n {
		node := node(fmt.Sprintf("n%05d", i), fmt.Sprintf("compute %.1f forwarding %.2f security %.1f", r.Float64(), r.Float64(), r.Float64()/2))
		if r.Float64() < 0.2 {
			node.Liveness = []netmap.Liveness{netmap.Stale, netmap.Dead}[r.IntN(2)]
		}
		node.Drained = r.Float64() < 0.1
		if r.Float64() < 0.1 {
			node.Resources = node.Resources[:r.IntN(3)]
		}
		if len(node.Resources) > 0 && r.Float64() < 0.05 {
			node.Resources[0].Used = math.NaN()
		}
		if r.Float64() < 0.3 {
			snap.Reserved[node.Name] = netmap.Demand{netmap.Compute: 0.1}
		}
		snap.Nodes = append(snap.Nodes, node)
		for j := 0; i > 0 && j < 2; j++ {
			snap.Links = append(snap.Links, cable(node.Name, snap.Nodes[r.IntN(i)].Name, []float64{1e9, 1e10}[r.IntN(2)])...)
		}
		if r.Float64() < 0.1 {
			snap.Replicas = append(snap.Replicas, netmap.Placed{ID: netmap.ReplicaID{Service: "kms", Replica: r.IntN(3)}, Node: node.Name, State: netmap.Running,
				Demand: netmap.Demand{netmap.Compute: 0.1}})
		}
	}
	return snap
}

// A field answers as Decide does, whatever comes.
func TestFieldIsDecide(t *testing.T) {
	found := 0
	for seed := range uint64(400) {
		r := chance.New(seed)
		snap := drawn(r, 2+r.IntN(12))
		params := Defaults()
		params.Bottleneck = seed%5 == 0
		if seed%7 == 0 {
			params.Limits = map[netmap.Kind]float64{netmap.Forwarding: 0.9}
		}
		var peaks map[string]netmap.Demand
		if seed%2 == 0 {
			peaks = map[string]netmap.Demand{}
			for range 4 {
				peaks[snap.Nodes[r.IntN(len(snap.Nodes))].Name] = netmap.Demand{netmap.Compute: r.Uniform(-0.2, 1), netmap.Security: r.Uniform(0, 1), "tape": 1}
			}
		}
		f, err := NewField(snap, peaks, params)
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			p := move(snap.Nodes[r.IntN(len(snap.Nodes))].Name, float64(r.IntN(5))/10)
			p.DataBytes, p.Peaks = r.Uniform(0, 3e9), peaks
			p.Together = r.IntN(2) == 0
			name := func() string { return snap.Nodes[r.IntN(len(snap.Nodes))].Name }
			switch r.IntN(6) {
			case 0:
				p.Source = ""
			case 1:
				p.Avoid = []string{name(), "nowhere"}
			case 2:
				p.Exclude = map[string]string{name(): "refused"}
			case 3:
				p.Pin = []string{name(), name()}
			case 4:
				p.Demand["tape"] = float64(r.IntN(2))
			}
			answer, wrong := Decide(snap, p, params)
			node, gain, ok, err := f.Best(p)
			if (err == nil) != (wrong == nil) || err != nil && err.Error() != wrong.Error() {
				t.Fatalf("seed %d: %v, Decide says %v", seed, err, wrong)
			}
			best, any := answer.Best()
			if ok != any || node != best.Node || math.Abs(gain-best.Gain) > 1e-9 {
				t.Fatalf("seed %d: %+v: %s %v %v\n%s", seed, p, node, gain, ok, answer)
			}
			if ok {
				found++
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d of 2400 questions have an answer", found)
	}
}

func TestFieldAllocatesNothing(t *testing.T) {
	f, err := NewField(drawn(chance.New(1), 200), map[string]netmap.Demand{"n00005": {netmap.Compute: 1}}, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	p := move(f.nodes[0].name, 0.1)
	p.Exclude, p.Avoid = map[string]string{"n00003": "refused"}, []string{"n00004"}
	if allocs := testing.AllocsPerRun(20, func() { _, _, _, _ = f.Best(p) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if _, err := NewField(&netmap.Snapshot{}, nil, PaperDefaults()); err == nil {
		t.Error("a field for mode paper")
	}
	if _, err := NewField(&netmap.Snapshot{}, map[string]netmap.Demand{"a": {netmap.Compute: math.NaN()}}, Defaults()); err == nil {
		t.Error("a field with a peak that is no amount")
	}
}
