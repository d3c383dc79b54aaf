package bt

import (
	"errors"
	"fmt"

	"sonic-netservices/bt-manager/bt/board"
)

var (
	errTimeout = errors.New("the time is over")
	errRunning = errors.New("a leaf that is not stateful answered RUNNING")
	errIdle    = errors.New("a leaf answered IDLE, which is no answer")
)

func (in *Instance) runSync(i int32, n *node) Status {
	if i == in.crashed {
		return Failure
	}
	in.ctx.i = i
	if n.op != opSync {
		return in.settle(i, in.p.funcs[n.aux](&in.ctx), true)
	}
	return in.settle(i, in.sync[n.aux].Tick(&in.ctx), true)
}

// crash notes a panic of the leaf that was called last.
func (in *Instance) crash(r any) {
	in.panics++
	in.crashed = in.ctx.i
	in.ctx.fault = nil
	in.note(in.ctx.i, fmt.Sprintf("panic: %v", r))
}

// settle judges a leaf's answer: a port that failed makes it a failure.
func (in *Instance) settle(i int32, st Status, sync bool) Status {
	switch fault := in.ctx.fault; {
	case fault != nil:
		in.ctx.fault = nil
		return in.fail(i, fault)
	case st == Running && sync:
		return in.fail(i, errRunning)
	case st == Idle || st > Skipped:
		return in.fail(i, errIdle)
	}
	return st
}

func (in *Instance) runStateful(i int32, n *node) Status {
	s := &in.state[i]
	was := s.status
	if was.Done() { // its parent has not reset it: the answer stands
		return was
	}
	if i == in.crashed {
		return Failure
	}
	if was == Idle {
		s.count++ // attempts, part of operation ids
	}
	in.ctx.i = i
	st := in.tickStateful(n, s)
	if st == Running && in.ctx.fault == nil {
		return Running
	}
	if fault := in.ctx.fault; fault != nil && st == Running { // started, but it fails: stop it first
		in.ctx.fault = nil
		in.haltLeaf(i, n, HaltBranch)
		in.ctx.fault = fault
	}
	st = in.settle(i, st, false)
	if st != Running && in.ops != nil {
		delete(in.ops, i)
	}
	if st == Success && in.notes != nil {
		delete(in.notes, i)
	}
	return st
}

func (in *Instance) tickStateful(n *node, s *nodeState) Status {
	leaf := in.stateful[n.aux]
	if s.flags&flagResume != 0 {
		s.flags &^= flagResume
		if d, ok := leaf.(Durable); ok {
			return d.OnResume(&in.ctx, in.ops[in.ctx.i])
		}
		return leaf.OnStart(&in.ctx)
	}
	if s.status == Idle {
		return leaf.OnStart(&in.ctx)
	}
	return leaf.OnRunning(&in.ctx)
}

func (in *Instance) haltLeaf(i int32, n *node, why HaltWhy) {
	in.ctx.i = i
	func() {
		defer func() {
			if r := recover(); r != nil {
				in.panics++
				in.ctx.fault = fmt.Errorf("panic: %v", r)
			}
		}()
		in.stateful[n.aux].OnHalted(&in.ctx, why)
	}()
	fault := in.ctx.fault
	in.ctx.fault = nil
	if why != HaltDeposed && in.ops != nil {
		delete(in.ops, i)
	}
	if in.notes != nil {
		delete(in.notes, i)
	}
	if fault != nil {
		in.note(i, fault.Error())
	}
}

func (in *Instance) runBuiltin(i int32, n *node) Status {
	switch n.op {
	case opScript:
		if _, err := in.p.code[n.aux](&in.frame); err != nil {
			return in.fail(i, err)
		}
		return Success
	case opScriptCondition:
		ok, err := in.p.conds[n.aux](&in.frame)
		if err != nil {
			return in.fail(i, err)
		}
		if !ok {
			return Failure
		}
		return Success
	case opSetBlackboard:
		v := in.input(n, 0)
		if v.Kind() == board.Unset {
			return in.fail(i, errors.New("port value: no value"))
		}
		if err := in.output(i, 1, v); err != nil {
			return in.fail(i, err)
		}
		return Success
	case opUnsetBlackboard:
		if s := n.ports[0].slot; s >= 0 {
			in.frame.Slots[s].Clear(in.frame.Now)
		}
		return Success
	case opSleep:
		return in.runSleep(i, n)
	}
	if in.updated(n) {
		return Success
	}
	return Failure
}

// runSleep answers RUNNING until its cell's time.
func (in *Instance) runSleep(i int32, n *node) Status {
	cell := &in.cells[n.aux]
	switch st := in.state[i].status; st {
	case Success, Failure:
		return st // its parent has not reset it: the answer stands
	case Idle:
		ms, err := in.param(i, n, 0)
		if err != nil {
			return in.fail(i, err)
		}
		*cell = in.frame.Now + ms*1e6
	}
	if in.frame.Now >= *cell {
		return Success
	}
	in.wake(*cell)
	return Running
}
