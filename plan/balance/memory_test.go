package balance

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sonic-netservices/netmap"
)

// A peak is the fullest of the hours of the last day that were seen for half at least, replicas aside.
func TestPeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type reading struct {
			at  time.Duration
			own float64
		}
		var all []reading
		var m Memory
		at := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "samples") {
			at += time.Duration(rapid.SampledFrom([]int{1, 5, 5, 10, 20, 25, 31, 60, 300}).Draw(t, "minutes")) * time.Minute
			own, moved := rapid.Float64Range(0, 1).Draw(t, "own"), rapid.Float64Range(0, 1).Draw(t, "replica")
			snap := network([]netmap.Node{node("a", fmt.Sprintf("compute %v", own+moved))})
			snap.Replicas = []netmap.Placed{
				{ID: kms0, Node: "a", State: rapid.SampledFrom([]netmap.State{netmap.Migrating, netmap.Ready, netmap.Running}).Draw(t, "state"),
					Demand: netmap.Demand{netmap.Compute: moved}},
				{ID: kms0, Node: "a", State: netmap.Unloaded, Demand: netmap.Demand{netmap.Compute: 1}},
			}
			if rapid.IntRange(0, 9).Draw(t, "silent") == 0 {
				snap.Nodes[0].Liveness = netmap.Stale
			} else {
				all = append(all, reading{at, own})
			}
			m.Observe(snap, at)
		}
		now := at / time.Hour
		hours := map[time.Duration][]reading{}
		for _, r := range all {
			hours[r.at/time.Hour] = append(hours[r.at/time.Hour], r)
		}
		want, known := math.Inf(-1), false
		for _, h := range slices.Sorted(maps.Keys(hours)) {
			list := hours[h]
			if h == now || now-h > 24 || list[len(list)-1].at-list[0].at < 30*time.Minute {
				continue
			}
			mean := 0.0
			for _, r := range list {
				mean += r.own / float64(len(list))
			}
			want, known = max(want, mean), true
		}
		got, ok := m.Peaks()["a"][netmap.Compute]
		if ok != known || known && math.Abs(got-want) > 1e-9 {
			t.Fatalf("peak %v (%v), want %v (%v)", got, ok, want, known)
		}
	})
}

// Readings that cannot be true, and repetitions within seconds, leave no trace; what is gone for a day is forgotten.
func TestMemoryForgets(t *testing.T) {
	var m Memory
	watch := func(from, to time.Duration, snap *netmap.Snapshot) {
		for at := from; at <= to; at += time.Minute {
			m.Observe(snap, at)
		}
	}
	good := network([]netmap.Node{node("a", "compute 0.4"), node("b", "compute 0.5")})
	watch(0, time.Hour, good)
	if got := m.Peaks()["a"][netmap.Compute]; !near(got, 0.4) {
		t.Fatalf("peak %v", got)
	}
	for range 1000 { // a hot second
		m.Observe(network([]netmap.Node{node("a", "compute 99"), node("b", "compute 99")}), time.Hour+time.Second)
	}
	watch(time.Hour+time.Minute, 2*time.Hour, network([]netmap.Node{node("a", "compute NaN"), node("b", "compute 0.5")}))
	if got := m.Peaks()["a"][netmap.Compute]; !near(got, 0.4) {
		t.Errorf("after what was no reading the peak is %v", got)
	}
	watch(3*time.Hour, 28*time.Hour, network([]netmap.Node{node("b", "compute 0.5")}))
	if _, ok := m.Peaks()["a"]; ok || len(m.nodes) != 1 {
		t.Errorf("a is gone and remembered: %v, %d nodes", m.Peaks(), len(m.nodes))
	}
	if len(m.Peaks()["b"]) != 1 {
		t.Errorf("b is forgotten")
	}
}

func TestMemoryAllocatesNothing(t *testing.T) {
	snap := leafSpine()
	var m Memory
	at := time.Duration(0)
	step := func() {
		at += 15 * time.Second
		m.Observe(snap, at)
	}
	for range 300 { // into the second hour
		step()
	}
	if allocs := testing.AllocsPerRun(100, step); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// The higher a node rises, the less it is worth, by as much as its head-room shrinks; no other node is touched, and
// admission asks for now.
func TestPeaksCountAsHeadRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		use := func(name string) string {
			return fmt.Sprintf("compute %.2f storage %.2f", rapid.Float64Range(0, 0.6).Draw(t, name), rapid.Float64Range(0, 0.6).Draw(t, name+" storage"))
		}
		snap := network([]netmap.Node{node("a", "compute 0.95 storage 0.5"), node("b", use("b")), node("c", use("c"))},
			cable("a", "b", gbps), cable("a", "c", gbps))
		snap.Replicas = []netmap.Placed{{ID: netmap.ReplicaID{Service: "dns"}, Node: "b", State: netmap.Running, Demand: netmap.Demand{netmap.Compute: 0.1}}}
		before, err := Decide(snap, move("a", 0.05), Defaults())
		if err != nil {
			t.Fatal(err)
		}
		problem := move("a", 0.05)
		peak := rapid.Float64Range(-0.2, 1.5).Draw(t, "peak")
		problem.Peaks = map[string]netmap.Demand{"b": {netmap.Compute: peak}, "gone": {netmap.Compute: 1}}
		after, err := Decide(snap, problem, Defaults())
		if err != nil {
			t.Fatal(err)
		}
		was, is := scoreOf(before, "b"), scoreOf(after, "b")
		now := snap.Nodes[1].Resources[0].Used
		rise := max(0, peak-(now-0.1))
		want := max(now+0.05+rise, snap.Nodes[1].Resources[1].Used)
		if !near(is.Highest.peak(), want) || !near(was.Gain-is.Gain, want-was.Highest.peak()) {
			t.Fatalf("peak %v: highest %+v, want %v; gain %v -> %v", peak, is.Highest, want, was.Gain, is.Gain)
		}
		if a, b := scoreOf(before, "c"), scoreOf(after, "c"); a.Gain != b.Gain || len(before.Candidates) != len(after.Candidates) {
			t.Fatalf("c: gain %v -> %v; %d -> %d candidates", a.Gain, b.Gain, len(before.Candidates), len(after.Candidates))
		}
		paper, err := Decide(snap, move("a", 0.05), PaperDefaults())
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decide(snap, problem, PaperDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if paper.String() != again.String() {
			t.Fatalf("mode paper remembers:\n%s\n%s", paper, again)
		}
	})
}

func scoreOf(d Decision, node string) Score {
	for _, s := range slices.Concat(d.Candidates, d.Refused) {
		if s.Node == node {
			return s
		}
	}
	return Score{}
}
