// Package run ticks the manager's behaviour trees: one for intake, one for each desired replica.
//
// It reads decide.World, writes the audit and the mirror of the blackboards, and is told by Wake that something has
// changed. One goroutine ticks all trees; each is ticked when it asked to be, when something changed, and after 1 s at
// the latest.
package run

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// Config of a Runner.
type Config struct {
	Params  decide.Params
	Balance balance.Params

	Tree     []byte // XML; none = the embedded manager.xml
	TreeName string // what messages call it; "" = manager.xml

	Epoch uint64 // of the manager: part of the IDs of operations
	Audit string // file the audit is appended to; "" = none
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
	world  decide.World
	mirror Mirror
	log    *slog.Logger
	wake   chan struct{} // holds one: wakes in between are one

	intake  *bt.Program
	replica *bt.Program // nil when the file has no such tree
	audit   *audit

	mu       sync.Mutex // guards all below; held during a round of ticks
	shared   *decide.Shared
	root     *board.Board
	trees    map[string]*tree // by replica, "" = intake
	mirrored map[string]map[string]string
}

// New compiles the trees and checks the parameters. It names every fault of the file with file:line:col.
func New(cfg Config, world decide.World, mirror Mirror, log *slog.Logger) (*Runner, error) {
	shared, err := decide.NewShared(cfg.Params, cfg.Balance, cfg.Epoch)
	if err != nil {
		return nil, fmt.Errorf("parameters of the trees: %w", err)
	}
	r := &Runner{world: world, mirror: mirror, log: log, wake: make(chan struct{}, 1), shared: shared,
		root: board.New(), trees: map[string]*tree{}, mirrored: map[string]map[string]string{}}
	reg := bt.NewRegistry()
	decide.Register(reg, auditing{world, r}, shared)
	text, name := cfg.Tree, cfg.TreeName
	if len(text) == 0 {
		text, name = trees.Manager, "manager.xml"
	}
	if name == "" {
		name = "manager.xml"
	}
	if r.intake, err = compile(text, name, "", reg); err != nil {
		return nil, err
	}
	if strings.Contains(string(text), `ID="`+replicaTree+`"`) {
		if r.replica, err = compile(text, name, replicaTree, reg); err != nil {
			return nil, err
		}
		if !r.replica.Uses("replica") {
			return nil, fmt.Errorf("%s: tree %s does not read {replica}", name, replicaTree)
		}
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

// replicaTree is the ID of the tree that runs once for each replica.
const replicaTree = "Replica"

// compile loads one tree of a file, "" = its main tree.
func compile(text []byte, name, main string, reg *bt.Registry) (*bt.Program, error) {
	opt := xmlv4.Options{Main: main}
	if main == replicaTree {
		opt.Given = []string{"replica"}
	}
	prog, faults := xmlv4.Load(treeFile{name, text}, name, reg, opt)
	if faults.Failed() || prog == nil {
		return nil, fmt.Errorf("tree file:\n%s", faults)
	}
	return prog, nil
}

// treeFile is a file system with one file, whose name may be any path: it shows in messages.
type treeFile struct {
	name string
	text []byte
}

func (f treeFile) Open(string) (fs.File, error) { return nil, fs.ErrNotExist }

func (f treeFile) ReadFile(name string) ([]byte, error) {
	if name != path.Clean(f.name) {
		return nil, fs.ErrNotExist
	}
	return f.text, nil
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

// round ticks every tree once and answers when to come again.
func (r *Runner) round(now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.audit.now = now
	r.shared.Observe(r.world, now)
	r.arrange(now)
	next := now.Add(floor)
	for _, name := range r.names() {
		if due := r.trees[name].tick(now); !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	r.arrange(now) // what was admitted in this round
	r.show()
	return next
}

// arrange makes the trees be those of the desired replicas.
func (r *Runner) arrange(now time.Time) {
	if r.trees[""] == nil {
		r.trees[""] = newTree(r.intake, r.root)
	}
	if r.replica == nil {
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
		t := newTree(r.replica, r.root)
		_ = t.run.Set("replica", name, now) // New has seen that the tree has the entry
		r.trees[name] = t
		r.log.Info("tree begins", "replica", name)
	}
	for name, t := range r.trees {
		if desired[name] {
			continue
		}
		t.run.Halt(now, bt.HaltTree)
		delete(r.trees, name)
		r.forget(name)
		if id, err := netmap.ParseReplicaID(name); err == nil {
			r.shared.Forget(id)
		}
		r.log.Info("tree ends", "replica", name)
	}
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
