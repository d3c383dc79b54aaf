package bt

import "fmt"

// Place is where a hook stands.
type Place uint8

const (
	Before Place = iota // behind the preconditions, in front of the node
	After               // behind the node and its scripts
)

func (p Place) String() string {
	if p == After {
		return "after"
	}
	return "before"
}

// Hook is asked from outside whenever the tree comes to its place: Before with the status the node has, After with what it
// answers. SUCCESS and FAILURE become the node's answer, RUNNING holds the tree there until the hook, asked again at each
// tick, lets go; anything else lets the tree go on. A hook is no leaf: it may not touch the instance.
type Hook func(Status) Status

// hooks are those of one node.
type hooks struct {
	at   [2]Hook
	kept Status // the answer that is held back by After; IDLE = none
}

// heldNote is what a node says of itself that is held from outside.
const heldNote = "held"

// SetHook puts a hook to a node, in the place of the one there was; nil ends it. A node that is skipped never comes to
// After.
func (in *Instance) SetHook(uid int, where Place, h Hook) error {
	if uid < 1 || uid > len(in.nodes) {
		return fmt.Errorf("hook node %d: the tree has %d", uid, len(in.nodes))
	}
	if where > After {
		return fmt.Errorf("hook node %d: no place %d", uid, where)
	}
	i := int32(uid - 1)
	of := in.hooks[i]
	if of == nil {
		of = &hooks{}
	}
	of.at[where] = h
	if in.hooks == nil {
		in.hooks = map[int32]*hooks{}
	}
	in.hooks[i] = of
	if of.at[Before] == nil && of.at[After] == nil && of.kept == Idle {
		in.unhook(i)
	}
	in.steer()
	return nil
}

func (in *Instance) unhook(i int32) {
	delete(in.hooks, i)
	if len(in.hooks) == 0 {
		in.hooks = nil
	}
	in.steer()
}

// steer notes whether somebody outside has a say, so that a tick without one asks once a node.
func (in *Instance) steer() {
	in.steered = in.forced != nil || in.hooks != nil
	in.steerings++
}

// Steerings counts how often somebody outside began or ended to have a say: a reason to tick the tree.
func (in *Instance) Steerings() uint64 { return in.steerings }

// execHooked is exec for a node with hooks.
func (in *Instance) execHooked(i int32, n *node, of *hooks) Status {
	st := of.kept
	of.kept = Idle
	if st == Idle || in.state[i].status != st { // nothing is held back, or the node was halted since
		var held bool
		if st, held = in.upToAnswer(i, n, of); held {
			return Running
		}
	}
	if h := of.at[After]; h != nil && st != Skipped {
		switch say := h(st); say {
		case Running:
			of.kept = st
			in.answer(i, st) // seen by who looks; its parent hears RUNNING
			in.note(i, heldNote)
			return Running
		case Success, Failure:
			in.overrule(i, say)
			st = say
		}
	}
	in.letGo(i)
	in.answer(i, st)
	if n.deco {
		in.clearChild(i)
	}
	if of.at[Before] == nil && of.at[After] == nil { // ended while its answer was held back
		in.unhook(i)
	}
	return st
}

// upToAnswer runs a node up to its answer, unless it is held before.
func (in *Instance) upToAnswer(i int32, n *node, of *hooks) (st Status, held bool) {
	var s *scripts
	decided := false
	if n.attrs {
		s = &in.p.scripts[n.x]
		st, decided = in.before(i, s)
	}
	if h := of.at[Before]; h != nil && !decided && !in.state[i].status.Done() {
		switch say := h(in.state[i].status); say {
		case Running:
			in.note(i, heldNote) // a node that has not begun stays IDLE
			return Running, true
		case Success, Failure:
			in.overrule(i, say)
			st, decided = say, true
		}
	}
	if !decided {
		in.letGo(i)
		st = in.run(i, n)
	}
	if s != nil && st.Done() {
		st = in.after(i, s, st)
	}
	return st, false
}

// overrule stops what runs, because its answer comes from outside.
func (in *Instance) overrule(i int32, st Status) {
	if in.state[i].status == Running {
		in.haltNode(i, HaltBranch)
	}
	in.note(i, fmt.Sprintf("hook: %v", st))
}

// letGo takes the note of a hold away.
func (in *Instance) letGo(i int32) {
	if in.notes[i] == heldNote {
		delete(in.notes, i)
	}
}

// keep holds back an answer that was held back when the run was saved: without its hook it is given at the next tick, and
// the node is not run twice.
func (in *Instance) keep(i int32, st Status) {
	if in.hooks == nil {
		in.hooks = map[int32]*hooks{}
	}
	in.hooks[i] = &hooks{kept: st}
	in.steer()
}

// keeps says whether a node's answer is held back.
func (in *Instance) keeps(i int32) bool {
	of := in.hooks[i]
	return of != nil && of.kept != Idle
}
