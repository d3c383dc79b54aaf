package bt

import "fmt"

// exec ticks one node with everything around it.
func (in *Instance) exec(i int32) Status {
	n := &in.nodes[i]
	if in.steered {
		if st, ok := in.takeForced(i); ok {
			return st
		}
		if of := in.hooks[i]; of != nil {
			return in.execHooked(i, n, of)
		}
	}
	if n.attrs {
		return in.execGuarded(i, n)
	}
	st := in.run(i, n)
	if st == Running && !n.deco && in.state[i].status == Running {
		return Running // nothing moved
	}
	in.answer(i, st)
	if n.deco {
		in.clearChild(i)
	}
	return st
}

// execGuarded is exec for a node with scripts before or after it.
func (in *Instance) execGuarded(i int32, n *node) Status {
	s := &in.p.scripts[n.x]
	st, decided := in.before(i, s)
	if !decided {
		st = in.run(i, n)
	}
	if st.Done() {
		st = in.after(i, s, st)
	}
	in.answer(i, st)
	if n.deco {
		in.clearChild(i)
	}
	return st
}

// leaves ticks Func leaves in a row from c on, while they answer pass. Most nodes of a tree are such leaves, so they are
// spared the calls around a node. It gives where it stopped, and the answer when that child has already given one.
func (in *Instance) leaves(s *nodeState, c, end int32, pass Status) (int32, Status) {
	nodes, state, funcs := in.nodes, in.state, in.p.funcs
	for c < end && nodes[c].op == opFunc && c != in.crashed && !in.steered {
		s.cur = c // kept now, for the case that the leaf panics
		in.ctx.i = c
		st := funcs[nodes[c].aux](&in.ctx)
		if st != pass || in.ctx.fault != nil {
			st = in.settle(c, st, true)
			in.answer(c, st)
			if st != pass {
				return c, st
			}
		} else if in.ring != nil {
			in.set(c, st)
		} else {
			state[c].status = st
			in.moves++
		}
		c++
	}
	return c, Idle
}

// answer makes an answer the node's status, but SKIPPED, which only its parent hears.
func (in *Instance) answer(i int32, st Status) {
	if st == Skipped {
		in.skips = append(in.skips, i)
		return
	}
	in.set(i, st)
}

// clearChild resets a decorator's child that ended.
func (in *Instance) clearChild(i int32) {
	if in.state[i+1].status.Done() && !in.keeps(i+1) {
		in.set(i+1, Idle)
	}
}

// before asks the scripts in front of a node. Only _while is asked while it runs.
func (in *Instance) before(i int32, s *scripts) (st Status, decided bool) {
	switch in.state[i].status {
	case Idle:
		for k := range s.guards {
			g := &s.guards[k]
			is, err := g.asks(&in.frame)
			if err != nil {
				return in.fail(i, err), true
			}
			if is == g.when {
				return g.gives, true
			}
		}
	case Running:
		if s.while == nil {
			break
		}
		is, err := s.while(&in.frame)
		if err == nil && is {
			break
		}
		in.haltNode(i, HaltGuard)
		if err != nil {
			return in.fail(i, err), true
		}
		return Skipped, true
	}
	return Idle, false
}

// after runs the scripts behind a node that ended. One that fails makes the node fail.
func (in *Instance) after(i int32, s *scripts, st Status) Status {
	first := s.onSuccess
	if st == Failure {
		first = s.onFailure
	}
	if first != nil {
		if _, err := first(&in.frame); err != nil {
			st = in.fail(i, err)
		}
	}
	if s.post != nil {
		if _, err := s.post(&in.frame); err != nil {
			st = in.fail(i, err)
		}
	}
	return st
}

// set changes a status and tells who listens.
func (in *Instance) set(i int32, st Status) {
	if s := &in.state[i]; s.status != st {
		if in.ring != nil {
			in.ring.add(i, s.status, st)
		}
		s.status = st
		in.moves++
	}
}

// fail notes why a node fails.
func (in *Instance) fail(i int32, err error) Status {
	in.note(i, err.Error())
	return Failure
}

func (in *Instance) note(i int32, text string) {
	if in.notes == nil {
		in.notes = map[int32]string{}
	}
	in.notes[i] = text
}

// wake makes sure the tree is ticked again by that time.
func (in *Instance) wake(at int64) {
	if in.due == 0 || at < in.due {
		in.due = at
	}
}

// yield answers RUNNING although the node could go on, so that the tree can be halted between two children.
func (in *Instance) yield() Status {
	in.yielded = true
	return Running
}

// resetChild halts a child that runs and makes it IDLE.
func (in *Instance) resetChild(i int32, why HaltWhy) {
	switch in.state[i].status {
	case Idle:
		return
	case Running:
		in.haltNode(i, why)
	}
	in.set(i, Idle)
}

func (in *Instance) resetChildren(i int32, n *node, why HaltWhy) {
	state, nodes := in.state, in.nodes
	for c := i + 1; c < n.end; c = nodes[c].end {
		if s := &state[c]; s.status != Idle {
			if s.status == Running {
				in.haltNode(c, why)
			}
			if in.ring == nil {
				s.status = Idle
			} else {
				in.set(c, Idle)
			}
		}
	}
}

// haltNode halts a node and everything that runs below it.
func (in *Instance) haltNode(i int32, why HaltWhy) {
	n := &in.nodes[i]
	in.halt(i, n, why)
	if n.attrs && why != HaltDeposed {
		if code := in.p.scripts[n.x].halted; code != nil {
			if _, err := code(&in.frame); err != nil {
				in.note(i, fmt.Sprintf("_onHalted: %v", err))
			}
		}
	}
}

func (in *Instance) halt(i int32, n *node, why HaltWhy) {
	s := &in.state[i]
	switch n.op {
	case opStateful:
		if s.status == Running {
			in.haltLeaf(i, n, why)
		}
		s.flags &^= flagResume
	case opTryCatch:
		if s.status != Idle && s.flags&flagBusy == 0 && why != HaltDeposed {
			in.catchOnHalt(i, n, why)
		}
		s.cur, s.count, s.flags = 0, 0, s.flags&flagDone
	case opSequenceWithMemory, opRunOnce, opPrecondition, opSkipUnlessUpdated, opWaitValueUpdate:
		if n.op == opSkipUnlessUpdated || n.op == opWaitValueUpdate {
			s.flags &^= flagBusy
		}
	case opParallel, opParallelAll:
		in.clearDone(i, n)
		s.cur, s.count = 0, 0
	default:
		s.cur, s.count = 0, 0
		s.flags &^= flagBusy
	}
	if n.kids > 0 {
		in.resetChildren(i, n, why)
	}
	in.set(i, Idle)
}
