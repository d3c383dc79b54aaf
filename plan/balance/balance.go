// Package balance chooses the node a replica goes to, and the replica that leaves an overloaded node: algorithm 1 and
// eq. 1-5 of the behaviour-tree paper, over any set of resource kinds.
//
// It reads a netmap.Snapshot and a Problem, writes nothing, and is told by bt-manager and the scheduler. Decide is a
// pure function: equal inputs give equal decisions, to the last digit, whatever the order of the inputs. Its answer is
// an explanation: every node of the snapshot is in it, ranked or refused, with the numbers that made it so.
package balance

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/graph"
)

// Problem is one replica that needs a node.
type Problem struct {
	Replica   netmap.ReplicaID
	Demand    netmap.Demand // the larger of declared and measured, each kind in its unit
	Source    string        // node it is to leave; "" = a new replica, which carries nothing and pays no cost
	DataBytes float64       // what the move carries

	Pin      []string          // only on these nodes; none = anywhere
	Avoid    []string          // never on these
	Together bool              // may share a node with another replica of its service (no constraints.spread)
	Exclude  map[string]string // nodes that refused, or are kept out otherwise: why

	// Peaks are what nodes use themselves when they are fullest, replicas aside: Memory.Peaks. What is not in it is expected
	// to stay as it is. Mode product.
	Peaks map[string]netmap.Demand

	// Windows of overload confirmed at the source without a move, this one included. Mode paper loses its patience.
	Windows int
}

func (p Problem) check(snap *netmap.Snapshot) error {
	for _, k := range slices.Sorted(maps.Keys(p.Demand)) {
		if !measured(p.Demand[k]) {
			return fmt.Errorf("demand.%s: %v is not an amount", k, p.Demand[k])
		}
	}
	if !measured(p.DataBytes) {
		return fmt.Errorf("data_bytes: %v is not an amount of data", p.DataBytes)
	}
	for _, n := range p.Pin {
		if slices.Contains(p.Avoid, n) {
			return fmt.Errorf("constraints: %s is pinned and avoided", n)
		}
	}
	if err := checkPeaks(p.Peaks); err != nil {
		return err
	}
	if p.Source == "" {
		return nil
	}
	source, ok := snap.Node(p.Source)
	switch {
	case !ok:
		return fmt.Errorf("source: no node %s", p.Source)
	case source.Liveness == netmap.Dead:
		return fmt.Errorf("source: %s is dead, nothing can be carried away from it; place the replica without a source", p.Source)
	}
	return nil
}

func checkPeaks(peaks map[string]netmap.Demand) error {
	for _, n := range slices.Sorted(maps.Keys(peaks)) {
		for _, k := range slices.Sorted(maps.Keys(peaks[n])) {
			if !measured(math.Abs(peaks[n][k])) {
				return fmt.Errorf("peaks.%s.%s: %v is not an amount", n, k, peaks[n][k])
			}
		}
	}
	return nil
}

// Decide ranks the nodes a replica may go to. An error means that the question is wrong; that no node fits is an answer.
func Decide(snap *netmap.Snapshot, problem Problem, params Params) (Decision, error) {
	if err := params.Check(); err != nil {
		return Decision{}, fmt.Errorf("balance: %w", err)
	}
	if err := problem.check(snap); err != nil {
		return Decision{}, fmt.Errorf("balance %s: %w", problem.Replica, err)
	}
	d := Decision{Replica: problem.Replica.String(), Source: problem.Source, Mode: params.Mode, Demand: problem.Demand,
		DataBytes: problem.DataBytes, Admission: params.Admission, Limits: params.Limits,
		Candidates: []Score{}, Refused: []Score{}}
	j := newJudge(snap, problem, params)
	for _, node := range snap.Nodes {
		s := j.score(node)
		if node.Name == problem.Source {
			d.Leaves = j.leaves(node)
		}
		if len(s.Refused) == 0 && len(s.Deleted) == 0 {
			d.Candidates = append(d.Candidates, s)
		} else {
			d.Refused = append(d.Refused, s)
		}
	}
	if len(d.Candidates) == 0 {
		d.fallBack(problem, params)
	}
	slices.SortFunc(d.Candidates, better)
	slices.SortFunc(d.Refused, func(a, b Score) int { return cmp.Compare(a.Node, b.Node) })
	return d, nil
}

// fallBack ranks what mode paper deleted once the overload has lasted: else it would stay for ever.
func (d *Decision) fallBack(problem Problem, params Params) {
	if problem.Windows <= params.Patience {
		return
	}
	refused := []Score{}
	for _, s := range d.Refused {
		if len(s.Refused) == 0 {
			d.Candidates = append(d.Candidates, s)
		} else {
			refused = append(refused, s)
		}
	}
	if len(d.Candidates) > 0 {
		d.Refused = refused
		d.Fallback = fmt.Sprintf("overloaded for %d windows, more than %d: the deleted nodes are ranked", problem.Windows, params.Patience)
	}
}

// better orders candidates: largest gain, then fewer hops, then the lower highest utilisation, then the name. Gains
// closer than rounding noise are equal.
func better(a, b Score) int {
	return cmp.Or(
		cmp.Compare(grain(b.Gain), grain(a.Gain)),
		cmp.Compare(len(a.Path), len(b.Path)),
		cmp.Compare(grain(a.Highest.peak()), grain(b.Highest.peak())),
		cmp.Compare(a.Node, b.Node))
}

func grain(x float64) float64 { return math.Round(x * 1e9) }

// judge holds what the scores of one decision share.
type judge struct {
	problem  Problem
	params   Params
	reserved map[string]netmap.Demand
	hosts    map[string][]string // by node: what of the service is there, in words
	carried  map[string]netmap.Demand
	graph    *graph.Graph
	paths    graph.Tree
	degree   float64 // mean over the nodes that are not dead
}

func newJudge(snap *netmap.Snapshot, problem Problem, params Params) judge {
	j := judge{problem: problem, params: params, reserved: snap.Reserved, hosts: map[string][]string{}}
	for _, r := range snap.Replicas {
		if r.State == netmap.Unloaded || r.ID.Service != problem.Replica.Service {
			continue
		}
		if r.ID == problem.Replica || !problem.Together {
			j.hosts[r.Node] = append(j.hosts[r.Node], fmt.Sprintf("%s is %s there", r.ID, r.State))
		}
	}
	if params.Mode == Product && len(problem.Peaks) > 0 {
		j.carried = map[string]netmap.Demand{}
		carry(j.carried, snap)
	}
	dead := map[string]bool{}
	for _, n := range snap.Nodes {
		dead[n.Name] = n.Liveness == netmap.Dead
	}
	// A switch that is in no row may still forward.
	j.graph = graph.New(snap.Links, func(node string) bool { return !dead[node] })
	j.paths = j.graph.From(problem.Source)
	neighbours, nodes := 0, 0
	for _, n := range snap.Nodes {
		if !dead[n.Name] {
			neighbours += j.graph.Degree(n.Name)
			nodes++
		}
	}
	j.degree = float64(neighbours) / float64(max(nodes, 1))
	return j
}

// score says everything about one node: why it is refused, and its numbers as far as they exist.
func (j judge) score(node netmap.Node) Score {
	s := Score{Node: node.Name, Refused: j.barred(node)}
	if node.Name == j.problem.Source {
		return s
	}
	load, unfit := j.load(node)
	s.Refused = append(s.Refused, unfit...)
	path, reachable := []graph.Hop(nil), true
	if j.problem.Source != "" {
		if path, reachable = j.paths.To(node.Name); !reachable {
			s.Refused = append(s.Refused, "no path from "+j.problem.Source+" over the known links")
		}
	}
	if load == nil {
		return s
	}
	s.Load = *load
	for _, h := range path {
		s.Path = append(s.Path, HopSeconds{h, HopCost(j.problem.DataBytes, h)})
	}
	if !reachable {
		return s
	}
	s.CostSeconds = Cost(j.problem.DataBytes, path)
	if j.params.Bottleneck {
		s.CostSeconds = BottleneckCost(j.problem.DataBytes, path)
	}
	j.weigh(&s)
	if j.params.Mode == Paper && j.problem.Source != "" && len(s.Refused) == 0 {
		s.Deleted = j.deleted(s)
	}
	return s
}

// weigh gives a score its benefit, terms and gain.
func (j judge) weigh(s *Score) {
	tRef := j.params.TRef
	cost := s.CostSeconds / tRef.Seconds()
	if j.params.Mode == Paper {
		s.Benefit = Benefit(s.SUB, s.SUBAfter)
		l := j.params.Lambda
		s.Terms = []Term{
			{"benefit", l * s.Benefit, fmt.Sprintf("%.3g x %.3f, of (%.3f - %.3f) / %.3f", l, s.Benefit, s.SUB, s.SUBAfter, max(s.SUB, leastSUB))},
			{"cost", 0 - (1-l)*cost, fmt.Sprintf("%.3g x %.3g s / %v", 1-l, s.CostSeconds, tRef)},
		}
		s.Gain = Gain(l, s.Benefit, s.CostSeconds, tRef)
		return
	}
	s.Benefit = s.SUB - s.SUBAfter
	b, c := j.params.BalanceWeight, j.params.CostWeight
	s.Terms = []Term{
		{"head-room", 1 - s.Highest.peak(), s.Highest.headRoom()},
		{"balance", b * s.Benefit, fmt.Sprintf("%.3g x (%.3f - %.3f)", b, s.SUB, s.SUBAfter)},
		{"cost", 0 - c*cost, fmt.Sprintf("%.3g x %.3g s / %v", c, s.CostSeconds, tRef)},
	}
	for _, t := range s.Terms {
		s.Gain += t.Value
	}
}

// deleted are the deletions of mode paper. They are for moves only: a replica that runs can stay, a new one cannot.
func (j judge) deleted(s Score) (why []string) {
	if degree := j.graph.Degree(s.Node); j.params.DegreeFilter && float64(degree) < j.degree {
		why = append(why, fmt.Sprintf("degree %d is below the mean %.2f", degree, j.degree))
	}
	if s.Benefit <= 0 {
		return append(why, fmt.Sprintf("benefit %.3f is not above 0", s.Benefit))
	}
	if s.Gain < 0 {
		why = append(why, fmt.Sprintf("gain %.3f is below 0", s.Gain))
	}
	return why
}
