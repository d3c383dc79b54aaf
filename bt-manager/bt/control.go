package bt

// run ticks the node itself, without its scripts.
func (in *Instance) run(i int32, n *node) Status {
	switch n.op {
	case opFunc, opGuardedFunc, opSync:
		return in.runSync(i, n)
	case opStateful:
		return in.runStateful(i, n)
	case opSequence, opAsyncSequence, opSequenceWithMemory:
		return in.runSequence(i, n)
	case opFallback, opAsyncFallback:
		return in.runFallback(i, n)
	case opReactiveSequence:
		return in.runReactive(i, n, Failure, Success)
	case opReactiveFallback:
		return in.runReactive(i, n, Success, Failure)
	case opParallel:
		return in.runParallel(i, n)
	case opParallelAll:
		return in.runParallelAll(i, n)
	case opIfThenElse:
		return in.runIfThenElse(i, n)
	case opWhileDoElse:
		return in.runWhileDoElse(i, n)
	case opSwitch:
		return in.runSwitch(i, n)
	case opTryCatch:
		return in.runTryCatch(i, n)
	case opAlwaysSuccess:
		return Success
	case opAlwaysFailure:
		return Failure
	case opScript, opScriptCondition, opSetBlackboard, opUnsetBlackboard, opSleep, opWasEntryUpdated:
		return in.runBuiltin(i, n)
	}
	return in.runDecorator(i, n)
}

func (in *Instance) runSequence(i int32, n *node) Status {
	s := &in.state[i]
	if s.status == Idle {
		s.count = 0
	}
	in.set(i, Running)
	c := s.cur
	if c == 0 {
		c = i + 1
	}
	for c < n.end {
		st := Idle
		if n.op == opSequence && in.nodes[c].op == opFunc {
			if c, st = in.leaves(s, c, n.end, Success); c == n.end {
				break
			}
		}
		was := in.state[c].status
		s.cur = c // kept now, for the case that a leaf panics
		if st == Idle {
			st = in.exec(c)
		}
		switch st {
		case Running:
			return Running
		case Failure:
			if n.op == opSequenceWithMemory { // only from here on, and the place is kept
				for ; c < n.end; c = in.nodes[c].end {
					in.resetChild(c, HaltBranch)
				}
				return Failure
			}
			in.resetChildren(i, n, HaltBranch)
			s.cur = 0
			return Failure
		case Success:
			c = in.nodes[c].end
			if n.op != opSequence && was == Idle && c < n.end {
				s.cur = c
				return in.yield()
			}
		case Skipped:
			c = in.nodes[c].end
			s.count++
		}
	}
	return in.endRow(i, n, s, Success)
}

// endRow ends a sequence or fallback whose children were all asked: SKIPPED when all were skipped.
func (in *Instance) endRow(i int32, n *node, s *nodeState, st Status) Status {
	if s.count == n.kids {
		st = Skipped
	}
	in.resetChildren(i, n, HaltBranch)
	s.cur, s.count = 0, 0
	return st
}

func (in *Instance) runFallback(i int32, n *node) Status {
	s := &in.state[i]
	if s.status == Idle {
		s.count = 0
	}
	in.set(i, Running)
	c := s.cur
	if c == 0 {
		c = i + 1
	}
	for c < n.end {
		st := Idle
		if n.op == opFallback && in.nodes[c].op == opFunc {
			if c, st = in.leaves(s, c, n.end, Failure); c == n.end {
				break
			}
		}
		was := in.state[c].status
		s.cur = c
		if st == Idle {
			st = in.exec(c)
		}
		switch st {
		case Running:
			return Running
		case Success:
			in.resetChildren(i, n, HaltBranch)
			s.cur = 0
			return Success
		case Failure:
			c = in.nodes[c].end
			if n.op == opAsyncFallback && was == Idle && c < n.end {
				s.cur = c
				return in.yield()
			}
		case Skipped:
			c = in.nodes[c].end
			s.count++
		}
	}
	return in.endRow(i, n, s, Failure)
}

// runReactive asks all children from the first on, until one answers stop or RUNNING.
func (in *Instance) runReactive(i int32, n *node, stop, through Status) Status {
	in.set(i, Running)
	skipped := int32(0)
	for c := i + 1; c < n.end; c = in.nodes[c].end {
		switch in.exec(c) {
		case Running:
			for other := i + 1; other < n.end; other = in.nodes[other].end {
				if other != c {
					in.resetChild(other, HaltBranch)
				}
			}
			return Running
		case stop:
			in.resetChildren(i, n, HaltBranch)
			return stop
		case Skipped:
			skipped++
			in.resetChild(c, HaltBranch)
		}
	}
	in.resetChildren(i, n, HaltBranch)
	if skipped == n.kids {
		return Skipped
	}
	return through
}

// runTryCatch runs all children but the last as a sequence; when one fails the last cleans up, and the answer is FAILURE.
//
//	trying --a child FAILS--> catching --the last ends--> FAILURE
//	   \--all SUCCESS--> SUCCESS
func (in *Instance) runTryCatch(i int32, n *node) Status {
	s := &in.state[i]
	if s.status == Idle {
		s.count = 0
		s.flags &^= flagBusy
	}
	in.set(i, Running)
	last := in.lastChild(i, n)
	c := s.cur
	if c == 0 {
		c = i + 1
	}
	for s.flags&flagBusy == 0 && c < last {
		s.cur = c
		switch in.exec(c) {
		case Running:
			return Running
		case Failure:
			in.resetChildren(i, n, HaltBranch)
			s.cur = 0
			s.flags |= flagBusy
		case Success:
			c = in.nodes[c].end
		case Skipped:
			c = in.nodes[c].end
			s.count++
		}
	}
	if s.flags&flagBusy == 0 {
		s.count++ // the catch branch, which nobody asked
		return in.endRow(i, n, s, Success)
	}
	if in.exec(last) == Running {
		return Running
	}
	in.resetChildren(i, n, HaltBranch)
	s.cur = 0
	s.flags &^= flagBusy
	return Failure
}

func (in *Instance) lastChild(i int32, n *node) int32 {
	c := i + 1
	for in.nodes[c].end < n.end {
		c = in.nodes[c].end
	}
	return c
}

// catchOnHalt runs the catch branch once when a TryCatch with catch_on_halt is halted while trying.
func (in *Instance) catchOnHalt(i int32, n *node, why HaltWhy) {
	if on, err := in.param(i, n, 0); err != nil || on == 0 {
		return
	}
	last := in.lastChild(i, n)
	for c := i + 1; c < last; c = in.nodes[c].end {
		in.resetChild(c, why)
	}
	defer func() {
		if r := recover(); r != nil {
			in.crash(r)
			in.crashed = -1
			in.resetChild(last, why)
		}
	}()
	if in.exec(last) == Running {
		in.resetChild(last, why)
	}
}
