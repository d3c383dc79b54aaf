package bt

import "fmt"

// force is what an operator wants a node to answer instead of being run.
type force struct {
	status Status
	once   bool
}

// Force makes a node answer status without running, at its next tick only or until Release. RUNNING holds the tree at that
// node, as a breakpoint does; unlike one it blocks nobody. What runs below the node is halted first, except to hold it.
func (in *Instance) Force(uid int, status Status, once bool) error {
	if uid < 1 || uid > len(in.nodes) {
		return fmt.Errorf("force node %d: the tree has %d", uid, len(in.nodes))
	}
	if status == Idle || status > Skipped {
		return fmt.Errorf("force node %d: %v is no answer", uid, status)
	}
	if in.forced == nil {
		in.forced = map[int32]force{}
	}
	in.forced[int32(uid-1)] = force{status, once}
	in.steer()
	return nil
}

// Release ends Force for a node.
func (in *Instance) Release(uid int) {
	delete(in.forced, int32(uid-1))
	if len(in.forced) == 0 {
		in.forced = nil
	}
	in.steer()
}

// takeForced answers in place of a node.
func (in *Instance) takeForced(i int32) (Status, bool) {
	f, ok := in.forced[i]
	if !ok {
		return Idle, false
	}
	if f.once {
		in.Release(int(i) + 1)
	}
	if f.status == Running {
		in.note(i, "held") // a node that has not begun stays IDLE, and begins as usual when it is released
		return Running, true
	}
	if in.state[i].status == Running {
		in.haltNode(i, HaltTree)
	}
	in.note(i, fmt.Sprintf("forced to %v", f.status))
	in.answer(i, f.status)
	return f.status, true
}
