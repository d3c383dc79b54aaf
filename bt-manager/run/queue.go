package run

import (
	"container/heap"
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

// queue is a heap of trees by when they are due.
type queue []*tree

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}
func (q *queue) Push(x any) {
	t := x.(*tree)
	t.at = len(*q)
	*q = append(*q, t)
}
func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	*q = (*q)[:last]
	t.at = outside
	return t
}

// outside is the place of a tree that is in no queue.
const outside = -1

// schedule makes a tree due at a time. One that an operator holds is due never.
func (r *Runner) schedule(t *tree, due time.Time) {
	t.due = due.UnixNano()
	switch {
	case r.holds[t.name].Paused != "" && t.at != outside:
		heap.Remove(&r.queue, t.at)
	case r.holds[t.name].Paused != "":
	case t.at == outside:
		heap.Push(&r.queue, t)
	default:
		heap.Fix(&r.queue, t.at)
	}
}

// unschedule takes a tree that ended out of the queue.
func (r *Runner) unschedule(t *tree) {
	if t.at != outside {
		heap.Remove(&r.queue, t.at)
	}
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
