package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// Shared is what the leaves of all trees know together: how long nodes have been overloaded, which moves are under way,
// who rests after a failure. Whoever drives the trees calls Observe before each round of ticks, on the same goroutine.
type Shared struct {
	params  Params
	balance balance.Params
	epoch   uint64 // part of operation IDs, so that none is issued twice

	origin   time.Time
	now      time.Duration // since origin
	nodes    map[string]*watched
	all      []Replica                // by ID
	place    map[netmap.ReplicaID]int // in all
	named    map[string]int           // the same
	figures  []figure                 // by index of the service
	shown    map[int]bool             // services on the blackboard
	requests []string
	news     News
	tunings  map[string]Params // thresholds that trees name, parsed

	// What a leaf asked for last: those of a tree ask for the same one after the other, and most trees for the same limits.
	asked       *Replica
	askedName   string
	askedNode   *netmap.Node // of indexed
	askedLimits string
	limited     *Params

	indexed *netmap.Snapshot
	index   map[string]int // of its nodes
	moves   *Moves
	memory  balance.Memory              // what nodes do by themselves over a day
	flights map[string]netmap.ReplicaID // moves Moves knows, by operation
	rests   map[string]rest             // by replica, or service that waits to be admitted
	steps   map[netmap.ReplicaID]step   // how far their operations were
	said    map[string]Entry            // newest audit entry by replica
	issued  int
	picked  int // of the replicas a tree that looks after all has looked at last
}

// News is what is other than before, as far as trees may act on it.
type News struct {
	Members  bool            // replicas came or went
	Requests bool            // services wait to be admitted, or do no more
	Replicas map[string]bool // where they stand, or how far their operations are
	Nodes    map[string]bool // alive or not, drained or not, overloaded or not
}

func (n *News) replica(id netmap.ReplicaID) {
	if n.Replicas == nil {
		n.Replicas = map[string]bool{}
	}
	n.Replicas[id.String()] = true
}

func (n *News) node(name string) {
	if n.Nodes == nil {
		n.Nodes = map[string]bool{}
	}
	n.Nodes[name] = true
}

// figure is one service as the blackboard shows it: @Service1 = name and needs, @Policy1 = where it runs.
type figure struct {
	replicas []int // in all
	stale    bool  // not on the blackboard as it is
}

// watched is what one node has shown.
type watched struct {
	sign    string   // what News compares
	samples []Sample // newest last
	judges  map[tuning]*judging
}

// tuning is what a leaf asks of a judgement. Leaves that ask the same share a judge.
type tuning struct {
	thresholds string
	samples    int
	period     time.Duration
}

type judging struct {
	*Judge
	fed   time.Duration
	begun bool
}

// step is how far an operation is.
type step struct {
	op     string
	stage  Stage
	detail string
}

// rest is until when nothing is tried again, and how often it failed in a row.
type rest struct {
	tries int
	until time.Duration
}

// keptSamples of each node are enough to begin a judgement with other parameters in the middle of an overload.
const keptSamples = 64

// NewShared checks the parameters. The epoch grows with each start of the manager.
func NewShared(p Params, b balance.Params, epoch uint64) (*Shared, error) {
	moves, err := NewMoves(p)
	if err != nil {
		return nil, err
	}
	if err := b.Check(); err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	return &Shared{params: p, balance: b, epoch: epoch, moves: moves, nodes: map[string]*watched{},
		place: map[netmap.ReplicaID]int{}, named: map[string]int{}, tunings: map[string]Params{}, shown: map[int]bool{},
		flights: map[string]netmap.ReplicaID{}, rests: map[string]rest{}, steps: map[netmap.ReplicaID]step{}, said: map[string]Entry{}}, nil
}

// Root gives the parameters as entries of the root blackboard, {@Samples} in a tree.
func (s *Shared) Root() map[string]any {
	return map[string]any{
		"Thresholds":     FormatThresholds(s.params),
		"Samples":        s.params.Samples,
		"SamplePeriodMs": s.params.Period.Milliseconds(),
		"Admission":      s.balance.Admission,
		"Scoring":        string(s.balance.Mode),
		"Lambda":         s.balance.Lambda,
		"BalanceWeight":  s.balance.BalanceWeight,
		"CostWeight":     s.balance.CostWeight,
		"TRefMs":         s.balance.TRef.Milliseconds(),
	}
}

// News tells what was found to be new since it was last asked.
func (s *Shared) News() News {
	news := s.news
	s.news = News{}
	return news
}

// Observe takes the world in: a sample of each node, the replicas, and how the moves under way are.
func (s *Shared) Observe(w World, now time.Time) {
	if s.origin.IsZero() {
		s.origin = now
		s.recall(w, now)
	}
	s.now = now.Sub(s.origin)
	snap := w.Snapshot()
	s.list(w)
	s.sample(snap)
	s.memory.Observe(snap, s.now)
	s.follow(w, snap)
	requests := w.Requests()
	s.news.Requests = s.news.Requests || !slices.Equal(requests, s.requests)
	s.requests = requests
}

// Replicas are all that are desired, by ID. They are not to be changed, and hold until the next Observe.
func (s *Shared) Replicas() []Replica { return s.all }

// recall takes over what a manager before this one knew of failures and of moves. A wall clock that was set in between
// makes no wait longer than it would have been.
func (s *Shared) recall(w World, now time.Time) {
	for key, r := range w.Rests() {
		s.rests[key] = rest{r.Tries, min(r.Until.Sub(now), Backoff(r.Tries))}
	}
	for _, l := range w.Landed() {
		s.moves.Recall(l.Replica, l.From, l.To, min(l.At.Sub(now), 0))
	}
}

// list takes the replicas in. Most calls find what the one before found, of many replicas, and so cost little.
func (s *Shared) list(w World) {
	all := w.Replicas()
	if byID := func(a, b Replica) int { return a.ID.Compare(b.ID) }; !slices.IsSortedFunc(all, byID) {
		slices.SortFunc(all, byID)
	}
	before := s.all
	s.all, s.asked = all, nil
	same := slices.EqualFunc(before, all, func(a, b Replica) bool { return a.ID == b.ID && a.Index == b.Index })
	for i := range all {
		is, j := &all[i], i
		if !same {
			known := false
			if j, known = s.place[is.ID]; !known {
				continue
			}
		}
		was := &before[j]
		moved := was.Node != is.Node || was.Op != is.Op || was.LeaseOver != is.LeaseOver || was.Redeploy != is.Redeploy || was.Wanted != is.Wanted
		if moved {
			s.news.replica(is.ID)
		}
		if same && (moved || !maps.Equal(was.Demand, is.Demand)) {
			s.figures[is.Index].stale = true
		}
	}
	if !same {
		s.news.Members = true
		s.arrange()
	}
}

// arrange finds the places of other replicas than before.
func (s *Shared) arrange() {
	clear(s.place)
	clear(s.named)
	s.figures = s.figures[:0]
	for i, r := range s.all {
		s.place[r.ID], s.named[r.ID.String()] = i, i
		for len(s.figures) <= r.Index {
			s.figures = append(s.figures, figure{stale: true})
		}
		s.figures[r.Index].replicas = append(s.figures[r.Index].replicas, i)
	}
}

// wanted says whether a service of that index is.
func (s *Shared) wanted(index int) bool {
	return index < len(s.figures) && len(s.figures[index].replicas) > 0
}

// find gives a replica that is desired.
func (s *Shared) find(id netmap.ReplicaID) (*Replica, bool) {
	i, ok := s.place[id]
	if !ok {
		return nil, false
	}
	return &s.all[i], true
}

// text words what the paper's figure 4 shows of a service.
func (s *Shared) text(f figure) (service, policy string) {
	var places []string
	for _, i := range f.replicas {
		r := &s.all[i]
		if service == "" {
			service = fmt.Sprintf("%s: %s", r.ID.Service, needs(r.Demand))
		}
		if r.Node != "" {
			places = append(places, fmt.Sprintf("%s on %s", r.ID, r.Node))
		}
	}
	return service, strings.Join(places, ", ")
}

// sample feeds the judges. A node that is silent gives no sample, however its last one was; one that lives and repeats
// itself does, because unchanged rows are not sent again.
func (s *Shared) sample(snap *netmap.Snapshot) {
	alive := map[string]bool{}
	for _, n := range snap.Nodes {
		if n.Liveness != netmap.Alive {
			continue
		}
		alive[n.Name] = true
		seen := s.nodes[n.Name]
		if seen == nil {
			seen = &watched{judges: map[tuning]*judging{}}
			s.nodes[n.Name] = seen
		}
		sample := Sample{At: s.now, Use: use(n)}
		over := joinKinds(s.params.Over(sample.Use))
		if last := len(seen.samples) - 1; last < 0 || s.now-seen.samples[last].At >= s.params.Period/2 {
			seen.samples = append(seen.samples[max(0, last+2-keptSamples):], sample)
		}
		for _, j := range seen.judges {
			j.take(sample)
		}
		_, _ = s.judge(n.Name, s.standard()) // its parameters are checked
		s.sign(n, seen, over)
	}
	for name, seen := range s.nodes {
		for _, j := range seen.judges {
			if !alive[name] {
				j.At(s.now)
			}
		}
		n, known := snap.Node(name)
		switch {
		case !known:
			delete(s.nodes, name)
			s.news.node(name)
		case !alive[name]:
			s.sign(n, seen, "")
		}
	}
}

// sign notes whether a node is another than before for a tree that looks at it. Its readings are new each second; what
// they mean hardly ever is.
func (s *Shared) sign(n netmap.Node, seen *watched, over string) {
	judged := 0 // states of all kinds of all judges, whose order does not matter
	for _, j := range seen.judges {
		for _, w := range j.kinds {
			judged += (urgency(w.State) + 1) * (len(w.Kind) + 10*w.Windows + 1)
		}
	}
	if sign := fmt.Sprintf("%s %t %s %d", n.Liveness, n.Drained, over, judged); sign != seen.sign {
		seen.sign = sign
		s.news.node(n.Name)
	}
}

// use is a node's utilisation by kind.
func use(n netmap.Node) map[netmap.Kind]float64 {
	all := map[netmap.Kind]float64{}
	for _, r := range n.Resources {
		all[r.Kind] = r.Utilisation()
	}
	return all
}

// take feeds a sample once a period, however often the trees are woken: n samples are n periods.
func (j *judging) take(sample Sample) {
	if j.begun && sample.At-j.fed < j.params.Period*9/10 {
		return
	}
	j.begun, j.fed = true, sample.At
	j.Feed(sample)
}

// nodeOf finds a node of a snapshot, nil without. It is not to be changed.
func (s *Shared) nodeOf(snap *netmap.Snapshot, name string) *netmap.Node {
	if s.indexed != snap {
		s.indexed, s.index, s.askedNode = snap, map[string]int{}, nil
		for i, n := range snap.Nodes {
			s.index[n.Name] = i
		}
	}
	if s.askedNode == nil || s.askedNode.Name != name {
		i, ok := s.index[name]
		if !ok {
			return nil
		}
		s.askedNode = &snap.Nodes[i]
	}
	return s.askedNode
}

// limits are the parameters with the thresholds that a tree names. They are not to be changed.
func (s *Shared) limits(thresholds string) (*Params, error) {
	if s.limited != nil && s.askedLimits == thresholds {
		return s.limited, nil
	}
	p, known := s.tunings[thresholds]
	if !known {
		var err error
		if p, err = ParseThresholds(thresholds, s.params); err != nil {
			return &s.params, err
		}
		if len(s.tunings) < 100 { // a tree may compute them
			s.tunings[thresholds] = p
		}
	}
	s.askedLimits, s.limited = thresholds, &p
	return s.limited, nil
}

func (s *Shared) standard() tuning {
	return tuning{FormatThresholds(s.params), s.params.Samples, s.params.Period}
}

// judge gives the judge of a node with that tuning, nil for a node that was never alive. A new one first hears what the
// node has shown lately.
func (s *Shared) judge(node string, t tuning) (*judging, error) {
	seen := s.nodes[node]
	if seen == nil {
		return nil, nil
	}
	if j := seen.judges[t]; j != nil {
		return j, nil
	}
	p := s.params
	p.Samples, p.Period = t.samples, t.period
	p, err := ParseThresholds(t.thresholds, p)
	if err != nil {
		return nil, err
	}
	judge, err := NewJudge(p)
	if err != nil {
		return nil, err
	}
	j := &judging{Judge: judge}
	for _, sample := range seen.samples {
		j.take(sample)
	}
	seen.judges[t] = j
	return j, nil
}

// Verdicts gives the judgement on every node with the parameters of the manager.
func (s *Shared) Verdicts() map[string]Judgement {
	all := map[string]Judgement{}
	for name, seen := range s.nodes {
		if j := seen.judges[s.standard()]; j != nil {
			all[name] = j.judgement()
		}
	}
	return all
}

// follow tells Moves which moves there are, whoever ordered them, and begins the judgement on both nodes anew when one
// is over.
func (s *Shared) follow(w World, snap *netmap.Snapshot) {
	for _, id := range slices.Sorted(maps.Keys(s.flights)) {
		switch stage := w.Progress(id).Stage; stage {
		case Committed, Aborted, Gone, Denied:
			s.land(id, stage)
		}
	}
	for i := range s.all {
		r := &s.all[i]
		if r.Op != "" {
			s.progress(w, r)
		}
		if _, known := s.flights[r.Op]; known || r.Op == "" || r.Node == "" {
			continue
		}
		to := ""
		for _, p := range snap.Replicas {
			if p.ID == r.ID && p.Node != r.Node && p.State != netmap.Unloaded {
				to = p.Node
			}
		}
		s.fly(r.Op, r.ID, r.Node, to)
	}
}

// progress notes whether the operation of a replica has come further.
func (s *Shared) progress(w World, r *Replica) {
	p := w.Progress(r.Op)
	if seen := (step{r.Op, p.Stage, p.Detail}); s.steps[r.ID] != seen {
		s.steps[r.ID] = seen
		s.news.replica(r.ID)
	}
}

func (s *Shared) fly(op string, id netmap.ReplicaID, from, to string) {
	s.flights[op] = id
	s.moves.Begin(id, from, to)
}

func (s *Shared) land(op string, stage Stage) {
	id := s.flights[op]
	delete(s.flights, op)
	if stage == Denied { // nothing was begun
		s.moves.Refused(id)
		return
	}
	if f, ok := s.moves.flying[id]; ok {
		for _, node := range []string{f.from, f.to} {
			if seen := s.nodes[node]; seen != nil {
				for _, j := range seen.judges {
					j.Disarm(fmt.Sprintf("the move of %s from %s to %s is over", id, f.from, f.to))
				}
			}
		}
	}
	s.moves.End(id, s.now)
}

// newOp names an operation.
func (s *Shared) newOp(id netmap.ReplicaID) string {
	s.issued++
	return fmt.Sprintf("%s%s-e%d-%d", treeOp, id, s.epoch, s.issued)
}

// treeOp begins the IDs of operations the trees issue.
const treeOp = "tree-"

// own says whether an operation was issued by a tree, perhaps before a restart.
func own(op string) bool { return strings.HasPrefix(op, treeOp) }

// resting says how long something is not tried again yet.
func (s *Shared) resting(key string) time.Duration { return max(0, s.rests[key].until-s.now) }

// failed begins a rest. Failures that lie further apart than the longest rest are not in a row.
func (s *Shared) failed(w World, key string) (time.Duration, int) {
	r := s.rests[key]
	if s.now-r.until > Backoff(1<<10) {
		r.tries = 0
	}
	r.tries++
	r.until = s.now + Backoff(r.tries)
	s.rests[key] = r
	w.Rest(key, Rest{r.tries, s.origin.Add(r.until)})
	return r.until - s.now, r.tries
}

// succeeded ends a rest.
func (s *Shared) succeeded(w World, key string) {
	if _, ok := s.rests[key]; ok {
		delete(s.rests, key)
		w.Rest(key, Rest{})
	}
}

// Forget drops what is known of a replica that is not desired any more.
func (s *Shared) Forget(id netmap.ReplicaID) {
	delete(s.rests, id.String())
	delete(s.said, id.String())
	delete(s.steps, id)
}

// audit notes an entry, once as long as nothing else is said of the replica.
func (s *Shared) audit(w World, replica string, e Entry) {
	if last, ok := s.said[replica]; ok && last.What == e.What && last.Text == e.Text && last.Op == e.Op {
		return
	}
	s.said[replica] = e
	w.Audit(replica, e)
}
