package decide

import (
	"cmp"
	"errors"
	"fmt"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/netmap"
)

// Outcomes of a try, for the tree to branch on.
const (
	outcomeRefused = "refused" // the node said no: another may say yes
	outcomeFailed  = "failed"
	outcomeDone    = "done"
)

// issue deploys a replica and waits for the end. When it is halted the operation goes on: the replica shows it.
type issue struct {
	*leaves
	op     string
	target string
}

func (i *issue) OnStart(c *bt.Ctx) bt.Status {
	r, ok := i.replica(c, 0)
	if !ok {
		return c.Failf("%s is not desired any more", c.Text(0))
	}
	i.target = c.Text(2)
	op := i.operation(Deploy, r.ID, i.target, c.Text(3), c.Float(4))
	op.Lost = c.Text(1) == "redeploy"
	if c.Fault() != nil {
		return bt.Failure
	}
	i.op = op.ID
	c.SetOp(bt.OpID(op.ID))
	if err := i.w.Begin(op); err != nil {
		return i.no(c, err)
	}
	text := fmt.Sprintf("on %s: %s", op.To, op.Reason)
	if op.Lost {
		text += fmt.Sprintf("; what memory and volumes held on %s is lost", r.Node)
	}
	i.audit(i.w, r.ID.String(), Entry{What: c.Text(1), Text: text, Op: op.ID, Path: c.Path()})
	return i.OnRunning(c)
}

// no notes that an operation could not be begun.
func (i *issue) no(c *bt.Ctx, err error) bt.Status {
	if errors.Is(err, ErrRefused) {
		return i.refused(c, sayNo(err))
	}
	c.PutText(6, outcomeFailed)
	i.audit(i.w, c.Text(0), Entry{What: "failed", Text: err.Error(), Op: i.op, Path: c.Path()})
	return c.Failf("%v", err)
}

func (i *issue) refused(c *bt.Ctx, why string) bt.Status {
	refuse(c, 5, i.target, why)
	c.PutText(6, outcomeRefused)
	i.audit(i.w, c.Text(0), Entry{What: "refused", Text: fmt.Sprintf("%s: %s", i.target, why), Op: i.op, Path: c.Path()})
	return c.Failf("%s refuses: %s", i.target, why)
}

func (i *issue) OnRunning(c *bt.Ctx) bt.Status {
	p := i.w.Progress(i.op)
	c.Say(waits(p))
	switch p.Stage {
	case Committed:
		i.done(c, c.Text(0), "deployed", fmt.Sprintf("on %s", cmp.Or(p.Node, i.target)), i.op)
		c.PutText(6, outcomeDone)
		return bt.Success
	case Denied:
		return i.refused(c, p.Detail)
	case Aborted, Gone:
		return i.no(c, fmt.Errorf("deployment on %s %s: %s", i.target, p.Stage, p.Detail))
	}
	return bt.Running
}

// OnResume goes on with the deployment, or hears how it ended while nobody looked.
func (i *issue) OnResume(c *bt.Ctx, op bt.OpID) bt.Status {
	i.op, i.target = string(op), c.Text(2)
	return i.OnRunning(c)
}

func (i *issue) OnHalted(c *bt.Ctx, why bt.HaltWhy) {}

// done notes a good end.
func (l *leaves) done(c *bt.Ctx, replica, what, text, op string) {
	l.succeeded(l.w, replica)
	l.list(l.w)
	if id, err := netmap.ParseReplicaID(replica); err == nil {
		if r, ok := l.find(id); ok {
			l.publish(c, r.Index)
		}
	}
	l.audit(l.w, replica, Entry{What: what, Text: text, Op: op, Path: c.Path()})
}

// handshake begins a move. The target may still refuse, as TransferData then hears.
func (l *leaves) handshake(c *bt.Ctx) bt.Status {
	r, ok := l.replica(c, 0)
	if !ok {
		return c.Failf("%s is not desired any more", c.Text(0))
	}
	op := l.operation(Move, r.ID, c.Text(2), c.Text(4), c.Float(5))
	op.Mode = netmap.Mode(c.Text(3))
	source := c.Text(1)
	if c.Fault() != nil {
		return bt.Failure
	}
	switch err := l.w.Begin(op); {
	case errors.Is(err, ErrRefused):
		refuse(c, 6, op.To, sayNo(err))
		c.PutText(8, outcomeRefused)
		l.audit(l.w, r.ID.String(), Entry{What: "refused", Text: fmt.Sprintf("%s: %s", op.To, sayNo(err)), Op: op.ID, Path: c.Path()})
		return c.Failf("%v", err)
	case err != nil:
		c.PutText(8, outcomeFailed)
		l.audit(l.w, r.ID.String(), Entry{What: "failed", Text: err.Error(), Op: op.ID, Path: c.Path()})
		return c.Failf("%v", err)
	}
	l.fly(op.ID, r.ID, source, op.To)
	c.PutText(7, op.ID)
	l.audit(l.w, r.ID.String(), Entry{What: "move", Text: fmt.Sprintf("from %s to %s, %s: %s", source, op.To, op.Mode, op.Reason), Op: op.ID, Path: c.Path()})
	return bt.Success
}

// The leaves of a move hold nothing themselves: what they wait for is the operation in the port op, which a saved run has
// as well. So they resume by asking the world what became of it, as at every tick:
//
//	working          they wait on, whoever ordered the step
//	at rest          the step is ordered, as its order was not stored before the crash; the journal takes each once
//	ended            they say so
//	gone             they fail, and the tree's own TryCatch or Fallback acts

// transfer waits until image and volumes are at the target. An operation that has come further, as after a restart of
// the manager, has done that as well.
type transfer struct{ *leaves }

func (t *transfer) OnStart(c *bt.Ctx) bt.Status { return t.OnRunning(c) }

func (t *transfer) OnRunning(c *bt.Ctx) bt.Status {
	op := c.Text(0)
	c.SetOp(bt.OpID(op))
	p := t.w.Progress(op)
	c.Say(waits(p))
	switch p.Stage {
	case Working:
		return bt.Running
	case Transferred, TargetReady, Committed:
		return bt.Success
	case Denied:
		target := ""
		if c.Has(2) {
			target = c.Text(2)
		}
		if target != "" {
			refuse(c, 3, target, p.Detail)
		}
		c.PutText(4, outcomeRefused)
		t.audit(t.w, c.Text(1), Entry{What: "refused", Text: fmt.Sprintf("%s: %s", target, p.Detail), Op: op, Path: c.Path()})
		return c.Failf("%s refuses: %s", target, p.Detail)
	}
	return c.Failf("%s: %s", p.Stage, p.Detail)
}

func (t *transfer) OnResume(c *bt.Ctx, _ bt.OpID) bt.Status { return t.OnRunning(c) }

func (t *transfer) OnHalted(*bt.Ctx, bt.HaltWhy) {}

// advance lets a resting move go on and waits until it has come to the next place.
type advance struct {
	*leaves
	from    Stage
	to      Step
	reaches Stage
}

func (a *advance) OnStart(c *bt.Ctx) bt.Status { return a.OnRunning(c) }

func (a *advance) OnRunning(c *bt.Ctx) bt.Status {
	op := c.Text(0)
	c.SetOp(bt.OpID(op))
	p := a.w.Progress(op)
	if p.Stage == a.from {
		if err := a.w.Advance(op, a.to); err != nil { // asked again at the next tick, until a Timeout ends it
			c.Say(err.Error())
			return bt.Running
		}
		p = a.w.Progress(op)
	}
	c.Say(waits(p))
	switch p.Stage {
	case a.reaches, Committed:
		return bt.Success
	case Working, a.from:
		return bt.Running
	}
	return c.Failf("%s: %s", p.Stage, p.Detail)
}

func (a *advance) OnResume(c *bt.Ctx, _ bt.OpID) bt.Status { return a.OnRunning(c) }

func (a *advance) OnHalted(*bt.Ctx, bt.HaltWhy) {}

// waits says what a leaf waits for.
func waits(p Progress) string {
	text := cmp.Or(p.Detail, string(p.Stage))
	if p.Stage == Working && p.Node != "" {
		text = fmt.Sprintf("waits for mig-agent %s: %s", p.Node, text)
	}
	return text
}

// Tells says whether a leaf tells what became of an operation, which nobody can decree in its place.
func Tells(leaf string) bool {
	return InCutover(leaf) || leaf == "Rollback" || leaf == "RecordPolicy" || leaf == "TransferData" || leaf == "Prewarm" || leaf == "IssuePolicy"
}

// InCutover says whether a leaf waits where nothing can be taken back and the outcome is the agents': no moment to put
// another tree in its place, or to tell it what to answer.
func InCutover(leaf string) bool { return leaf == "Cutover" || leaf == "Ask" }

// ask waits for the outcome of a cut-over in doubt, however long it takes. Only one that was never begun is let go.
type ask struct{ *leaves }

func (a *ask) OnStart(c *bt.Ctx) bt.Status { return a.OnRunning(c) }

func (a *ask) OnRunning(c *bt.Ctx) bt.Status {
	op := c.Text(0)
	c.SetOp(bt.OpID(op))
	p := a.w.Progress(op)
	c.Say("asks for the outcome: " + waits(p))
	switch p.Stage {
	case Committed:
		return bt.Success
	case TargetReady, Transferred:
		if err := a.w.Advance(op, Cancel); err != nil {
			c.Say(err.Error())
		}
		return bt.Running
	case Working:
		return bt.Running
	}
	a.audit(a.w, c.Text(1), Entry{What: "failed", Text: fmt.Sprintf("%s: %s", p.Stage, p.Detail), Op: op, Path: c.Path()})
	return c.Failf("%s: %s", p.Stage, p.Detail)
}

func (a *ask) OnResume(c *bt.Ctx, _ bt.OpID) bt.Status { return a.OnRunning(c) }

func (a *ask) OnHalted(*bt.Ctx, bt.HaltWhy) {}

// rollback takes a move back before its cut-over: it cancels where the move rests and waits until it has ended.
type rollback struct{ *leaves }

func (r *rollback) OnStart(c *bt.Ctx) bt.Status { return r.OnRunning(c) }

func (r *rollback) OnRunning(c *bt.Ctx) bt.Status {
	op := c.Text(0)
	c.SetOp(bt.OpID(op))
	p := r.w.Progress(op)
	if p.Stage == Transferred || p.Stage == TargetReady {
		if err := r.w.Advance(op, Cancel); err != nil {
			c.Say(err.Error())
			return bt.Running
		}
		p = r.w.Progress(op)
	}
	c.Say(waits(p))
	switch p.Stage {
	case Denied, Gone:
		return bt.Success
	case Aborted:
		r.audit(r.w, c.Text(1), Entry{What: "failed", Text: "the move was taken back: " + p.Detail, Op: op, Path: c.Path()})
		return bt.Success
	case Committed:
		return c.Failf("it is committed, nothing can be taken back")
	}
	return bt.Running
}

func (r *rollback) OnResume(c *bt.Ctx, _ bt.OpID) bt.Status { return r.OnRunning(c) }

func (r *rollback) OnHalted(*bt.Ctx, bt.HaltWhy) {}

func (l *leaves) recordPolicy(c *bt.Ctx) bt.Status {
	op := c.Text(0)
	p := l.w.Progress(op)
	text := "to " + p.Node
	if c.Has(2) {
		text += ": " + c.Text(2)
	}
	l.done(c, c.Text(1), "moved", text, op)
	c.PutText(3, outcomeDone)
	return bt.Success
}
