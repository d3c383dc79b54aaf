package run

import (
	"hash/fnv"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/decide"
)

// reason is why a tree is ticked. Several that come before the tick are one tick, for the first of them.
type reason string

const (
	byBegin    reason = "begin"    // it is new, or in a new file
	byFloor    reason = "floor"    // nothing for a second
	byDeadline reason = "deadline" // a timer of it, or what a leaf asked for
	byReplica  reason = "replica"  // its replica stands elsewhere, or its operation has come further
	byNode     reason = "node"     // a node it names is another
	byBoard    reason = "board"    // an entry all trees share that it reads
	byOperator reason = "operator"
)

var reasons = [...]reason{byBegin, byFloor, byDeadline, byReplica, byNode, byBoard, byOperator}

// floor is the longest time between two ticks of a tree. Each tree has its own, up to a tenth shorter, so that many do not
// march in step; ticks for no other reason fall on multiples of grain, so that many share a wake of the process.
const (
	floor = time.Second
	grain = 10 * time.Millisecond
)

// floorOf is the floor of a tree of that name.
func floorOf(name string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name))
	return floor - time.Duration(h.Sum32()%11)*grain
}

// queue is a heap of turns, the earliest first. A turn whose tree is due at another time by now is left where it is, and
// passed over when it comes: to find it, and to tell trees where they are, would touch many of them for each one that is
// ticked.
type queue []turn

// turn is when a tree was to be ticked, in unix ns.
type turn struct {
	due  int64
	tree *tree
}

func (q *queue) push(t turn) {
	*q = append(*q, t)
	h, i := *q, len(*q)-1
	for i > 0 {
		up := (i - 1) / 2
		if h[up].due <= t.due {
			break
		}
		h[i], i = h[up], up
	}
	h[i] = t
}

func (q *queue) pop() {
	last := len(*q) - 1
	h, t := (*q)[:last], (*q)[last]
	(*q)[last] = turn{}
	*q = h
	for i := 0; i < last; {
		down := 2*i + 1
		if down+1 < last && h[down+1].due < h[down].due {
			down++
		}
		if down >= last || t.due <= h[down].due {
			h[i] = t
			break
		}
		h[i], i = h[down], down
	}
}

// first is the tree that is due first, and when; nil when none is due ever.
func (q *queue) first() (*tree, int64) {
	for len(*q) > 0 {
		if first := (*q)[0]; first.tree.due == first.due {
			return first.tree, first.due
		}
		q.pop()
	}
	return nil, 0
}

// never is when a tree is due that an operator holds, or that has ended.
const never = 0

// schedule makes a tree due at a time. One that an operator holds is due never.
func (r *Runner) schedule(t *tree, due time.Time) {
	at := due.UnixNano()
	if len(r.holds) > 0 && r.holds[t.name].Paused != "" {
		at = never
	}
	if at != t.due && at != never {
		r.queue.push(turn{at, t})
	}
	t.due = at
}

// wakeTree makes a tree due now. One that was ticked at this very moment is not ticked again: the news are its own.
func (r *Runner) wakeTree(t *tree, why reason, now time.Time) {
	if t == nil || t.why != "" || t.ticked.Equal(now) {
		return
	}
	t.why = why
	r.schedule(t, now)
}

// later makes a tree that was ticked due again: when it asked for, at its floor at the latest.
func (r *Runner) later(t *tree, asked, now time.Time) {
	due := now.Add(t.floor).Truncate(grain)
	t.asked = !asked.IsZero() && asked.Before(due)
	if t.asked {
		due = asked
	}
	r.schedule(t, due)
}

// spread wakes the trees that news concern. Intake deploys any replica, so it hears of all; a tree of a replica hears of
// that one, and of the nodes that its entries name.
func (r *Runner) spread(news decide.News, now time.Time) {
	if news.Members {
		r.arrange(now)
	}
	if news.Members || news.Requests || len(news.Replicas) > 0 {
		r.wakeTree(r.trees[""], byReplica, now)
	}
	for name := range news.Replicas {
		r.wakeTree(r.trees[name], byReplica, now)
	}
	if len(news.Nodes) == 0 {
		return
	}
	for _, t := range r.trees {
		for _, k := range t.names {
			if v := t.run.Value(k); v.Kind() == board.Text && news.Nodes[v.String()] {
				r.wakeTree(t, byNode, now)
			}
		}
	}
}

// spreadBoard wakes the trees that read an entry of the shared blackboard.
func (r *Runner) spreadBoard(changed map[string]bool, now time.Time) {
	if len(changed) == 0 {
		return
	}
	for _, t := range r.trees {
		for _, k := range t.run.Program().Keys() {
			if k.Root && changed[k.Name] {
				r.wakeTree(t, byBoard, now)
			}
		}
	}
}

// nodePorts are the ports of leaves whose value names a node (decide.Register).
var nodePorts = []string{"node", "source", "target"}

// namesOf lists the entries of a program that name nodes, found by its ports: what is watched for its trees.
func (r *Runner) namesOf(p *bt.Program) []bt.Key {
	if _, known := r.named[p]; !known {
		if len(r.named) > 10 { // of files that are gone
			clear(r.named)
		}
		r.named[p] = p.Bound(nodePorts...)
	}
	return r.named[p]
}
