// Package run ticks the manager's behaviour trees: one for intake, one for each desired replica.
//
// It reads decide.World, writes the audit and the mirror of the blackboards, and is told by Wake that something has
// changed. One goroutine ticks all trees; each is ticked when it asked to be, when something changed, and after 1 s at
// the latest.
package run

import (
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
}

// floor is the longest time between two ticks of a tree.
const floor = time.Second

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
	shared   *decide.Shared
	root     *board.Board
	trees    map[string]*tree // by replica, "" = intake
	mirrored map[string]map[string]string
	watchers []Watcher
}

// New compiles the trees and checks the parameters. It names every fault of the file with file:line:col.
func New(cfg Config, world decide.World, mirror Mirror, log *slog.Logger) (*Runner, error) {
	shared, err := decide.NewShared(cfg.Params, cfg.Balance, cfg.Epoch)
	if err != nil {
		return nil, fmt.Errorf("parameters of the trees: %w", err)
	}
	r := &Runner{world: world, mirror: mirror, log: log, wake: make(chan struct{}, 1), config: cfg, shared: shared,
		root: board.New(), trees: map[string]*tree{}, mirrored: map[string]map[string]string{}}
	r.reg, r.store = bt.NewRegistry(), cfg.Store
	decide.Register(r.reg, auditing{world, r}, shared)
	r.file = cfg.File
	if r.file == (trees.File{}) {
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
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
		}
		now := start.Add(time.Since(start)) // deadlines in trees are wall times: one that does not jump
		next := r.round(now)
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
}

// round ticks every tree once and answers when to come again.
func (r *Runner) round(now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.audit.now = now
	r.shared.Observe(r.world, now)
	if r.kept == nil {
		r.recall()
	}
	r.arrange(now)
	r.replant(now)
	for name := range r.kept { // nobody desires them any more
		r.keep(name, nil)
		delete(r.kept, name)
	}
	next := now.Add(floor)
	for _, name := range r.names() {
		t := r.trees[name]
		due, spun := t.tick(now, func() { r.ticked(name, t) })
		if !due.IsZero() && due.Before(next) {
			next = due
		}
		if spun {
			r.spins.Add(1)
			r.log.Warn("a tree goes on at once without end; it pauses", "replica", name, "path", turning(t.run))
		}
		if delta, changed := t.keep.Changed(); changed {
			r.keep(name, &delta)
		}
	}
	r.arrange(now) // what was admitted in this round
	r.show()
	r.roundEnded()
	return next
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
	for _, one := range r.world.Replicas() {
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
		r.end(name)
		if id, err := netmap.ParseReplicaID(name); err == nil {
			r.shared.Forget(id)
		}
	}
}

// end takes a tree away that runs no more.
func (r *Runner) end(name string) {
	delete(r.trees, name)
	r.keep(name, nil)
	r.forget(name)
	r.log.Info("tree ends", "replica", name)
}

// begin makes a tree, where the manager before this one left it if it can be.
func (r *Runner) begin(name string, p *bt.Program, now time.Time) {
	t := r.newTree(name, p, now)
	r.resume(name, t, now)
	r.trees[name] = t
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
