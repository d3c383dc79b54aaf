package orders

import (
	"context"
	"fmt"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// Docker keeps of a restored container what it has written down, which is some time after the container runs. A dockerd
// that dies before ends those processes when it comes back, live-restore or not. They are the only copy by then: the source
// is gone. So they are taken through one more checkpoint, here:
//
//	they serve --hold, dump, kill--> an image --dockerd is back, armed start, restore--> they run, and Docker knows --release--> they serve
//	                     \-- it fails, or the agent dies: kill, release, an ordinary start from its volumes -----------------> it serves
//
// Clients wait as long as dockerd is away, and lose nothing. The journal knows while the address is held.

// rescueTime bounds how long dockerd is waited for; clients wait with it.
const rescueTime = 30 * time.Second

// rescueKind is the kind of such an operation in the journal.
const rescueKind = "rescue"

// rescue makes a replica Docker's that Docker has lost. l.rescuing is set: nobody else begins anything with it.
func (a *Agent) rescue(l *local, op string) {
	op += "-again"
	l.mending.Lock()
	facts := &journal.Facts{Kind: rescueKind, Service: l.id.Service, Replica: l.id.Replica, Container: l.container.ID,
		HolderPID: l.holder.PID, Address: bareAddress(l.spec.Address), MoreAddresses: moreAddresses(l.spec)}
	err := a.journal.Append(journal.Record{Op: op, Role: journal.Local, Step: journal.Prepared, Facts: facts})
	if err == nil {
		err = a.throughCheckpoint(l, op)
	}
	last := journal.Record{Op: op, Role: journal.Local, Step: journal.Committed}
	if err != nil {
		last.Step, last.Error = journal.Aborted, err.Error()
		a.log.Error("replica not kept, it starts from its volumes", "service", l.id.Service, "replica", l.id.Replica, "op", op, "err", err)
		a.until("end processes that Docker does not know", op, func() error { return a.endProcesses(facts.Container) })
	}
	a.until("let the address go", op, func() error { return a.letGo(a.life, op, traffic(l)) })
	if a.life.Err() == nil { // else the next life of the agent finds it in the journal
		a.until("journal", op, func() error { return a.journal.Append(last) })
	}
	a.mu.Lock()
	l.rescuing = false
	a.mu.Unlock()
	l.mending.Unlock()
	a.until("forget operation", op, func() error {
		_, err := a.helper.Forget(a.life, &api.OpRef{Op: op})
		return err
	})
	if err == nil {
		a.log.Info("replica taken through a checkpoint for Docker to know it", "service", l.id.Service, "replica", l.id.Replica, "op", op)
		return
	}
	a.revive(a.life, l.id.String())
}

// until tries until it is done or the agent ends.
func (a *Agent) until(what, op string, do func() error) {
	for again := againFirst; a.life.Err() == nil; again = min(2*again, againMost) {
		err := do()
		if err == nil {
			return
		}
		a.log.Warn(what, "op", op, "err", err)
		pause(a.life, again)
	}
}

// letGo lets a holder speak, unless its lease is over, and releases what is held for it. Idempotent.
func (a *Agent) letGo(ctx context.Context, op string, t *api.Traffic) error {
	if _, err := a.helper.TakeBack(ctx, &api.TakeBackRequest{Op: op, Traffic: t}); err != nil {
		return err
	}
	_, err := a.helper.Release(ctx, t)
	return err
}

// endProcesses ends a container whatever Docker thinks of it; its next start is an ordinary one.
func (a *Agent) endProcesses(container string) error {
	if _, err := a.helper.Kill(a.life, &api.ContainerRef{Id: container}); err != nil {
		return err
	}
	return engine.Unarm(a.cfg.Dir, container)
}

func (a *Agent) throughCheckpoint(l *local, op string) error {
	ctx, cancel := context.WithTimeout(a.life, rescueTime)
	defer cancel()
	t := traffic(l)
	if _, err := a.helper.Yield(ctx, t); err != nil {
		return err
	}
	if _, err := a.helper.Hold(ctx, t); err != nil {
		return err
	}
	if _, err := a.helper.Mute(ctx, t); err != nil {
		return err
	}
	dumping, hangUp := context.WithTimeout(ctx, stepTimeout)
	defer hangUp()
	dump, err := a.helper.Dump(dumping, &api.DumpRequest{Op: op, Container: l.container.ID, BudgetMs: stepTimeout.Milliseconds()})
	for range 2 { // frozen, complete
		if err == nil {
			_, err = dump.Recv()
		}
	}
	if err != nil {
		return err
	}
	if _, err := a.helper.Kill(ctx, &api.ContainerRef{Id: l.container.ID, Quietly: true}); err != nil {
		return err
	}
	if err := engine.Unarm(a.cfg.Dir, l.container.ID); err != nil {
		return err
	}
	for a.docker.Alive(ctx) != nil {
		pause(ctx, probeFirst)
		if ctx.Err() != nil {
			return fmt.Errorf("dockerd is away: %w", ctx.Err())
		}
	}
	startup, err := a.armStart(l.container.ID)
	if err != nil {
		return err
	}
	// Loud before it sends anything; what it sends is held.
	if _, err := a.helper.TakeBack(ctx, &api.TakeBackRequest{Op: op, Traffic: t}); err != nil {
		return err
	}
	if _, err := a.helper.Restore(ctx, &api.RestoreRequest{Op: op, Container: l.container.ID, BudgetMs: remaining(ctx)}); err != nil {
		return err
	}
	select {
	case err := <-startup:
		engine.Disarmed(a.cfg.Dir, l.container.ID)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endRescue is what remains to be done for a rescue in which the agent died. It comes before anybody asks Docker about the
// container, whose armed start may still wait.
func (a *Agent) endRescue(ctx context.Context, op string, facts *journal.Facts) error {
	if _, err := a.helper.Disarm(ctx, &api.DisarmRequest{Op: op, Container: facts.Container, Reason: "the agent restarted"}); err != nil {
		return err
	}
	if err := a.endProcesses(facts.Container); err != nil {
		return err
	}
	l := &local{id: netmap.ReplicaID{Service: facts.Service, Replica: facts.Replica}}
	l.holder.PID = facts.HolderPID
	if err := a.seeHolder(ctx, l); err != nil {
		return err
	}
	if l.holder.PID != 0 {
		t := &api.Traffic{Pid: int32(facts.HolderPID), Address: facts.Address, MoreAddresses: facts.MoreAddresses}
		if err := a.letGo(ctx, op, t); err != nil {
			return err
		}
	}
	return a.journal.Append(journal.Record{Op: op, Role: journal.Local, Step: journal.Aborted, Error: "the agent restarted"})
}

// startAnew starts a replica from its volumes whose restored processes Docker does not know, and that cannot be rescued.
func (a *Agent) startAnew(l *local) {
	l.mending.Lock()
	a.until("end processes that Docker does not know", l.id.String(), func() error { return a.endProcesses(l.container.ID) })
	a.mu.Lock()
	l.rescuing = false
	a.mu.Unlock()
	l.mending.Unlock()
	a.revive(a.life, l.id.String())
}
