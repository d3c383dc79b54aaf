package run

import (
	"slices"
	"time"

	"sonic-netservices/bt-manager/bt"
)

// Watcher is told what the trees do, by the goroutine that ticks them and while it holds them: it does not wait. "" is the
// intake tree.
type Watcher interface {
	// Ticked is told of each tick, with the ring that has the newest changes.
	Ticked(replica string, run *bt.Instance, changes *bt.Ring)
	// Ended is told of a tree that runs no more. One that is replaced by another of its name has not ended.
	Ended(replica string)
	// RoundEnded is told when all trees have been ticked and what they did is kept.
	RoundEnded()
}

// Watch begins to tell a watcher.
func (r *Runner) Watch(w Watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(r.watchers, w)
}

// Unwatch ends it: when it returns, nothing more is told.
func (r *Runner) Unwatch(w Watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = slices.DeleteFunc(r.watchers, func(one Watcher) bool { return one == w })
}

// Look calls do while no tree is ticked. find gives the tree of a replica, "" = intake, nil without. One that do steers,
// by a hook or a force, is ticked soon after.
func (r *Runner) Look(do func(find func(replica string) (*bt.Instance, *bt.Ring))) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[*tree]uint64{}
	do(func(replica string) (*bt.Instance, *bt.Ring) {
		t := r.trees[replica]
		if t == nil {
			return nil, nil
		}
		if _, again := found[t]; !again {
			found[t] = t.run.Steerings()
		}
		return t.run, t.ring
	})
	for t, before := range found {
		if t.run.Steerings() != before {
			r.wakeTree(t, byOperator, time.Now())
			r.Wake()
		}
	}
}

// ticked tells the watchers of a tick. The caller holds mu.
func (r *Runner) ticked(replica string, t *tree) {
	for _, w := range r.watchers {
		w.Ticked(replica, t.run, t.ring)
	}
}

// ended tells the watchers that a tree is gone. The caller holds mu.
func (r *Runner) ended(replica string) {
	for _, w := range r.watchers {
		w.Ended(replica)
	}
}

// roundEnded tells the watchers. The caller holds mu, and has kept what happened.
func (r *Runner) roundEnded() {
	for _, w := range r.watchers {
		w.RoundEnded()
	}
}
