package bt

import (
	"fmt"
	"strings"

	"sonic-netservices/bt-manager/bt/board"
)

func (in *Instance) runDecorator(i int32, n *node) Status {
	switch n.op {
	case opInverter, opForceSuccess, opForceFailure:
		return in.runForce(i, n)
	case opRetry:
		return in.runRounds(i, n, Failure, Success)
	case opRepeat:
		return in.runRounds(i, n, Success, Failure)
	case opKeepRunning:
		in.set(i, Running)
		st := in.exec(i + 1)
		if st.Done() {
			in.resetChild(i+1, HaltBranch)
		}
		if st == Failure {
			return Failure
		}
		return Running
	case opTimeout:
		return in.runTimeout(i, n)
	case opDelay:
		return in.runDelay(i, n)
	case opRunOnce:
		return in.runOnce(i, n)
	case opPrecondition:
		return in.runPrecondition(i, n)
	case opLoop:
		return in.runLoop(i, n)
	case opSkipUnlessUpdated:
		return in.runUpdated(i, n, Skipped)
	case opWaitValueUpdate:
		return in.runUpdated(i, n, Running)
	case opSubTree:
		if in.state[i].status == Idle { // asked again before it was reset, it keeps its old answer until the next
			in.set(i, Running)
		}
		st := in.exec(i + 1)
		if st.Done() {
			in.resetChild(i+1, HaltBranch)
		}
		return st
	}
	return in.fail(i, fmt.Errorf("node type %d does not run", n.op))
}

func (in *Instance) runForce(i int32, n *node) Status {
	in.set(i, Running)
	st := in.exec(i + 1)
	if !st.Done() {
		return st
	}
	in.resetChild(i+1, HaltBranch)
	if n.op == opForceSuccess || n.op == opInverter && st == Failure {
		return Success
	}
	return Failure
}

// runRounds is Retry and Repeat: ask the child again after each answer again, up to n times. state.count = rounds so far.
func (in *Instance) runRounds(i int32, n *node, again, stop Status) Status {
	s := &in.state[i]
	limit, err := in.param(i, n, 0)
	if err != nil {
		return in.fail(i, err)
	}
	in.set(i, Running)
	for limit == -1 || int64(s.count) < limit {
		was := in.state[i+1].status
		switch in.exec(i + 1) {
		case Running:
			return Running
		case Skipped:
			in.resetChild(i+1, HaltBranch)
			return Skipped
		case stop:
			s.count = 0
			in.resetChild(i+1, HaltBranch)
			return stop
		case again:
			s.count++
			in.resetChild(i+1, HaltBranch)
			if was == Idle && (limit == -1 || int64(s.count) < limit) {
				return in.yield()
			}
		}
	}
	s.count = 0
	return again
}

// runTimeout halts its child when the time is over, in the tree's own tick. The cell holds the deadline.
func (in *Instance) runTimeout(i int32, n *node) Status {
	s, cell := &in.state[i], &in.cells[n.aux]
	if s.flags&flagBusy == 0 {
		ms, err := in.param(i, n, 0)
		if err != nil {
			return in.fail(i, err)
		}
		s.flags |= flagBusy
		*cell = 0
		if ms > 0 {
			*cell = in.frame.Now + ms*1e6
		}
		in.set(i, Running)
	}
	if *cell != 0 && in.frame.Now >= *cell {
		*cell = 0
		if in.state[i+1].status == Running {
			in.resetChild(i+1, HaltTimeout)
			s.flags &^= flagBusy
			return in.fail(i, errTimeout)
		}
	}
	st := in.exec(i + 1)
	if st.Done() {
		s.flags &^= flagBusy
		in.resetChild(i+1, HaltBranch)
	} else if *cell != 0 {
		in.wake(*cell)
	}
	return st
}

func (in *Instance) runDelay(i int32, n *node) Status {
	s, cell := &in.state[i], &in.cells[n.aux]
	if s.flags&flagBusy == 0 {
		ms, err := in.param(i, n, 0)
		if err != nil {
			return in.fail(i, err)
		}
		s.flags |= flagBusy
		*cell = in.frame.Now + ms*1e6
		in.set(i, Running)
		in.wake(*cell) // also after 0 ms the child has its turn in the next tick
		return Running
	}
	if in.frame.Now < *cell {
		in.wake(*cell)
		return Running
	}
	st := in.exec(i + 1)
	if st.Done() {
		s.flags &^= flagBusy
		in.resetChild(i+1, HaltBranch)
	}
	return st
}

// runOnce never forgets, not even when halted. state.cur = the answer its child gave.
func (in *Instance) runOnce(i int32, n *node) Status {
	s := &in.state[i]
	if s.cur != 0 {
		if skip, err := in.param(i, n, 0); err != nil || skip != 0 {
			return Skipped
		}
		return Status(s.cur)
	}
	in.set(i, Running)
	st := in.exec(i + 1)
	if st.Done() {
		s.cur = int32(st)
		in.resetChild(i+1, HaltBranch)
	}
	return st
}

// runPrecondition asks its script once; then the child runs to its end.
func (in *Instance) runPrecondition(i int32, n *node) Status {
	s := &in.state[i]
	if s.flags&flagBusy == 0 {
		ok, err := in.p.conds[n.aux](&in.frame)
		if err != nil {
			return in.fail(i, err)
		}
		if !ok {
			return in.statusParam(i, n, 1)
		}
		s.flags |= flagBusy
	}
	st := in.exec(i + 1)
	if st.Done() {
		s.flags &^= flagBusy
		in.resetChild(i+1, HaltBranch)
	}
	return st
}

func (in *Instance) statusParam(i int32, n *node, port int) Status {
	if n.ports[port].slot == literalPort {
		return Status(n.parm)
	}
	st, err := ParseStatus(in.input(n, port).String())
	if err != nil || st == Idle {
		return in.fail(i, fmt.Errorf("port %s: %q is no status to answer", in.portName(i, port), in.input(n, port)))
	}
	return st
}

// runUpdated runs its child when the entry was written since it looked last; the cell holds the sequence number then.
func (in *Instance) runUpdated(i int32, n *node, otherwise Status) Status {
	s := &in.state[i]
	if s.flags&flagBusy == 0 && !in.updated(n) {
		return otherwise
	}
	st := in.exec(i + 1)
	s.flags &^= flagBusy
	if st == Running {
		s.flags |= flagBusy
	}
	return st
}

func (in *Instance) updated(n *node) bool {
	if n.ports[0].slot < 0 {
		return false
	}
	entry := in.frame.Slots[n.ports[0].slot]
	if entry.Kind() == board.Unset {
		return false
	}
	cell, seq := &in.cells[n.aux], int64(entry.Seq())
	fresh := seq != *cell
	*cell = seq
	return fresh
}

// Queue is a list a Loop takes its items from and others may add to. As a plain list of text, "1;2;3", each Loop has a
// copy of its own.
type Queue struct{ Items []board.Value }

// runLoop runs its child once for each item.
func (in *Instance) runLoop(i int32, n *node) Status {
	s := &in.state[i]
	if s.status == Idle {
		s.flags &^= flagBusy
		delete(in.queues, i)
	}
	if s.flags&flagBusy == 0 {
		item, ok, err := in.nextItem(i, n)
		if err != nil {
			return in.fail(i, err)
		}
		if !ok {
			return in.statusParam(i, n, 1)
		}
		if err := in.output(i, 2, item); err != nil {
			return in.fail(i, err)
		}
	}
	if s.status == Idle {
		in.set(i, Running)
	}
	st := in.exec(i + 1)
	s.flags &^= flagBusy
	if st == Running {
		s.flags |= flagBusy
	}
	if st.Done() {
		in.resetChild(i+1, HaltBranch)
	}
	if st == Failure {
		return Failure
	}
	if st != Running {
		in.yielded = true
	}
	return Running
}

func (in *Instance) nextItem(i int32, n *node) (item board.Value, ok bool, err error) {
	v := in.input(n, 0)
	if shared, is := v.Any().(*Queue); is {
		if len(shared.Items) == 0 {
			return item, false, nil
		}
		item, shared.Items = shared.Items[0], shared.Items[1:]
		return item, true, nil
	}
	if _, begun := in.queues[i]; !begun {
		if n.ports[0].slot == literalPort && in.state[i].status != Idle {
			return item, false, nil // its guard answered and nobody reset it: v4 has not filled the queue then
		}
		if in.queues == nil {
			in.queues = map[int32][]board.Value{}
		}
		var items []board.Value
		for _, part := range strings.Split(v.String(), ";") {
			if v.Kind() == board.Unset || v.String() == "" {
				break
			}
			one, err := board.Parse(part, n.ports[2].want)
			if err != nil {
				return item, false, fmt.Errorf("queue: %w", err)
			}
			items = append(items, one)
		}
		in.queues[i] = items
	}
	left := in.queues[i]
	if len(left) == 0 {
		return item, false, nil
	}
	in.queues[i] = left[1:]
	return left[0], true, nil
}
