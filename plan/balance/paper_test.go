package balance

import (
	"math"
	"strings"
	"testing"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/graph"
)

// These tests walk section 2.4 of "Behavior tree based management and control architecture and scheduling method for
// networking service" in its order. Claims are numbered as in docs/papers.md; what is corrected there is tested as
// corrected.

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

// P1-42 (end of 2.3): the victim. Of those whose absence brings the node below the limit the one with least data; else
// the largest share.
func TestPaper42Victim(t *testing.T) {
	at := func(service string, compute, bytes float64) netmap.Placed {
		return netmap.Placed{ID: netmap.ReplicaID{Service: service}, Node: "a", State: netmap.Running,
			Demand: netmap.Demand{netmap.Compute: compute}, DataBytes: bytes}
	}
	order := func(snap *netmap.Snapshot) string {
		l, err := Leave(snap, "a", "", 0.70, nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, v := range l.Order {
			names = append(names, v.Replica)
		}
		return strings.Join(names, " ")
	}
	snap := network([]netmap.Node{node("a", "compute 0.95 storage 0.9")})
	snap.Replicas = []netmap.Placed{at("big", 0.5, 9e9), at("right", 0.3, 1e6), at("small", 0.1, 1e3)}
	if got, want := order(snap), "right-0 big-0 small-0"; got != want {
		t.Errorf("order %s, want %s: both first relieve, right carries less, small does not relieve", got, want)
	}
	snap.Replicas = []netmap.Placed{at("x", 0.1, 1e3), at("y", 0.2, 9e9)}
	if got, want := order(snap), "y-0 x-0"; got != want {
		t.Errorf("order %s, want %s: none relieves, the larger share leaves", got, want)
	}
}

// P1-43: the target fits, and no node becomes a hot spot.
func TestPaper43NoNewHotSpot(t *testing.T) {
	snap := network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0.55"), node("c", "compute 0.3")},
		cable("a", "b", 10*gbps), cable("b", "c", 10*gbps))
	d := decide(t, snap, move("a", 0.3), Defaults())
	if got := ranked(d); got != "c" {
		t.Errorf("candidates %q, want c: b would be at 0.85 and the next to be overloaded", got)
	}
}

// P1-44: pre-selection by free resources and, where asked for, by degree.
func TestPaper44Preselection(t *testing.T) {
	nodes := []netmap.Node{node("leaf1", "compute 0.9 storage 0.2"), node("leaf2", "compute 0.0 storage 0.3"), node("spine", "compute 0.2 storage 0.5")}
	snap := network(nodes, cable("leaf1", "spine", gbps), cable("leaf2", "spine", gbps))
	params := PaperDefaults()
	if got := ranked(decide(t, snap, move("leaf1", 0.2), params)); got != "spine leaf2" {
		t.Errorf("candidates %q, want both", got)
	}
	params.DegreeFilter = true
	d := decide(t, snap, move("leaf1", 0.2), params)
	if got, want := refusal(d, "leaf2"), "degree 1 is below the mean 1.33"; got != want {
		t.Errorf("leaf2: %q, want %q", got, want)
	}
	if got := refusal(decide(t, snap, move("leaf1", 0.7), Defaults()), "spine"); !strings.Contains(got, "compute 0.2 + 0.7 of 1 = 0.90 is not below 0.70") {
		t.Errorf("spine: %q, want it without room", got)
	}
}

// P1-45: benefit and cost decide together; the largest value is chosen although the prose says the lowest.
func TestPaper45LargestGain(t *testing.T) {
	nodes := []netmap.Node{node("a", "compute 0.9 storage 0.1"), node("near", "compute 0.2 storage 0.4"), node("far", "compute 0.1 storage 0.28")}
	snap := network(nodes, cable("a", "near", gbps), cable("near", "far", gbps))
	problem := move("a", 0.1)
	problem.DataBytes = 0
	if got := ranked(decide(t, snap, problem, PaperDefaults())); got != "far near" {
		t.Errorf("without data: candidates %q, want far near: benefit 0.556 and 0.5", got)
	}
	problem.DataBytes = 2e8
	if d := decide(t, snap, problem, PaperDefaults()); ranked(d) != "near far" || d.Candidates[0].Gain <= d.Candidates[1].Gain {
		t.Errorf("with 1.6 s per hop: candidates %q, want near far, gains falling:\n%s", ranked(d), d)
	}
}

// P1-46: eq. 1, with square and root. It is reported and decides nothing.
func TestPaper46SU(t *testing.T) {
	if got := SU([]float64{0.2, 0.4, 0.6}); !near(got, math.Sqrt(0.08/3)) {
		t.Errorf("SU %v", got)
	}
	if got := SU([]float64{0.5, 0.5}); got != 0 {
		t.Errorf("SU of an even node is %v, want 0", got)
	}
	if got := SU(nil); got != 0 {
		t.Errorf("SU of nothing is %v, want 0", got)
	}
	// Equal highest use and SUB, different SU: the order is by name.
	snap := network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0.1 memory 0.4 storage 0.6"), node("c", "compute 0.1 memory 0.1 storage 0.6")},
		cable("a", "b", gbps), cable("a", "c", gbps))
	d := decide(t, snap, Problem{Replica: kms0, Source: "a"}, Defaults())
	if d.Candidates[0].SU == d.Candidates[1].SU || ranked(d) != "b c" || d.Candidates[0].Gain != d.Candidates[1].Gain {
		t.Errorf("SU decided:\n%s", d)
	}
}

// P1-47: eq. 2.
func TestPaper47SUB(t *testing.T) {
	if got := SUB([]float64{0.2, 0.75, 0.6}); !near(got, 0.55) {
		t.Errorf("SUB %v, want 0.55", got)
	}
	if got := SUB([]float64{0.4}); got != 0 {
		t.Errorf("SUB of one kind is %v, want 0", got)
	}
	if got := SUB(nil); got != 0 {
		t.Errorf("SUB of nothing is %v, want 0", got)
	}
}

// P1-48: eq. 3, finite on an even or idle node. The product takes the difference instead, so an idle node can be chosen.
func TestPaper48Benefit(t *testing.T) {
	for _, c := range []struct{ before, after, want float64 }{
		{0.4, 0.3, 0.25}, {0.4, 0.4, 0}, {0.4, 0.5, -0.25}, {0, 0.3, -1}, {0, 0, 0}, {0.01, 0.11, -1}, {0.005, 0, 0.5},
	} {
		if got := Benefit(c.before, c.after); !near(got, c.want) {
			t.Errorf("benefit(%v -> %v) = %v, want %v", c.before, c.after, got, c.want)
		}
	}
	snap := network([]netmap.Node{node("a", "compute 0.9 storage 0.2"), node("busy", "compute 0.3 storage 0.5"), node("idle", "compute 0 storage 0")},
		cable("a", "busy", gbps), cable("a", "idle", gbps))
	if got := ranked(decide(t, snap, move("a", 0.3), Defaults())); got != "idle busy" {
		t.Errorf("product: candidates %q, want the idle node first", got)
	}
	if got := refusal(decide(t, snap, move("a", 0.3), PaperDefaults()), "idle"); got != "benefit -1.000 is not above 0" {
		t.Errorf("paper: idle is refused with %q: the defect is that an idle node is never chosen", got)
	}
}

// P1-49: eq. 4. With equal hops it is cost(l) x n; hops of other bandwidths count as what they take.
func TestPaper49Cost(t *testing.T) {
	hop := func(bps float64) graph.Hop { return graph.Hop{BPS: bps} }
	if got := Cost(1e9, []graph.Hop{hop(8 * gbps), hop(8 * gbps), hop(8 * gbps)}); !near(got, 3) {
		t.Errorf("cost of 1 GB over 3 hops of 8 Gbit/s is %v s, want 3", got)
	}
	mixed := []graph.Hop{hop(8 * gbps), hop(2 * gbps)}
	if got := Cost(1e9, mixed); !near(got, 5) {
		t.Errorf("cost over 8 and 2 Gbit/s is %v s, want 1 + 4", got)
	}
	if got := BottleneckCost(1e9, mixed); !near(got, 4) {
		t.Errorf("streamed over 8 and 2 Gbit/s it is %v s, want 4", got)
	}
	if got := Cost(1e9, nil); got != 0 {
		t.Errorf("cost without a hop is %v, want 0", got)
	}
	// Five switches in a line, as much free everywhere: nearer wins, and of two neighbours the one behind the faster link.
	nodes := []netmap.Node{node("s1", "compute 0.2"), node("s2", "compute 0.2"), node("s3", "compute 0.9"), node("s4", "compute 0.2"), node("s5", "compute 0.2")}
	line := network(nodes, cable("s1", "s2", 10*gbps), cable("s2", "s3", gbps), cable("s3", "s4", 10*gbps), cable("s4", "s5", 10*gbps))
	if got := ranked(decide(t, line, move("s3", 0.2), Defaults())); got != "s4 s5 s2 s1" {
		t.Errorf("candidates %q, want s4 s5 s2 s1: 0.08, 0.16, 0.8 and 0.88 s", got)
	}
}

// P1-50: eq. 5, cost as a number of T_ref; the largest gain wins.
func TestPaper50Gain(t *testing.T) {
	if got := Gain(0.7, 0.5, 2, 10*time.Second); !near(got, 0.7*0.5-0.3*0.2) {
		t.Errorf("gain %v, want 0.29", got)
	}
	snap := network([]netmap.Node{node("a", "compute 0.9 storage 0.1"), node("b", "compute 0.1 storage 0.4")}, cable("a", "b", gbps))
	best, _ := decide(t, snap, move("a", 0.2), PaperDefaults()).Best()
	if want := Gain(0.7, (0.3-0.1)/0.3, 0.8, 10*time.Second); !near(best.Gain, want) {
		t.Errorf("gain of b is %v, by hand %v", best.Gain, want)
	}
}

// P1-51: state of the whole network in, best node out; while(true) ends with the candidates: each refusal excludes a
// node, and when none is left the answer says so.
func TestPaper51EndsWithTheCandidates(t *testing.T) {
	snap := network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0.2"), node("c", "compute 0.1")}, cable("a", "b", gbps), cable("a", "c", gbps))
	problem := move("a", 0.2)
	problem.Exclude = map[string]string{}
	for _, want := range []string{"c", "b"} {
		best, ok := decide(t, snap, problem, Defaults()).Best()
		if !ok || best.Node != want {
			t.Fatalf("best %q, want %s", best.Node, want)
		}
		problem.Exclude[best.Node] = "refused: no memory"
	}
	d := decide(t, snap, problem, Defaults())
	if _, ok := d.Best(); ok || refusal(d, "b") != "refused: no memory" {
		t.Errorf("want no node left:\n%s", d)
	}
}

// P1-52: lines 2-6. Use plus demand stays below the limit for every kind, and some nodes are never asked.
func TestPaper52Admission(t *testing.T) {
	usual := func() *netmap.Snapshot {
		return network([]netmap.Node{node("a", "compute 0.9 memory 0.2"), node("b", "compute 0.2 memory 0.2")}, cable("a", "b", gbps))
	}
	for _, c := range []struct {
		name   string
		change func(*netmap.Snapshot, *Problem)
		want   string
	}{
		{"fits", func(*netmap.Snapshot, *Problem) {}, ""},
		{"just below", func(s *netmap.Snapshot, p *Problem) { p.Demand[netmap.Compute] = 0.4999 }, ""},
		{"at the limit", func(s *netmap.Snapshot, p *Problem) { p.Demand[netmap.Compute] = 0.5 }, "compute 0.2 + 0.5 of 1 = 0.70 is not below 0.70"},
		{"a hair above", func(s *netmap.Snapshot, p *Problem) { p.Demand[netmap.Compute] = 0.5001 }, "compute 0.2 + 0.5001 of 1 = 0.7001 is not below 0.70"},
		{"a kind it does not need is full", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Resources[1].Used = 0.72 }, "memory is at 0.72 already, not below 0.70"},
		{"a kind the node lacks", func(s *netmap.Snapshot, p *Problem) { p.Demand[netmap.Security] = 5 }, "has no security, the service needs 5"},
		{"a kind the node lacks, needed with 0", func(s *netmap.Snapshot, p *Problem) { p.Demand[netmap.Security] = 0 }, ""},
		{"no capacity", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Resources[0] = netmap.Resource{Kind: netmap.Compute} }, "has no compute, the service needs 0.1"},
		{"use without capacity", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Resources[1].Capacity = 0 }, "memory is at 1.00 already, not below 0.70"},
		{"reserved", func(s *netmap.Snapshot, p *Problem) {
			s.Reserved = map[string]netmap.Demand{"b": {netmap.Compute: 0.45}}
		}, "compute 0.65 + 0.1 of 1 = 0.75 is not below 0.70"},
		{"NaN", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Resources[1].Used = math.NaN() }, "memory: NaN of 1 is no reading"},
		{"negative", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Resources[1].Capacity = -1 }, "memory: 0.2 of -1 is no reading"},
		{"infinite", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Resources[0].Capacity = math.Inf(1) }, "compute: 0.2 of +Inf is no reading"},
		{"negative reservation", func(s *netmap.Snapshot, p *Problem) {
			s.Reserved = map[string]netmap.Demand{"b": {netmap.Compute: -1}}
		}, "compute: -1 is no reservation"},
		{"listed twice", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Resources[1].Kind = netmap.Compute }, "compute is listed twice"},
		{"runs the replica already", func(s *netmap.Snapshot, p *Problem) {
			s.Replicas = []netmap.Placed{{ID: kms0, Node: "b", State: netmap.Ready}}
		}, "kms-0 is ready there"},
		{"runs the service", func(s *netmap.Snapshot, p *Problem) {
			s.Replicas = []netmap.Placed{{ID: netmap.ReplicaID{Service: "kms", Replica: 1}, Node: "b", State: netmap.Running}}
		}, "kms-1 is running there"},
		{"runs the service, which may be together", func(s *netmap.Snapshot, p *Problem) {
			p.Together = true
			s.Replicas = []netmap.Placed{{ID: netmap.ReplicaID{Service: "kms", Replica: 1}, Node: "b", State: netmap.Running}}
		}, ""},
		{"ran it", func(s *netmap.Snapshot, p *Problem) {
			s.Replicas = []netmap.Placed{{ID: kms0, Node: "b", State: netmap.Unloaded}}
		}, ""},
		{"stale", func(s *netmap.Snapshot, p *Problem) {
			s.Nodes[1].Liveness, s.Nodes[1].Heard = netmap.Stale, 4*time.Second
		}, "is stale, silent for 4s"},
		{"dead, and nothing goes through it", func(s *netmap.Snapshot, p *Problem) {
			s.Nodes[1].Liveness, s.Nodes[1].Heard = netmap.Dead, time.Minute
		}, "is dead, silent for 1m0s; no path from a over the known links"},
		{"never heard", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Liveness = "" }, "is not known to be alive"},
		{"drained", func(s *netmap.Snapshot, p *Problem) { s.Nodes[1].Drained = true }, "is drained by an operator"},
		{"pinned elsewhere", func(s *netmap.Snapshot, p *Problem) { p.Pin = []string{"a", "x"} }, "constraints.pin allows only a, x"},
		{"pinned here", func(s *netmap.Snapshot, p *Problem) { p.Pin = []string{"b"} }, ""},
		{"avoided", func(s *netmap.Snapshot, p *Problem) { p.Avoid = []string{"b"} }, "constraints.avoid names it"},
		{"unreachable", func(s *netmap.Snapshot, p *Problem) { s.Links = nil }, "no path from a over the known links"},
		{"link of unknown speed", func(s *netmap.Snapshot, p *Problem) { s.Links[0].SpeedBPS = 0 }, "no path from a over the known links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			snap, problem := usual(), move("a", 0.1)
			c.change(snap, &problem)
			for _, params := range []Params{Defaults(), PaperDefaults()} {
				params.Patience = 0
				problem.Windows = 1 // mode paper ranks what it would delete; admission is not deleted
				d := decide(t, snap, problem, params)
				if got := refusal(d, "b"); got != c.want {
					t.Errorf("%s: b is refused with %q, want %q", params.Mode, got, c.want)
				}
				if refusal(d, "a") == "" {
					t.Errorf("%s: the source is a candidate", params.Mode)
				}
			}
		})
	}
}

// P1-53: lines 7-12. What does not improve is deleted (printed the other way round), in mode paper only.
func TestPaper53DeletesWithoutBenefit(t *testing.T) {
	snap := network([]netmap.Node{node("a", "compute 0.9 storage 0.1"), node("better", "compute 0.1 storage 0.5"), node("worse", "compute 0.3 storage 0.1")},
		cable("a", "better", 100*gbps), cable("a", "worse", 100*gbps))
	d := decide(t, snap, move("a", 0.2), PaperDefaults())
	if ranked(d) != "better" || refusal(d, "worse") != "benefit -1.000 is not above 0" {
		t.Errorf("want better alone:\n%s", d)
	}
	if got := ranked(decide(t, snap, move("a", 0.2), Defaults())); got != "better worse" {
		t.Errorf("product: %q, want both ranked", got)
	}
}

// P1-54: lines 13-20. A negative gain is deleted, in mode paper only and only for some windows.
func TestPaper54DeletesNegativeGain(t *testing.T) {
	snap := network([]netmap.Node{node("a", "compute 0.9 storage 0.1"), node("b", "compute 0.1 storage 0.5")}, cable("a", "b", gbps))
	problem := move("a", 0.1)
	problem.DataBytes = 10e9 // 80 s
	problem.Windows = 3
	d := decide(t, snap, problem, PaperDefaults())
	if ranked(d) != "" || !strings.Contains(refusal(d, "b"), "gain -2.225 is below 0") {
		t.Errorf("want b deleted:\n%s", d)
	}
	problem.Windows = 4
	d = decide(t, snap, problem, PaperDefaults())
	if ranked(d) != "b" || d.Fallback != "overloaded for 4 windows, more than 3: the deleted nodes are ranked" {
		t.Errorf("want b ranked after all, and said so:\n%s", d)
	}
	if got := ranked(decide(t, snap, problem, Defaults())); got != "b" {
		t.Errorf("product: %q, want b", got)
	}
	// A new replica cannot stay where it is: nothing is deleted.
	if got := ranked(decide(t, network([]netmap.Node{node("idle", "compute 0 storage 0")}), move("", 0.1), PaperDefaults())); got != "idle" {
		t.Errorf("placing on an idle network: %q, want idle", got)
	}
}

// P1-55: line 21, arg max. Ties: fewer hops, lower highest use, name.
func TestPaper55Ties(t *testing.T) {
	star := func(nodes ...netmap.Node) *netmap.Snapshot {
		snap := network(append([]netmap.Node{node("a", "compute 0.9")}, nodes...))
		for _, n := range nodes {
			snap.Links = append(snap.Links, cable("a", n.Name, gbps)...)
		}
		return snap
	}
	params := Defaults()
	params.CostWeight = 0
	line := network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0.2"), node("c", "compute 0.2")}, cable("a", "c", gbps), cable("c", "b", gbps))
	if got := ranked(decide(t, line, move("a", 0.1), params)); got != "c b" {
		t.Errorf("equal gains: %q, want fewer hops first", got)
	}
	if got := ranked(decide(t, star(node("y", "compute 0.2"), node("x", "compute 0.2")), move("a", 0.1), Defaults())); got != "x y" {
		t.Errorf("all equal: %q, want the order of names", got)
	}
	paper := PaperDefaults()
	paper.Kinds = []netmap.Kind{netmap.Compute, netmap.Storage}
	d := decide(t, star(node("x", "compute 0.2 storage 0.4 memory 0.6"), node("y", "compute 0.2 storage 0.4 memory 0.1")), move("a", 0.1), paper)
	if ranked(d) != "y x" || d.Candidates[0].Gain != d.Candidates[1].Gain {
		t.Errorf("equal gains and hops: want the lower highest use first:\n%s", d)
	}
	// Rounding is no difference: 0.1 + 0.2 of 1 and 0.3 of 1.
	noisy := star(node("x", "compute 0.30000000000000004"), node("y", "compute 0.3"))
	if got := ranked(decide(t, noisy, move("a", 0.1), Defaults())); got != "x y" {
		t.Errorf("equal but for rounding: %q, want the order of names", got)
	}
}
