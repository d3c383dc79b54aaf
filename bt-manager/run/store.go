package run

import (
	"fmt"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
)

// Store keeps the runs of the trees over the manager's death. What it is given lasts when it returns.
type Store interface {
	// Runs are the runs kept so far, by tree: a replica, or "" for intake. The caller may change them.
	Runs() map[string]bt.Snapshot
	// KeepRun adds a delta to a run (bt.Snapshot.Apply); nil ends it.
	KeepRun(tree string, delta *bt.Snapshot) error
	// Files are the newest files of trees the runs were made with, newest last.
	Files() []trees.File
	KeepFile(trees.File) error
	// Holds are what operators have told trees; KeepHold keeps what one is told, nothing = nothing any more.
	Holds() map[string]decide.Hold
	KeepHold(tree string, h decide.Hold) error
}

// recall takes over what the manager before this one kept.
func (r *Runner) recall() {
	r.kept = map[string]bt.Snapshot{}
	if r.store == nil {
		return
	}
	r.kept, r.holds = r.store.Runs(), r.store.Holds()
	files := r.store.Files()
	if len(files) == 0 || !files[len(files)-1].Equal(r.file) {
		if err := r.store.KeepFile(r.file); err != nil {
			r.log.Error("the file of trees is not kept", "err", err)
		}
	}
}

// resume lets a new tree go on where the run of that name was, if there is one. What cannot go on begins anew: the
// operation it had ordered, if any, is in the world, and manager.xml takes it up there.
func (r *Runner) resume(name string, t *tree, now time.Time) {
	saved, ok := r.kept[name]
	delete(r.kept, name)
	if !ok || r.store == nil {
		return
	}
	program := t.run.Program()
	fresh := t.keep
	err := error(nil)
	if saved.Tree == program.Hash() {
		if err = t.run.Restore(saved); err == nil {
			fresh = t.run.Keep()
		}
	} else {
		err = r.carry(saved, t.run)
	}
	if err != nil {
		r.log.Warn("a run begins anew", "replica", name, "err", err)
		*t = *r.newTree(name, program, now)
		r.keep(name, nil)
		return
	}
	t.keep = fresh
	t.run.Bound(now)
	if at := runningLeaf(t.run).Path; at != "" {
		r.note(name, decide.Entry{What: "resumed", Text: "goes on after a restart at " + at, Op: string(opOf(t.run))})
	}
}

// carry restores a run that another file of trees was made for.
func (r *Runner) carry(saved bt.Snapshot, to *bt.Instance) error {
	for _, f := range r.store.Files() {
		old, err := load(r.reg, f)
		if err != nil { // this version of the manager does not know its leaves any more
			continue
		}
		for _, from := range []*bt.Program{old.intake, old.replica} {
			if from == nil || from.Hash() != saved.Tree {
				continue
			}
			carried, err := bt.Carry(saved, from, to.Program())
			if err != nil {
				return err
			}
			return to.Restore(carried)
		}
	}
	return fmt.Errorf("no file of trees with %016x is kept", saved.Tree)
}

// keep stores what changed in a run; nil ends it. A store that cannot be written ends the manager, and says why.
func (r *Runner) keep(name string, delta *bt.Snapshot) {
	if r.store == nil {
		return
	}
	began := time.Now()
	if err := r.store.KeepRun(name, delta); err != nil {
		r.log.Error("a run is not kept", "replica", name, "err", err)
	}
	if r.config.Kept != nil {
		r.config.Kept(time.Since(began))
	}
}

// runningLeaf is the leaf that runs, without a path when none does.
func runningLeaf(in *bt.Instance) bt.Info {
	for _, n := range in.Program().Nodes() {
		if leaf := n.Class == bt.Action || n.Class == bt.Condition; leaf && in.Status(n.UID) == bt.Running {
			return n
		}
	}
	return bt.Info{}
}

// opOf is the operation that the running leaf waits for, "" when there is none.
func opOf(in *bt.Instance) bt.OpID {
	for uid := range in.Program().Nodes() {
		if op := in.Op(uid + 1); op != "" {
			return op
		}
	}
	return ""
}
