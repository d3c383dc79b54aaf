package run

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/bt-manager/bt"
)

// counters of a Runner since it was made.
type counters struct {
	reloads, refused atomic.Int64               // files of trees taken, and not
	ticks            [len(reasons)]atomic.Int64 // by reason

	spun     sync.Mutex
	spins    map[string]int64     // by path of the node that goes on and on
	spinTold map[string]time.Time // when the log was last told of it
}

// count counts a tick.
func (c *counters) count(why reason) { c.ticks[slices.Index(reasons[:], why)].Add(1) }

// spin counts a pause of a tree that would not have waited, and says whether to tell of it: once a minute is enough.
func (c *counters) spin(path string, now time.Time) (tell bool) {
	c.spun.Lock()
	defer c.spun.Unlock()
	if c.spins == nil {
		c.spins, c.spinTold = map[string]int64{}, map[string]time.Time{}
	}
	c.spins[path]++
	if tell = now.Sub(c.spinTold[path]) >= time.Minute; tell {
		c.spinTold[path] = now
	}
	return tell
}

// Ticks counts ticks by why they were.
func (c *counters) Ticks() map[string]int64 {
	all := map[string]int64{}
	for i, why := range reasons {
		all[string(why)] = c.ticks[i].Load()
	}
	return all
}

// Spins counts the pauses of trees that would not have waited, by the path of the node that goes on and on.
func (c *counters) Spins() map[string]int64 {
	c.spun.Lock()
	defer c.spun.Unlock()
	return maps.Clone(c.spins)
}

// tally counts what the nodes of a program have done, over all its trees, by UID-1. Runner.mu guards it.
type tally struct {
	action         []bool // what conditions answer is no failure
	failed, halted []int64
}

func newTally(p *bt.Program) *tally {
	t := &tally{failed: make([]int64, len(p.Nodes())), halted: make([]int64, len(p.Nodes()))}
	for _, n := range p.Nodes() {
		t.action = append(t.action, n.Class == bt.Action)
	}
	return t
}

// take counts one change.
func (t *tally) take(c bt.Change) {
	switch i := c.UID - 1; {
	case !t.action[i]:
	case c.To == bt.Failure:
		t.failed[i]++
	case c.From == bt.Running && c.To == bt.Idle:
		t.halted[i]++
	}
}

// Stats is what a Runner has done and does, for monitoring. Nodes are named by their paths in the programs, which all trees
// of a program share: there are as many as the file of trees has.
type Stats struct {
	Trees            int
	Ticks            map[string]int64 // by reason
	Spins            map[string]int64
	Failures, Halts  map[string]int64         // of actions
	Running          map[string]time.Duration // by path: the longest that an action has been running in any tree
	Reloads, Refused int64                    // files of trees taken, and not
	Waiting          int                      // trees that run an older file
	Paused           int
}

// Stats gives all of it.
func (r *Runner) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{Trees: len(r.trees), Ticks: r.Ticks(), Spins: r.Spins(), Failures: map[string]int64{}, Halts: map[string]int64{},
		Running: map[string]time.Duration{}, Reloads: r.reloads.Load(), Refused: r.refused.Load()}
	for p, t := range r.tallies {
		for i, n := range p.Nodes() {
			if t.failed[i] > 0 {
				s.Failures[n.Path] += t.failed[i]
			}
			if t.halted[i] > 0 {
				s.Halts[n.Path] += t.halted[i]
			}
		}
	}
	for name, t := range r.trees {
		if t.waits != "" {
			s.Waiting++
		}
		if r.holds[name].Paused != "" {
			s.Paused++
		}
		if leaf := runningLeaf(t.run); leaf.Path != "" {
			s.Running[leaf.Path] = max(s.Running[leaf.Path], r.audit.now.Sub(t.began(leaf.UID, r.audit.now)))
		}
	}
	return s
}

// began is when a node that runs began to, as far as the changes kept tell.
func (t *tree) began(uid int, now time.Time) time.Time {
	at := now
	t.ring.Each(0, func(c bt.Change) {
		if at == now {
			at = time.Unix(0, c.At) // the oldest: at least since then
		}
		if int(c.UID) == uid && c.To == bt.Running {
			at = time.Unix(0, c.At)
		}
	})
	return at
}
