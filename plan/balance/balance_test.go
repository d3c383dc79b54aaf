package balance

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sonic-netservices/netmap"
)

var update = flag.Bool("update", false, "record the golden files anew")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// leafSpine is a small AS with one overloaded leaf, in real units.
func leafSpine() *netmap.Snapshot {
	at := func(name, tier string, cores, used float64, memory float64) netmap.Node {
		return netmap.Node{Name: name, Tier: tier, Liveness: netmap.Alive, Resources: []netmap.Resource{
			{Kind: netmap.Compute, Capacity: cores, Used: used, Unit: "cores"},
			{Kind: netmap.Forwarding, Capacity: 12000, Used: 2400, Unit: "entries"},
			{Kind: netmap.Memory, Capacity: gib, Used: memory * gib, Unit: "bytes"},
		}}
	}
	snap := network([]netmap.Node{
		at("leaf1", "access", 0.5, 0.47, 0.30), at("leaf2", "access", 0.5, 0.20, 0.20),
		at("leaf3", "access", 2, 0.20, 0.25), at("leaf4", "access", 2, 0.10, 0.80), at("spine1", "core", 4, 0.40, 0.10),
	}, cable("leaf1", "spine1", 10*gbps), cable("leaf2", "spine1", 10*gbps), cable("leaf3", "spine1", gbps), cable("leaf4", "spine1", 10*gbps))
	snap.Nodes[3].Liveness, snap.Nodes[3].Heard = netmap.Stale, 5*time.Second
	snap.Replicas = []netmap.Placed{
		{ID: kms0, Node: "leaf1", State: netmap.Running, Demand: netmap.Demand{netmap.Compute: 0.42, netmap.Memory: 0.1 * gib}, DataBytes: 60e6},
		{ID: netmap.ReplicaID{Service: "radius"}, Node: "leaf1", State: netmap.Running, Demand: netmap.Demand{netmap.Compute: 0.03, netmap.Memory: 0.05 * gib}, DataBytes: 10e6},
		{ID: netmap.ReplicaID{Service: "idle"}, Node: "leaf1", State: netmap.Running, Demand: netmap.Demand{netmap.Memory: 0.01 * gib}},
		{ID: netmap.ReplicaID{Service: "new"}, Node: "leaf1", State: netmap.Migrating, Demand: netmap.Demand{netmap.Compute: 0.01}},
	}
	return snap
}

// TestExplanation records what `nsctl why` tells: a move, a full network, a new replica, mode paper, the victim.
func TestExplanation(t *testing.T) {
	snap := leafSpine()
	problem := Problem{Replica: kms0, Source: "leaf1", Demand: snap.Replicas[0].Demand, DataBytes: snap.Replicas[0].DataBytes}
	var out strings.Builder
	section := func(title string, what fmt.Stringer) { fmt.Fprintf(&out, "# %s\n%s\n", title, what) }

	chosen := decide(t, snap, problem, Defaults())
	section("a move", chosen)
	full := leafSpine()
	for i := range full.Nodes {
		full.Nodes[i].Resources[0].Used = 0.9 * full.Nodes[i].Resources[0].Capacity
	}
	section("a full network", decide(t, full, problem, Defaults()))
	fresh := problem
	fresh.Source = ""
	fresh.Replica.Replica = 1
	fresh.Together = true
	section("a new replica", decide(t, snap, fresh, Defaults()))
	section("mode paper", decide(t, snap, problem, PaperDefaults()))
	patient := problem
	patient.Windows = 4
	patient.Avoid = []string{"spine1"}
	section("mode paper, patience lost", decide(t, snap, patient, PaperDefaults()))
	leaving, err := Leave(snap, "leaf1", netmap.Compute, 0.70, map[netmap.ReplicaID]string{{Service: "radius"}: "moved 3s ago"})
	if err != nil {
		t.Fatal(err)
	}
	section("who leaves", leaving)
	night := problem
	night.Peaks = map[string]netmap.Demand{"leaf3": {netmap.Compute: 1.2}, "spine1": {netmap.Compute: 0.3}}
	section("a move at night", decide(t, snap, night, Defaults()))
	leaving, err = Leave(snap, "leaf1", netmap.Compute, 0.70, nil)
	if err != nil {
		t.Fatal(err)
	}
	leaving.Weigh(field(t, snap), func(id netmap.ReplicaID) Problem {
		i := slices.IndexFunc(snap.Replicas, func(r netmap.Placed) bool { return r.ID == id })
		return Problem{Replica: id, Source: "leaf1", Demand: snap.Replicas[i].Demand, DataBytes: snap.Replicas[i].DataBytes}
	})
	section("who leaves, weighed", leaving)
	golden(t, "testdata/explanation.txt", out.String())

	text, err := json.MarshalIndent(chosen, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/explanation.json", string(text)+"\n")
	var back Decision
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(chosen, back); diff != "" {
		t.Errorf("the JSON form loses (-had +read):\n%s", diff)
	}
}

func TestQuestionsThatAreWrong(t *testing.T) {
	snap := network([]netmap.Node{node("a", "compute 0.9"), node("gone", "compute 0.2")}, cable("a", "gone", gbps))
	snap.Nodes[1].Liveness = netmap.Dead
	with := func(change func(*Problem, *Params)) error {
		problem, params := move("a", 0.1), Defaults()
		change(&problem, &params)
		_, err := Decide(snap, problem, params)
		return err
	}
	for want, change := range map[string]func(*Problem, *Params){
		"balance: admission: 1.2 is not in (0, 1]":                  func(_ *Problem, p *Params) { p.Admission = 1.2 },
		"balance: admission: NaN is not in (0, 1]":                  func(_ *Problem, p *Params) { p.Admission = math.NaN() },
		"balance: limits.memory: 0 is not in (0, 1]":                func(_ *Problem, p *Params) { p.Limits = map[netmap.Kind]float64{netmap.Memory: 0} },
		"balance: t_ref: 0s is not positive":                        func(_ *Problem, p *Params) { p.TRef = 0 },
		"balance: balance_weight: -1 is not a weight":               func(_ *Problem, p *Params) { p.BalanceWeight = -1 },
		"balance: cost_weight: +Inf is not a weight":                func(_ *Problem, p *Params) { p.CostWeight = math.Inf(1) },
		"balance: lambda: 1.5 is not in [0, 1]":                     func(_ *Problem, p *Params) { p.Lambda = 1.5 },
		"balance: patience: -1 is negative":                         func(_ *Problem, p *Params) { p.Patience = -1 },
		`balance: mode "x": want product or paper`:                  func(_ *Problem, p *Params) { p.Mode = "x" },
		"balance kms-0: demand.compute: NaN is not an amount":       func(p *Problem, _ *Params) { p.Demand[netmap.Compute] = math.NaN() },
		"balance kms-0: demand.compute: -1 is not an amount":        func(p *Problem, _ *Params) { p.Demand[netmap.Compute] = -1 },
		"balance kms-0: data_bytes: 1e+19 is not an amount of data": func(p *Problem, _ *Params) { p.DataBytes = 1e19 },
		"balance kms-0: peaks.a.compute: NaN is not an amount": func(p *Problem, _ *Params) {
			p.Peaks = map[string]netmap.Demand{"a": {netmap.Compute: math.NaN()}}
		},
		"balance kms-0: constraints: a is pinned and avoided": func(p *Problem, _ *Params) { p.Pin, p.Avoid = []string{"a"}, []string{"a"} },
		"balance kms-0: source: no node z":                    func(p *Problem, _ *Params) { p.Source = "z" },
		"balance kms-0: source: gone is dead, nothing can be carried away from it; place the replica without a source": func(p *Problem, _ *Params) {
			p.Source = "gone"
		},
	} {
		if err := with(change); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, err := Leave(snap, "z", "", 0.7, nil); err == nil {
		t.Error("a replica leaves a node that does not exist")
	}
	if _, err := Leave(snap, "a", "memory", 0.7, nil); err == nil || err.Error() != "leave a: kind: it has no memory" {
		t.Errorf("a replica leaves for a kind the node lacks: %v", err)
	}
	if _, err := Leave(snap, "a", "", math.NaN(), nil); err == nil {
		t.Error("NaN is a limit")
	}
}

// The edge cases of the specification that are a whole network.
func TestWholeNetworks(t *testing.T) {
	for _, c := range []struct {
		name string
		snap *netmap.Snapshot
		need float64
		want string
	}{
		{"one node", network([]netmap.Node{node("a", "compute 0.9")}), 0.1, ""},
		{"all full", network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0.9")}, cable("a", "b", gbps)), 0.1, ""},
		{"larger than any node", network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0")}, cable("a", "b", gbps)), 3, ""},
		{"even nodes, SUB 0", network([]netmap.Node{node("a", "compute 0.9 memory 0.9"), node("b", "compute 0.3 memory 0.3")}, cable("a", "b", gbps)), 0.1, "b"},
		{"idle node", network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0")}, cable("a", "b", gbps)), 0.1, "b"},
		{"through a switch without our programs", network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0")}, cable("a", "x", gbps), cable("x", "b", gbps)), 0.1, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := decide(t, c.snap, move("a", c.need), Defaults()); ranked(d) != c.want {
				t.Errorf("candidates %q, want %q:\n%s", ranked(d), c.want, d)
			}
		})
	}
}

func TestLimitsOfSingleKinds(t *testing.T) {
	params := Defaults()
	params.Limits = map[netmap.Kind]float64{netmap.Memory: 0.5}
	snap := network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0.6 memory 0.4"), node("c", "compute 0.2 memory 0.6")}, cable("a", "b", gbps), cable("a", "c", gbps))
	if got := ranked(decide(t, snap, move("a", 0.05), params)); got != "b" {
		t.Errorf("candidates %q, want b: memory of c is above its own limit", got)
	}
}

var kinds = []netmap.Kind{netmap.Compute, netmap.Memory, netmap.Storage, "acl"}

// question draws a network with everything that can be wrong in it.
func question(t *rapid.T) (*netmap.Snapshot, Problem, Params) {
	number := func(name string) float64 {
		if rapid.IntRange(0, 19).Draw(t, name+" is garbage") == 0 {
			return rapid.SampledFrom([]float64{math.NaN(), -1, math.Inf(1), 0, 1e308, 5e-324, 1e18}).Draw(t, name)
		}
		return float64(rapid.IntRange(0, 100).Draw(t, name)) / 100
	}
	demand := func(name string) netmap.Demand {
		d := netmap.Demand{}
		for _, k := range kinds {
			if rapid.Bool().Draw(t, name+" has "+string(k)) {
				d[k] = float64(rapid.IntRange(0, 60).Draw(t, name+" "+string(k))) / 100
			}
		}
		return d
	}
	snap := &netmap.Snapshot{Reserved: map[string]netmap.Demand{}}
	n := rapid.IntRange(1, 6).Draw(t, "nodes")
	for i := range n {
		node := netmap.Node{Name: fmt.Sprintf("n%d", i), Drained: rapid.IntRange(0, 9).Draw(t, "drained") == 0,
			Liveness: rapid.SampledFrom([]netmap.Liveness{netmap.Alive, netmap.Alive, netmap.Alive, netmap.Stale, netmap.Dead}).Draw(t, "liveness")}
		for _, k := range kinds {
			if rapid.IntRange(0, 3).Draw(t, "lacks it") > 0 {
				node.Resources = append(node.Resources, netmap.Resource{Kind: k, Capacity: 2 * number("capacity"), Used: number("used")})
			}
		}
		snap.Nodes = append(snap.Nodes, node)
		if rapid.Bool().Draw(t, "reserved") {
			snap.Reserved[node.Name] = demand("reserved")
		}
	}
	snap.Nodes[0].Liveness = netmap.Alive
	pick := func(name string) string { return fmt.Sprintf("n%d", rapid.IntRange(0, n-1).Draw(t, name)) }
	for range rapid.IntRange(0, 8).Draw(t, "cables") {
		snap.Links = append(snap.Links, cable(pick("end"), pick("end"), 1e9*number("speed"))...)
	}
	states := []netmap.State{netmap.Unloaded, netmap.Migrating, netmap.Ready, netmap.Running}
	for i := range rapid.IntRange(0, 3).Draw(t, "replicas") {
		snap.Replicas = append(snap.Replicas, netmap.Placed{ID: netmap.ReplicaID{Service: "kms", Replica: i}, Node: pick("at"),
			State: rapid.SampledFrom(states).Draw(t, "state"), Demand: demand("placed"), DataBytes: number("data")})
	}
	problem := Problem{Replica: kms0, Demand: demand("problem"), DataBytes: 1e9 * float64(rapid.IntRange(0, 3).Draw(t, "data")),
		Together: rapid.Bool().Draw(t, "together"), Windows: rapid.IntRange(0, 5).Draw(t, "windows")}
	if rapid.Bool().Draw(t, "a move") {
		problem.Source = "n0"
	}
	if rapid.Bool().Draw(t, "peaks are known") {
		problem.Peaks = map[string]netmap.Demand{pick("peak of"): demand("peak"), "elsewhere": demand("peak elsewhere")}
	}
	params := rapid.SampledFrom([]Params{Defaults(), PaperDefaults()}).Draw(t, "params")
	params.DegreeFilter = rapid.Bool().Draw(t, "degree filter")
	params.Bottleneck = rapid.Bool().Draw(t, "bottleneck")
	return snap, problem, params
}

func mustDecide(t *rapid.T, snap *netmap.Snapshot, problem Problem, params Params) Decision {
	d, err := Decide(snap, problem, params)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNeverExceedsAdmission(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, problem, params := question(t)
		for _, c := range mustDecide(t, snap, problem, params).Candidates {
			n, _ := snap.Node(c.Node)
			if n.Liveness != netmap.Alive || n.Drained || n.Name == problem.Source {
				t.Fatalf("%s is a candidate: %+v", c.Node, n)
			}
			for _, r := range n.Resources {
				if used := r.Used + snap.Reserved[n.Name][r.Kind] + problem.Demand[r.Kind]; used > 0 && !(r.Capacity > 0 && used/r.Capacity < 0.70) {
					if r.Capacity == 0 && r.Used == 0 && problem.Demand[r.Kind] == 0 {
						continue // only a hold on a kind that is not there
					}
					t.Fatalf("%s would use %v of %v %s", c.Node, used, r.Capacity, r.Kind)
				}
			}
			for k, need := range problem.Demand {
				if _, ok := n.Resource(k); need > 0 && !ok {
					t.Fatalf("%s has no %s", c.Node, k)
				}
			}
		}
	})
}

func TestOrderOfInputsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, problem, params := question(t)
		want := mustDecide(t, snap, problem, params)
		r := rand.New(rand.NewPCG(7, rapid.Uint64().Draw(t, "order")))
		other := &netmap.Snapshot{Nodes: slices.Clone(snap.Nodes), Links: slices.Clone(snap.Links), Replicas: slices.Clone(snap.Replicas), Reserved: snap.Reserved}
		r.Shuffle(len(other.Nodes), func(i, j int) { other.Nodes[i], other.Nodes[j] = other.Nodes[j], other.Nodes[i] })
		r.Shuffle(len(other.Links), func(i, j int) { other.Links[i], other.Links[j] = other.Links[j], other.Links[i] })
		r.Shuffle(len(other.Replicas), func(i, j int) { other.Replicas[i], other.Replicas[j] = other.Replicas[j], other.Replicas[i] })
		for i := range other.Nodes {
			rs := slices.Clone(other.Nodes[i].Resources)
			r.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
			other.Nodes[i].Resources = rs
		}
		if diff := cmp.Diff(want, mustDecide(t, other, problem, params)); diff != "" {
			t.Fatalf("another order of the inputs (-want +got):\n%s", diff)
		}
	})
}

func TestExplanationAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, problem, params := question(t)
		d := mustDecide(t, snap, problem, params)
		if _, err := json.Marshal(d); err != nil {
			t.Fatal(err)
		}
		if len(d.Candidates)+len(d.Refused) != len(snap.Nodes) {
			t.Fatalf("%d nodes, %d explained", len(snap.Nodes), len(d.Candidates)+len(d.Refused))
		}
		for i, c := range d.Candidates {
			if i > 0 && c.Gain > d.Candidates[i-1].Gain+1e-8 {
				t.Fatalf("%s gains more than %s before it", c.Node, d.Candidates[i-1].Node)
			}
			if len(c.Refused) > 0 || len(c.Deleted) > 0 && d.Fallback == "" {
				t.Fatalf("%s is a candidate and refused: %v %v", c.Node, c.Refused, c.Deleted)
			}
		}
		for _, s := range d.Refused {
			if len(s.Refused)+len(s.Deleted) == 0 {
				t.Fatalf("%s is refused without a reason", s.Node)
			}
		}
		for _, s := range slices.Concat(d.Candidates, d.Refused) {
			gain, seconds, slowest := 0.0, 0.0, 0.0
			for _, term := range s.Terms {
				gain += term.Value
			}
			for _, h := range s.Path {
				seconds += h.Seconds
				slowest = max(slowest, h.Seconds)
			}
			if params.Bottleneck {
				seconds = slowest
			}
			if math.Abs(gain-s.Gain) > 1e-9*max(1, math.Abs(gain)) || s.CostSeconds != seconds {
				t.Fatalf("%s: gain %v of terms %v, cost %v of hops %v", s.Node, s.Gain, gain, s.CostSeconds, seconds)
			}
			highest := 0.0
			for _, u := range s.Kinds {
				highest = max(highest, u.After+u.Rise)
			}
			if highest != s.Highest.After+s.Highest.Rise {
				t.Fatalf("%s: highest %+v, is %v", s.Node, s.Highest, highest)
			}
			if head := "head-room"; len(s.Terms) > 0 && s.Terms[0].Name == head && s.Terms[0].Value != 1-highest {
				t.Fatalf("%s: %s %v, want 1 - %v", s.Node, head, s.Terms[0].Value, highest)
			}
		}
	})
}

func TestFullNodeElsewhereChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, problem, params := question(t)
		params.DegreeFilter = false // the mean degree is of all nodes
		want := mustDecide(t, snap, problem, params)
		more := &netmap.Snapshot{Nodes: append(slices.Clone(snap.Nodes), node("full", "compute 1 memory 1")), Links: slices.Concat(snap.Links, cable("n0", "full", gbps)),
			Replicas: snap.Replicas, Reserved: snap.Reserved}
		got := mustDecide(t, more, problem, params)
		if diff := cmp.Diff(want.Candidates, got.Candidates); diff != "" {
			t.Fatalf("a full node changed the candidates (-without +with):\n%s", diff)
		}
		if refusal(got, "full") == "" {
			t.Fatal("the full node is not refused")
		}
	})
}

// Every replica of the node is explained once; who relieves comes before who does not.
func TestLeaveProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, _, _ := question(t)
		l, err := Leave(snap, "n0", "", 0.70, nil)
		if err != nil {
			t.Skip("no kind to leave for")
		}
		if _, err := json.Marshal(l); err != nil {
			t.Fatal(err)
		}
		if len(l.Garbage) > 0 {
			return
		}
		here := 0
		for _, r := range snap.Replicas {
			if r.Node == "n0" {
				here++
			}
		}
		if len(l.Order)+len(l.Stays) != here {
			t.Fatalf("%d replicas, %d explained", here, len(l.Order)+len(l.Stays))
		}
		for i, v := range l.Order {
			if i > 0 && v.Relieves && !l.Order[i-1].Relieves {
				t.Fatalf("%s relieves and comes after %s, which does not", v.Replica, l.Order[i-1].Replica)
			}
			if v.Relieves != (v.After < 0.70) {
				t.Fatalf("%s: %+v", v.Replica, v)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{100, 10000} {
		snap := &netmap.Snapshot{}
		r := rand.New(rand.NewPCG(1, 2))
		for i := range n {
			snap.Nodes = append(snap.Nodes, node(fmt.Sprintf("n%05d", i), fmt.Sprintf("compute %.2f forwarding %.2f security %.2f storage %.2f", r.Float64(), r.Float64(), r.Float64(), r.Float64())))
			if i > 0 {
				for range 3 {
					snap.Links = append(snap.Links, cable(snap.Nodes[i].Name, snap.Nodes[r.IntN(i)].Name, 10*gbps)...)
				}
			}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Decide(snap, move("n00000", 0.1), Defaults()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
