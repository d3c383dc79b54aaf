package decide

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// view is a snapshot on a blackboard.
type view struct{ *netmap.Snapshot }

func (v view) String() string {
	return fmt.Sprintf("%d nodes, %d links, %d replicas", len(v.Nodes), len(v.Links), len(v.Replicas))
}

// getNodeStates fails when the manager's node has heard nobody for too long: then it is cut off, and the others are not
// to blame.
func (l *leaves) getNodeStates(c *bt.Ctx) bt.Status {
	snap := l.w.Snapshot()
	c.PutAny(1, view{snap})
	most := time.Duration(c.Int(0)) * time.Millisecond
	for _, n := range snap.Nodes {
		if n.Heard <= most {
			return bt.Success
		}
	}
	return c.Failf("nothing heard of any of %d nodes for %v", len(snap.Nodes), most)
}

// node finds the node a port names in the snapshot another holds.
func (l *leaves) node(c *bt.Ctx, snapshot, name int) (*netmap.Node, bool) {
	v := bt.ReadAs[view](c, snapshot)
	if v.Snapshot == nil {
		return nil, false
	}
	n := l.nodeOf(v.Snapshot, c.Text(name))
	if n == nil {
		c.Say("no rows of " + c.Text(name))
	}
	return n, n != nil
}

func (l *leaves) nodeDead(c *bt.Ctx) bt.Status {
	n, ok := l.node(c, 0, 1)
	if !ok || n.Liveness != netmap.Dead {
		return bt.Failure
	}
	c.PutText(2, n.Name+" is dead")
	c.Say(fmt.Sprintf("silent for %v", n.Heard))
	return bt.Success
}

func (l *leaves) nodeDrained(c *bt.Ctx) bt.Status {
	n, ok := l.node(c, 0, 1)
	if !ok || !n.Drained {
		return bt.Failure
	}
	c.PutText(2, n.Name+" is drained")
	return bt.Success
}

func (l *leaves) redeployWanted(c *bt.Ctx) bt.Status {
	if r, ok := l.replica(c, 0); !ok || !r.Redeploy {
		return c.Failf("on_lost_node is wait")
	}
	return bt.Success
}

func (l *leaves) leaseOver(c *bt.Ctx) bt.Status {
	if r, ok := l.replica(c, 0); !ok || !r.LeaseOver {
		return c.Failf("the lease of its node is not over yet")
	}
	return bt.Success
}

// waitForNode says for what it waits, once.
func (l *leaves) waitForNode(c *bt.Ctx) bt.Status {
	r, ok := l.replica(c, 0)
	if !ok {
		return bt.Failure
	}
	why := "on_lost_node is wait: it stays down until the node returns or the operator gives it up"
	if r.Redeploy {
		why = "it is placed again when the lease is over"
		if r.LeaseOver {
			why = "it is placed again when a node fits"
		}
	}
	text := fmt.Sprintf("%s is dead; %s", c.Text(1), why)
	c.Say(text)
	l.audit(l.w, r.ID.String(), Entry{What: "waits", Text: text, Path: c.Path()})
	return bt.Success
}

// resourceOverloaded answers for this moment: what it sees only arms the judgement.
func (l *leaves) resourceOverloaded(c *bt.Ctx) bt.Status {
	n, ok := l.node(c, 0, 1)
	if !ok {
		return bt.Failure
	}
	if n.Liveness != netmap.Alive {
		return c.Failf("%s is %s: what it said last decides nothing", n.Name, n.Liveness)
	}
	p, err := l.limits(c.Text(3))
	if err != nil {
		return c.Failf("%v", err)
	}
	var over []netmap.Kind
	for _, r := range n.Resources { // by kind
		if x := r.Utilisation(); among(c.Text(2), r.Kind) && usable(x) && x > p.Of(r.Kind).Threshold {
			over = append(over, r.Kind)
		}
	}
	if len(over) == 0 {
		return bt.Failure
	}
	c.PutText(4, joinKinds(over))
	c.Say(joinKinds(over) + " of " + n.Name)
	return bt.Success
}

// among says whether a list in words has a kind.
func among(list string, k netmap.Kind) bool {
	return list == "*" || slices.Contains(strings.Split(list, ","), string(k))
}

func joinKinds(kinds []netmap.Kind) string {
	var words []string
	for _, k := range kinds {
		words = append(words, string(k))
	}
	return strings.Join(words, ",")
}

// sustained is RUNNING while an overload may still turn out to be a spike.
type sustained struct {
	*leaves
	told map[netmap.Kind]int // windows said in the audit, by kind
}

func (s *sustained) OnStart(c *bt.Ctx) bt.Status { return s.OnRunning(c) }

func (s *sustained) OnRunning(c *bt.Ctx) bt.Status {
	node := c.Text(1)
	t := tuning{c.Text(3), int(c.Int(4)), time.Duration(c.Int(5)) * time.Millisecond}
	j, err := s.judge(node, t)
	switch {
	case err != nil:
		return c.Failf("%v", err)
	case j == nil:
		return c.Failf("no reading of %s", node)
	}
	said := j.judgement()
	var best Verdict
	for _, v := range said.Kinds {
		if v.State != Confirmed {
			delete(s.told, v.Kind)
		}
		if among(c.Text(2), v.Kind) && (best.Kind == "" || urgency(v.State) > urgency(best.State)) {
			best = v
		}
	}
	c.Say(best.Reason)
	switch best.State {
	case Armed:
		return bt.Running
	case Confirmed:
	default:
		return c.Failf("%s", cmp.Or(best.Reason, "no reading of "+c.Text(2)))
	}
	reason := fmt.Sprintf("%s of %s above %.2f for %d samples, mean %.2f", best.Kind, node, j.params.Of(best.Kind).Threshold, t.samples, best.Mean)
	c.PutText(6, string(best.Kind))
	c.PutInt(7, int64(best.Windows))
	c.PutText(8, reason)
	if s.told[best.Kind] != best.Windows {
		if s.told == nil {
			s.told = map[netmap.Kind]int{}
		}
		s.told[best.Kind] = best.Windows
		s.audit(s.w, c.Text(0), Entry{What: "confirmed", Text: reason, Path: c.Path(), Detail: said})
	}
	return bt.Success
}

// OnResume counts anew: nobody has seen the samples in between.
func (s *sustained) OnResume(c *bt.Ctx, _ bt.OpID) bt.Status { return s.OnRunning(c) }

func (s *sustained) OnHalted(*bt.Ctx, bt.HaltWhy) {}

func (l *leaves) mayLeave(c *bt.Ctx) bt.Status {
	r, ok := l.replica(c, 0)
	if !ok {
		return bt.Failure
	}
	if why := l.moves.Leave(r.ID, c.Text(1), l.now); why != "" {
		return c.Failf("%s", why)
	}
	return bt.Success
}

// leavesFirst fails while another replica of the node goes first: it is cheaper to carry, or has a better place. Those that
// may not leave, or found no place just now, stand behind.
func (l *leaves) leavesFirst(c *bt.Ctx) bt.Status {
	v := bt.ReadAs[view](c, 0)
	r, ok := l.replica(c, 1)
	p, err := l.limits(c.Text(4))
	if !ok || c.Fault() != nil || err != nil {
		return c.Failf("%v", errors.Join(err, c.Fault()))
	}
	scoring := l.scoring(c, 6)
	scoring.Admission = c.Float(5)
	leaving, err := l.leaving(v, c.Text(2), netmap.Kind(c.Text(3)), *p, scoring)
	switch {
	case err != nil:
		return c.Failf("%v", err)
	case len(leaving.Order) == 0:
		return c.Failf("nobody may leave %s", c.Text(2))
	case leaving.Order[0].ID != r.ID:
		return c.Failf("%s leaves first", leaving.Order[0].Replica)
	}
	text := fmt.Sprintf("leaves %s first: %s", c.Text(2), leaving.Order[0].Why)
	c.Say(text)
	l.audit(l.w, r.ID.String(), Entry{What: "leaves", Text: text, Path: c.Path(), Detail: leaving})
	return bt.Success
}

// leaving is who leaves a node, in mode product weighed with where to.
func (l *leaves) leaving(v view, node string, kind netmap.Kind, p Params, scoring balance.Params) (balance.Leaving, error) {
	keep := map[netmap.ReplicaID]string{}
	for i := range l.all {
		other := &l.all[i]
		left := l.resting(other.ID.String())
		switch {
		case other.Node != node:
		case left > 0:
			keep[other.ID] = fmt.Sprintf("found no place just now, looks again in %v", left)
		case l.moves.Leave(other.ID, other.Node, l.now) != "":
			keep[other.ID] = l.moves.Leave(other.ID, other.Node, l.now)
		}
	}
	leaving, err := balance.Leave(v.Snapshot, node, kind, p.Of(kind).Clear, keep)
	if err != nil || scoring.Mode == balance.Paper {
		return leaving, err
	}
	field, err := balance.NewField(v.Snapshot, l.memory.Peaks(), scoring)
	if err != nil {
		return leaving, err
	}
	leaving.Weigh(field, func(id netmap.ReplicaID) balance.Problem {
		r, ok := l.find(id)
		if !ok { // it runs there, but nobody wants it any more
			r = &Replica{ID: id, Pin: []string{node}}
		}
		return l.question(r, v, node)
	})
	return leaving, nil
}
