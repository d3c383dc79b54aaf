package orders

import (
	"context"
	"fmt"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
)

// Docker keeps of a restored container what it has written down, which is some time after the container runs. A dockerd
// that dies before ends those processes when it comes back, live-restore or not. They are the only copy by then: the source
// is gone. So they are taken through one more checkpoint, here:
//
//	they serve --hold, dump, kill--> an image --dockerd is back, armed start, restore, release--> they serve, and Docker knows
//	                     \-- it fails: the replica is started anew, from its volumes ------------> it serves
//
// Clients wait as long as dockerd is away, and lose nothing.

// rescueTime bounds how long dockerd is waited for; clients wait with it.
const rescueTime = 30 * time.Second

// rescue makes a replica Docker's that Docker has lost.
func (a *Agent) rescue(l *local, op string) {
	op += "-again"
	l.mending.Lock() // nobody else starts it meanwhile
	err := a.throughCheckpoint(l, op)
	l.mending.Unlock()
	if _, ferr := a.helper.Forget(a.life, &api.OpRef{Op: op}); ferr != nil {
		a.log.Warn("forget operation", "op", op, "err", ferr)
	}
	if err == nil {
		a.log.Info("replica taken through a checkpoint for Docker to know it", "service", l.id.Service, "replica", l.id.Replica, "op", op)
		return
	}
	a.log.Error("replica not kept, it starts from its volumes", "service", l.id.Service, "replica", l.id.Replica, "op", op, "err", err)
	a.startAnew(l)
}

func (a *Agent) throughCheckpoint(l *local, op string) (err error) {
	ctx, cancel := context.WithTimeout(a.life, rescueTime)
	defer cancel()
	t := traffic(l)
	if _, err := a.helper.Yield(ctx, t); err != nil {
		return err
	}
	if _, err := a.helper.Hold(ctx, t); err != nil {
		return err
	}
	defer func() { // also of one that starts anew: its clients' connections end then, whoever answers
		_, oerr := a.helper.TakeBack(a.life, &api.TakeBackRequest{Op: op, Traffic: t})
		_, rerr := a.helper.Release(a.life, t)
		for _, e := range []error{oerr, rerr} {
			if err == nil {
				err = e
			}
		}
	}()
	if _, err := a.helper.Mute(ctx, t); err != nil {
		return err
	}
	dumping, cancelDump := context.WithTimeout(ctx, stepTimeout)
	defer cancelDump()
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
	if _, err := a.helper.TakeBack(ctx, &api.TakeBackRequest{Op: op, Traffic: t}); err != nil { // loud again, still held
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

// startAnew starts a replica whose restored processes Docker does not know: they run where nobody can stop or move them.
// The next start must be an ordinary one.
func (a *Agent) startAnew(l *local) {
	for a.life.Err() == nil {
		_, err := a.helper.Kill(a.life, &api.ContainerRef{Id: l.container.ID})
		if err == nil {
			err = engine.Unarm(a.cfg.Dir, l.container.ID)
		}
		if err == nil {
			a.revive(a.life, l.id.String())
			return
		}
		a.log.Warn("end processes that Docker does not know", "service", l.id.Service, "replica", l.id.Replica, "err", err)
		pause(a.life, time.Second)
	}
}
