package orders

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/ledger"
)

const (
	readEvery = 500 * time.Millisecond // rows; their writers write each second
	holdTime  = time.Hour              // of what an operation in flight takes at its target; it ends with the operation
	settle    = 5 * time.Second        // after its end the target's own readings show the replica
)

// Trees is the world of the behaviour trees (decide.World): resour_DB as this node has it, and the manager's orders.
type Trees struct {
	m    *Manager
	read func(context.Context) (netmap.Snapshot, error)
	wake func() // the world changed

	mu       sync.Mutex
	snapshot *netmap.Snapshot
	problem  string // of the newest reading
	ledger   ledger.Ledger

	listing sync.Mutex // guards listed
	listed  listed
}

// ForTrees gives the trees their world. read gives the rows, wake is called when there is something new.
func (m *Manager) ForTrees(read func(context.Context) (netmap.Snapshot, error), wake func()) *Trees {
	return &Trees{m: m, read: read, wake: wake, snapshot: &netmap.Snapshot{}}
}

// Run keeps the snapshot new until ctx ends.
func (t *Trees) Run(ctx context.Context) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		t.refresh(ctx)
		t.wake()
		select {
		case <-t.m.Changed():
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (t *Trees) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// An error beside rows names those that were ignored.
	snap, err := t.read(ctx)
	t.m.mu.Lock()
	for i := range snap.Nodes {
		snap.Nodes[i].Drained = t.m.state.Drained[snap.Nodes[i].Name]
	}
	t.m.mu.Unlock()

	t.mu.Lock()
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != t.problem {
		slog.Warn("rows of resour_DB", "err", problem)
		t.problem = problem
	}
	if len(snap.Nodes) > 0 || err == nil {
		t.snapshot = &snap
	}
	t.mu.Unlock()
	t.reserve()
}

// hold promises demand on a node. The caller holds mu.
func (t *Trees) hold(id, node string, demand netmap.Demand, deadline, now time.Time) {
	records, err := t.ledger.Hold(id, node, demand, deadline, now)
	if err != nil {
		slog.Warn("reserve", "op", id, "node", node, "err", err)
	}
	t.apply(records)
}

func (t *Trees) apply(records []ledger.Record) {
	for _, r := range records {
		if err := t.ledger.Apply(r); err != nil { // its own record
			slog.Error("ledger", "err", err)
		}
	}
}

// Problem names the rows that were ignored, and why; "" when there are none.
func (t *Trees) Problem() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.problem
}

// Snapshot implements decide.World.
func (t *Trees) Snapshot() *netmap.Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshot
}

// Requests implements decide.World.
func (t *Trees) Requests() (list []string) {
	t.m.View(func(s *State) {
		for _, name := range slices.Sorted(maps.Keys(s.Services)) {
			if s.Services[name].Index == 0 {
				list = append(list, name)
			}
		}
	})
	return list
}

// Admit implements decide.World.
func (t *Trees) Admit(service string) (index int, err error) {
	err = t.m.decide(func() ([]Record, error) {
		known := t.m.state.Services[service]
		if known == nil {
			return nil, fmt.Errorf("service %s is not wanted any more", service)
		}
		if index = known.Index; index > 0 {
			return nil, nil
		}
		index = t.m.state.Index + 1
		return []Record{{Kind: Admitted, At: time.Now(), ID: service, Index: index}}, nil
	}, nil)
	return index, err
}

// Begin implements decide.World.
func (t *Trees) Begin(o decide.Operation) error {
	if err := t.order(o); err != nil {
		return err
	}
	t.reserve()
	return nil
}

func (t *Trees) order(o decide.Operation) error {
	return t.m.decide(func() ([]Record, error) {
		if _, ok := t.m.state.Ops[o.ID]; ok {
			return nil, nil
		}
		if _, ok := t.m.state.Past(o.ID); ok {
			return nil, nil
		}
		if op, ok := t.m.state.InFlight(o.Replica); ok { // nobody said no: the replica is busy
			return nil, inFlight(op)
		}
		w := t.m.world()
		w.NewID = func() string { return o.ID }
		var records []Record
		var err error
		if o.Verb == decide.Move {
			records, err = t.m.state.Migrate(w, o.Replica, o.To, o.Mode, Options{})
		} else {
			records, err = t.m.state.Place(w, o.Replica, o.To, o.Lost)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", decide.ErrRefused, err)
		}
		op := records[0].Op
		op.Reason, op.Gain, op.Rests = o.Reason, o.Gain, o.Verb == decide.Move
		return records, nil
	}, t.m.beginAll)
}

// reserve promises every target of an operation in flight what the replica needs, until the node's own readings show
// it, and lets the next decision see it. The operations are in the journal, so nothing else need be kept of this.
func (t *Trees) reserve() {
	needs := map[netmap.ReplicaID]netmap.Demand{}
	for _, r := range t.Replicas() {
		if r.Op != "" {
			needs[r.ID] = r.Demand
		}
	}
	targets := map[string]*Op{}
	t.m.View(func(s *State) {
		for id, op := range s.Ops {
			copied := *op
			targets[id] = &copied
		}
	})
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apply(t.ledger.Expire(now))
	for _, id := range slices.Sorted(maps.Keys(targets)) {
		op := targets[id]
		node := op.Node
		if op.Verb == Move {
			node = op.To
		}
		if h, held := t.ledger.Get(id); held && h.Node != node { // a deploy that went on to the next node
			t.apply(t.ledger.Release(id))
		}
		if op.Verb == Deploy || op.Verb == Move {
			t.hold(id, node, needs[op.Replica], now.Add(holdTime), now)
		}
	}
	for _, h := range t.ledger.Holds() {
		if targets[h.ID] == nil && h.Deadline.Sub(now) > settle {
			t.apply(t.ledger.Release(h.ID))
			t.hold(h.ID, h.Node, h.Demand, now.Add(settle), now)
		}
	}
	snap := *t.snapshot
	snap.Reserved = t.ledger.Reserved()
	t.snapshot = &snap
}

// Advance implements decide.World.
func (t *Trees) Advance(id string, to decide.Step) error {
	return t.m.decide(func() ([]Record, error) { return t.m.state.Advance(time.Now(), id, to) }, nil)
}

// Progress implements decide.World.
func (t *Trees) Progress(id string) decide.Progress {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if op, ok := t.m.state.Ops[id]; ok {
		p := decide.Progress{Stage: decide.Working, Detail: string(op.Step), Node: op.Node}
		switch {
		case op.Lost:
			p.Detail = "asking " + op.Node + " how " + string(op.Step) + " ended"
		case op.Step == StepTransferred:
			p.Stage = decide.Transferred
		case op.Step == StepReady:
			p.Stage = decide.TargetReady
		}
		return p
	}
	past, ok := t.m.state.Past(id)
	switch {
	case !ok:
		return decide.Progress{Stage: decide.Gone}
	case past.Outcome == Committed:
		at, _ := t.m.state.placement(past.Replica)
		return decide.Progress{Stage: decide.Committed, Node: at.Node}
	case past.Code != codes.OK:
		return decide.Progress{Stage: decide.Denied, Detail: past.Error}
	}
	return decide.Progress{Stage: decide.Aborted, Detail: past.Error}
}

// Rest implements decide.World. A journal that cannot be written ends the manager, which says why; one that is another
// leader's now ends the trees.
func (t *Trees) Rest(key string, r decide.Rest) {
	record := Record{Kind: Rested, At: time.Now(), ID: key}
	if r.Tries > 0 {
		record.Rest = &r
	}
	_ = t.m.decide(func() ([]Record, error) { return []Record{record}, nil }, nil)
}

// Rests implements decide.World.
func (t *Trees) Rests() (all map[string]decide.Rest) {
	t.m.View(func(s *State) { all = maps.Clone(s.Rests) })
	return all
}

// Landed implements decide.World. A move that was refused began nothing.
func (t *Trees) Landed() (list []decide.Landing) {
	t.m.View(func(s *State) {
		for _, past := range s.Done {
			if past.Verb == Move && past.Code == codes.OK {
				list = append(list, decide.Landing{Replica: past.Replica, From: past.Node, To: past.To, At: past.At})
			}
		}
	})
	return list
}

// Audit implements decide.World: whoever waits for a deployment hears why it takes time.
func (t *Trees) Audit(replica string, e decide.Entry) {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if feed := t.m.waiting[replica]; feed != nil {
		feed.add(&api.Event{Phase: "place", Detail: e.Text})
	}
}
