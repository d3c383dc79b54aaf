// Package run ticks the manager's behaviour trees: one for intake, one for each desired replica.
//
// It reads decide.World, writes the audit and the mirror of the blackboards, and is told by Wake that something has
// changed. One goroutine ticks all trees; each is ticked when it asked to be, when something changed that concerns it, and
// after 1 s at the latest.
package run

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// Config of a Runner.
type Config struct {
	Params  decide.Params
	Balance balance.Params

	File trees.File // of the trees; none = the built-in one

	Epoch uint64 // of the manager: part of the IDs of operations
	Audit string // file the audit is appended to; "" = none
	Store Store  // keeps the runs; nil = each manager begins anew

	Kept func(took time.Duration) // is told how long the store took for a run; nil = nobody asks
}

// Mirror shows blackboards outside. It is given what changed since it was called last; an entry without a value any more
// comes as "". Tree is "root" for what all trees share, else a replica or "intake".
type Mirror interface {
	Blackboard(tree string, entries map[string]string)
}

// Runner ticks the trees.
type Runner struct {
	counters
	world  decide.World
	mirror Mirror
	log    *slog.Logger
	wake   chan struct{} // holds one: wakes in between are one

	config Config
	audit  *audit
	store  Store
	reg    *bt.Registry

	mu       sync.Mutex // guards all below; held during a round of ticks
	file     trees.File
	programs programs
	standing Standing
	force    bool                   // trees of an older file are halted
	kept     map[string]bt.Snapshot // runs of the manager before this one that have not been taken up; nil before the first round
	holds    map[string]decide.Hold // by tree
	shared   *decide.Shared
	root     *board.Board
	trees    map[string]*tree // by replica, "" = intake
	queue    queue            // of those that no operator holds
	named    map[*bt.Program][]bt.Key
	ticking  *tree
	tallies  map[*bt.Program]*tally
	batch    []*tree   // ticked in the pass that runs
	looked   time.Time // newest look at the world that was due, not woken: samples are taken at even steps
	older    bool      // some tree runs an older file
	mirrored map[string]map[string]string
	changed  map[string]map[string]string // since the mirror was last told
	watchers []Watcher
}

// New compiles the trees and checks the parameters. It names every fault of the file with file:line:col.
func New(cfg Config, world decide.World, mirror Mirror, log *slog.Logger) (*Runner, error) {
	shared, err := decide.NewShared(cfg.Params, cfg.Balance, cfg.Epoch)
	if err != nil {
		return nil, fmt.Errorf("parameters of the trees: %w", err)
	}
	r := &Runner{world: world, mirror: mirror, log: log, wake: make(chan struct{}, 1), config: cfg, shared: shared,
		root: board.New(), named: map[*bt.Program][]bt.Key{}, holds: map[string]decide.Hold{}, tallies: map[*bt.Program]*tally{}, trees: map[string]*tree{}, mirrored: map[string]map[string]string{}, changed: map[string]map[string]string{}}
	r.reg, r.store = bt.NewRegistry(), cfg.Store
	decide.Register(r.reg, auditing{world, r}, shared)
	r.file = cfg.File
	if r.file.Equal(trees.File{}) {
		r.file = Builtin()
	}
	if r.programs, err = load(r.reg, r.file); err != nil {
		return nil, err
	}
	if r.audit, err = openAudit(cfg.Audit); err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	for key, value := range shared.Root() {
		if err := r.root.Set(key, value, now); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Wake says that something has changed: the trees are ticked soon.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run ticks until ctx ends. Operations then rest where they are: the next manager goes on with them.
func (r *Runner) Run(ctx context.Context) error {
	defer r.audit.close()
	defer r.letGo()
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		woken := false
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
			woken = true
		}
		now := start.Add(time.Since(start)) // deadlines in trees are wall times: one that does not jump
		next := r.round(now, woken)
		timer.Reset(max(0, next.Sub(start)-time.Since(start)))
	}
}

// letGo stops all trees and undoes nothing: what they have begun goes on, and the next manager takes it up.
func (r *Runner) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.trees {
		t.run.Halt(r.audit.now, bt.HaltDeposed)
	}
	clear(r.trees)
	r.queue, r.kept = nil, nil
}

// round ticks the trees that are due, and answers when to come again. Woken says that the world may have changed.
func (r *Runner) round(now time.Time, woken bool) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.audit.now = now
	first := r.kept == nil
	due := first || !now.Before(r.looked.Add(r.period()))
	if due {
		r.looked = now
	}
	if due || woken {
		r.shared.Observe(r.world, now)
	}
	if first {
		r.recall()
		r.arrange(now)
		for name := range r.kept { // nobody desires them any more
			r.keep(name, nil)
			delete(r.kept, name)
		}
	}
	if r.older {
		r.replant(now)
		r.arrange(now)
	}
	for range passes {
		r.spread(r.shared.News(), now)
		if !r.pass(now) {
			break
		}
	}
	r.roundEnded()
	next := r.looked.Add(r.period())
	if t, due := r.queue.first(); t != nil && due < next.UnixNano() {
		next = time.Unix(0, due)
	}
	return next
}

// passes of one round: what a tree has done, such as to admit a service, may concern others at once.
const passes = 3

// period is how often the world is looked at, woken or not: overload is counted in samples.
func (r *Runner) period() time.Duration { return min(floor, r.config.Params.Period) }

// pass ticks the trees that are due, in the order of their names, and says whether there were any.
func (r *Runner) pass(now time.Time) bool {
	r.batch = r.batch[:0]
	for t, due := r.queue.first(); t != nil && due <= now.UnixNano(); t, due = r.queue.first() {
		r.queue.pop()
		t.due = never
		r.batch = append(r.batch, t)
	}
	slices.SortFunc(r.batch, func(a, b *tree) int {
		return a.id.Compare(b.id)
	})
	for _, t := range r.batch {
		r.tick(t, now)
	}
	r.spreadBoard(r.show(), now)
	return len(r.batch) > 0
}

// tick ticks one tree, keeps what changed, and makes it due again.
func (r *Runner) tick(t *tree, now time.Time) {
	why := t.why
	if why == "" && t.asked {
		why = byDeadline
	}
	r.count(cmp.Or(why, byFloor))
	t.why, t.ticked = "", now
	r.ticking = t
	defer func() { r.ticking = nil }()
	var ticked func()
	if len(r.watchers) > 0 {
		ticked = func() { r.ticked(t.name, t) }
	}
	if t.run.Status(1) == bt.Idle && t.counted == t.ring.Total() { // it begins anew, and all has heard of the tick before
		t.ring.Rewind()
	}
	t.before = t.ring.Total()
	due, spun := drive(t.run, now, ticked)
	t.ring.Each(t.counted, t.tally.take) // also what was halted since the last tick
	t.counted = t.ring.Total()
	if spun {
		if path := turning(t.run); r.spin(path, now) {
			r.log.Warn("a tree goes on at once without end; it pauses", "replica", t.name, "path", path)
		}
	}
	if delta, changed := t.keep.Changed(); changed {
		r.keep(t.name, &delta)
	}
	r.written(t)
	r.later(t, due, now)
}

// arrange makes the trees be those of the desired replicas.
func (r *Runner) arrange(now time.Time) {
	if r.trees[""] == nil {
		r.begin("", r.programs.intake, now)
	}
	if r.programs.replica == nil {
		return
	}
	desired := map[string]bool{"": true}
	for _, one := range r.shared.Replicas() {
		if one.Index == 0 { // not admitted yet
			continue
		}
		name := one.ID.String()
		desired[name] = true
		if r.trees[name] != nil {
			continue
		}
		r.begin(name, r.programs.replica, now)
		r.log.Info("tree begins", "replica", name)
	}
	for name, t := range r.trees {
		if desired[name] {
			continue
		}
		t.run.Halt(now, bt.HaltTree)
		r.end(t)
		if id, err := netmap.ParseReplicaID(name); err == nil {
			r.shared.Forget(id)
		}
	}
}

// end takes a tree away that runs no more.
func (r *Runner) end(t *tree) {
	t.due = never
	delete(r.trees, t.name)
	r.keep(t.name, nil)
	r.forget(t.name)
	r.ended(t.name)
	if err := r.keepHold(t.name, decide.Hold{}); err != nil {
		r.log.Error("a hold is not ended", "replica", t.name, "err", err)
	}
	r.log.Info("tree ends", "replica", t.name)
}

// begin makes a tree, where the manager before this one left it if it can be.
func (r *Runner) begin(name string, p *bt.Program, now time.Time) {
	t := r.newTree(name, p, now)
	r.resume(name, t, now)
	r.trees[name] = t
	r.hold(t)
	r.wakeTree(t, byBegin, now)
}

// names lists the trees in the order they are ticked: intake, then the replicas by service and number.
func (r *Runner) names() []string {
	names := make([]string, 0, len(r.trees))
	for name := range r.trees {
		names = append(names, name)
	}
	slices.SortFunc(names, compareNames)
	return names
}
