package bt

// counts of a Parallel: state.count = children that succeeded, state.cur = children that failed. Which ones have ended is
// kept as flagDone in the children.

// threshold reads a count where negative means so many from all: -1 = all, -2 = all but one.
func (in *Instance) threshold(i int32, n *node, port int) (int32, bool, error) {
	v, err := in.param(i, n, port)
	if err != nil {
		return 0, false, err
	}
	if v < 0 {
		return int32(max(int64(n.kids)+v+1, 0)), true, nil
	}
	return int32(min(v, many)), false, nil
}

func (in *Instance) clearDone(i int32, n *node) {
	for c := i + 1; c < n.end; c = in.nodes[c].end {
		in.state[c].flags &^= flagDone
	}
}

func (in *Instance) endParallel(i int32, n *node, st Status) Status {
	s := &in.state[i]
	in.clearDone(i, n)
	s.cur, s.count = 0, 0
	in.resetChildren(i, n, HaltBranch)
	return st
}

// SettledNote is why a Parallel fails when no child is left that could still succeed, because some were skipped. v4 stays
// RUNNING for ever.
const SettledNote = "all children ended or were skipped, and too few succeeded"

func (in *Instance) runParallel(i int32, n *node) Status {
	need, fromAll, err := in.threshold(i, n, 0)
	if err != nil {
		return in.fail(i, err)
	}
	enough, _, err := in.threshold(i, n, 1)
	if err != nil {
		return in.fail(i, err)
	}
	s := &in.state[i]
	in.set(i, Running)
	skipped := int32(0)
	for c := i + 1; c < n.end; c = in.nodes[c].end {
		kid := &in.state[c]
		if kid.flags&flagDone == 0 {
			switch in.exec(c) {
			case Skipped:
				skipped++
			case Success:
				kid.flags |= flagDone
				s.count++
			case Failure:
				kid.flags |= flagDone
				s.cur++
			}
		}
		if s.count >= need || fromAll && s.count+skipped >= need {
			return in.endParallel(i, n, Success)
		}
		if n.kids-s.cur < need || s.cur == enough {
			return in.endParallel(i, n, Failure)
		}
	}
	switch {
	case skipped == n.kids:
		return Skipped
	case s.count+s.cur+skipped == n.kids:
		in.note(i, SettledNote)
		return in.endParallel(i, n, Failure)
	}
	return Running
}

// runParallelAll waits for all children. state.count = ended, state.cur = failed.
func (in *Instance) runParallelAll(i int32, n *node) Status {
	enough, _, err := in.threshold(i, n, 0)
	if err != nil {
		return in.fail(i, err)
	}
	s := &in.state[i]
	in.set(i, Running)
	skipped := int32(0)
	for c := i + 1; c < n.end; c = in.nodes[c].end {
		kid := &in.state[c]
		if kid.flags&flagDone != 0 {
			continue
		}
		switch in.exec(c) {
		case Skipped:
			skipped++
		case Success:
			kid.flags |= flagDone
			s.count++
		case Failure:
			kid.flags |= flagDone
			s.count++
			s.cur++
		}
	}
	switch {
	case skipped == n.kids:
		return Skipped
	case skipped+s.count < n.kids:
		return Running
	case s.cur >= enough:
		return in.endParallel(i, n, Failure)
	}
	return in.endParallel(i, n, Success)
}
