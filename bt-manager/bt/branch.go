package bt

import (
	"strconv"

	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/script"
)

// branches gives the second and the third child, 0 without a third.
func (in *Instance) branches(i int32, n *node) (yes, no int32) {
	yes = in.nodes[i+1].end
	if n.kids == 3 {
		no = in.nodes[yes].end
	}
	return yes, no
}

// runIfThenElse asks the condition until it decides, then runs one branch to its end. A skipped condition skips the node.
func (in *Instance) runIfThenElse(i int32, n *node) Status {
	s := &in.state[i]
	in.set(i, Running)
	if s.cur == 0 {
		yes, no := in.branches(i, n)
		switch in.exec(i + 1) {
		case Running:
			return Running
		case Success:
			s.cur = yes
		case Failure:
			if no == 0 {
				return Failure
			}
			s.cur = no
		case Skipped:
			in.resetChildren(i, n, HaltBranch)
			return Skipped
		}
	}
	st := in.exec(s.cur)
	if st != Running {
		in.resetChildren(i, n, HaltBranch)
		s.cur = 0
	}
	return st
}

// runWhileDoElse asks the condition at every tick and halts the branch it turned away from.
func (in *Instance) runWhileDoElse(i int32, n *node) Status {
	in.set(i, Running)
	yes, no := in.branches(i, n)
	st := Failure
	switch in.exec(i + 1) {
	case Running:
		return Running
	case Success:
		if no != 0 {
			in.resetChild(no, HaltBranch)
		}
		st = in.exec(yes)
	case Failure:
		if no != 0 {
			in.resetChild(yes, HaltBranch)
			st = in.exec(no)
		}
	case Skipped:
		st = Skipped
	}
	if st != Running {
		in.resetChildren(i, n, HaltBranch)
	}
	return st
}

// runSwitch runs the child whose case the variable equals, else the last. state.cur = the child that runs.
func (in *Instance) runSwitch(i int32, n *node) Status {
	s := &in.state[i]
	variable := in.input(n, 0)
	c := i + 1
	for k := 1; k < len(n.ports); k++ {
		if variable.Kind() != board.Unset && in.sameCase(variable, in.input(n, k)) {
			break
		}
		c = in.nodes[c].end
	}
	if s.cur != 0 && s.cur != c {
		in.resetChild(s.cur, HaltBranch)
	}
	st := in.exec(c)
	switch st {
	case Skipped:
		s.cur = 0
	case Running:
		s.cur = c
	default:
		in.resetChildren(i, n, HaltBranch)
		s.cur = 0
	}
	return st
}

// sameCase compares as text first, then as numbers and enum names.
func (in *Instance) sameCase(a, b board.Value) bool {
	if a.Kind() == board.Text && b.Kind() == board.Text && a.String() == b.String() {
		return true
	}
	x, ok := in.caseNumber(a)
	if !ok {
		return false
	}
	y, ok := in.caseNumber(b)
	return ok && script.Same(x, y)
}

func (in *Instance) caseNumber(v board.Value) (float64, bool) {
	if v.Number() {
		return v.Float(), true
	}
	if v.Kind() != board.Text {
		return 0, false
	}
	if n, ok := in.p.enums[v.String()]; ok {
		return float64(n), true
	}
	x, err := strconv.ParseFloat(v.String(), 64)
	return x, err == nil
}
