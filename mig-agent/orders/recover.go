package orders

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/mig-agent/migrate"
	"sonic-netservices/mig-agent/witness"
	"sonic-netservices/netmap"
)

// recover takes up where an earlier life of the agent stopped: it reads what runs here, then brings every unfinished
// operation of the journal to its end, and starts what should run and does not.
func (a *Agent) recover(ctx context.Context) error {
	if members, err := witness.ReadMembers(a.cfg.Dir); err == nil {
		a.members = members.Members
	}
	if err := a.readLeases(); err != nil { // as after a boot: the manager renews what is still ours
		a.log.Warn("read leases", "err", err)
	}
	entries, err := a.journal.List()
	if err != nil {
		return err
	}
	if err := a.endRescues(ctx, entries); err != nil {
		return err
	}
	specs, err := readReplicaFiles(a.cfg.Dir)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		l := &local{id: netmap.ReplicaID{Service: spec.Service, Replica: int(spec.Replica)}, spec: spec}
		if err := a.findContainers(ctx, l); err != nil {
			return err
		}
		a.setState(l, netmap.Running, spec.Op)
	}
	for _, e := range entries {
		if err := a.recoverOperation(ctx, e); err != nil {
			return fmt.Errorf("recover operation %s: %w", e.Op, err)
		}
	}
	go a.forgetStrays(a.life) // a dump that is still on its way is waited for
	if err := a.journal.Prune(opsKept); err != nil {
		a.log.Warn("prune journal", "err", err)
	}
	if err := a.applySegment(ctx); err != nil { // an access port may come later; stayJoined tries again
		a.log.Warn("service segment", "err", err)
	}
	a.mu.Lock()
	a.known = true
	a.mu.Unlock()
	a.informHelper(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.locals {
		if l.state == netmap.Running {
			go a.reviveOurs(a.life, l.id, a.word)
		}
	}
	return nil
}

// forgetStrays removes what operations have left in the helper's work folder that an earlier life of this agent began and
// that no journal knows of: one that died before its cut-over, or in a rescue.
func (a *Agent) forgetStrays(ctx context.Context) {
	folders, err := os.ReadDir(filepath.Dir((engine.Host{Dir: a.cfg.Dir}).OpFolder("op")))
	if err != nil {
		return // there is none, or nobody may look: the helper removes all when it is uninstalled
	}
	for _, f := range folders {
		a.mu.Lock()
		known := a.sources[f.Name()] != nil || a.targets[f.Name()] != nil
		a.mu.Unlock()
		if known {
			continue
		}
		if _, err := a.helper.Forget(ctx, &api.OpRef{Op: f.Name()}); err != nil {
			a.log.Warn("forget operation", "op", f.Name(), "err", err)
		}
	}
}

// endRescues ends those in which an earlier life of this agent died.
func (a *Agent) endRescues(ctx context.Context, entries []journal.Entry) error {
	for _, e := range entries {
		if e.Role != journal.Local {
			continue
		}
		recs, err := a.journal.Load(e.Op, e.Role)
		if err != nil {
			return err
		}
		facts := journal.FactsOf(recs)
		if facts == nil || facts.Kind != rescueKind || journal.Finished(recs) {
			continue
		}
		if err := a.endRescue(ctx, e.Op, facts); err != nil {
			return fmt.Errorf("end rescue %s: %w", e.Op, err)
		}
	}
	return nil
}

func (a *Agent) recoverOperation(ctx context.Context, e journal.Entry) error {
	recs, err := a.journal.Load(e.Op, e.Role)
	if err != nil {
		return err
	}
	facts := journal.FactsOf(recs)
	if journal.Finished(recs) || facts == nil {
		return nil
	}
	a.log.Info("unfinished operation", "op", e.Op, "role", e.Role, "step", journal.Last(recs))
	switch e.Role {
	case journal.Source:
		return a.recoverSource(ctx, e.Op, facts, recs)
	case journal.Target:
		return a.recoverTarget(ctx, e.Op, facts, recs)
	}
	return a.recoverLocal(ctx, e.Op, facts)
}

// recoverLocal: a deploy that did not finish is taken back, a removal is carried through.
func (a *Agent) recoverLocal(ctx context.Context, opID string, facts *journal.Facts) error {
	id := netmap.ReplicaID{Service: facts.Service, Replica: facts.Replica}
	l := a.local(id)
	if l == nil {
		l = &local{id: id, spec: &api.Replica{Service: id.Service, Replica: int32(id.Replica)}}
	}
	if err := a.removeReplica(ctx, id); err != nil {
		return err
	}
	a.setState(l, netmap.Unloaded, opID)
	rec := journal.Record{Op: opID, Role: journal.Local, Step: journal.Committed}
	if facts.Kind == "deploy" {
		rec.Step, rec.Error = journal.Aborted, "the agent restarted during the deployment"
	}
	return a.journal.Append(rec)
}

func (a *Agent) recoverSource(ctx context.Context, opID string, facts *journal.Facts, recs []journal.Record) error {
	id := netmap.ReplicaID{Service: facts.Service, Replica: facts.Replica}
	mode := netmap.Mode(facts.Mode)
	l := a.local(id)
	if l == nil { // released, and its file is gone already
		l = &local{id: id, spec: &api.Replica{Service: id.Service, Replica: int32(id.Replica), Address: facts.Address,
			MoreAddresses: facts.MoreAddresses}}
	}
	a.setState(l, netmap.Migrating, opID)
	l.holder.PID, l.container.ID = facts.HolderPID, facts.Container
	if err := a.seeHolder(ctx, l); err != nil {
		return err
	}
	op := newOperation(opID)
	m := &sourceMove{
		op: opID, local: l, mode: mode, facts: facts, machine: migrate.ResumeSource(mode, recs), began: op.began,
		order: &api.MoveOrder{Service: id.Service, Replica: int32(id.Replica), To: facts.Peer, Mode: modeNumber(mode)},
		trace: &api.Move{Op: opID, Service: id.Service, Replica: int32(id.Replica), From: a.cfg.Node, To: facts.Peer,
			Mode: modeNumber(mode), StartedUnixMs: recs[0].At.UnixMilli()},
	}
	a.mu.Lock()
	a.sources[opID] = m
	a.ops[opID+"/cutover"] = op
	a.mu.Unlock()
	if journal.Settled(recs) == journal.Committed {
		go a.runSource(m, op, migrate.Restart, nil) // may have to wait for the target
		return nil
	}
	a.runSource(m, op, migrate.Restart, nil)
	return nil
}

func (a *Agent) recoverTarget(ctx context.Context, opID string, facts *journal.Facts, recs []journal.Record) error {
	spec := &api.Replica{}
	if err := proto.Unmarshal(facts.Instruction, spec); err != nil {
		return fmt.Errorf("replica in the journal: %w", err)
	}
	id := netmap.ReplicaID{Service: facts.Service, Replica: facts.Replica}
	mode := netmap.Mode(facts.Mode)
	l := a.local(id)
	if l == nil {
		l = &local{id: id, spec: spec, quiet: journal.Settled(recs) != journal.Committed}
		// The container's start may still wait for its word, and inspect with it: the journal knows enough.
		l.container.ID, l.holder.PID = facts.Container, facts.HolderPID
		if err := a.seeHolder(ctx, l); err != nil {
			return err
		}
	}
	m := &targetMove{op: opID, mode: mode, facts: facts, image: spec.ImageId, local: l, resumed: true,
		machine: migrate.ResumeTarget(mode, recs), touched: time.Now(), pushed: map[string]bool{}}
	a.setState(l, m.machine.State(), opID)
	a.mu.Lock()
	a.targets[opID] = m
	a.mu.Unlock()
	go a.settleTarget(m, migrate.Input{What: migrate.Restart})
	return nil
}

// seeHolder forgets a holder that the journal knows and that does not run any more: the node was without power, or its
// dockerd died and took all containers along. The number may be another process's by now.
func (a *Agent) seeHolder(ctx context.Context, l *local) error {
	holder, err := a.docker.Container(ctx, l.id.Holder())
	switch {
	case err != nil && !errors.Is(err, engine.ErrNotFound):
		return err
	case err != nil, !holder.Running, holder.PID != l.holder.PID:
		l.holder.PID = 0
	}
	return nil
}

// findContainers fills in what Docker knows of a replica.
func (a *Agent) findContainers(ctx context.Context, l *local) error {
	var err error
	if l.holder, err = a.docker.Container(ctx, l.id.Holder()); err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	if l.container, err = a.docker.Container(ctx, l.id.String()); err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	return nil
}

func modeNumber(m netmap.Mode) api.Mode {
	switch m {
	case netmap.Live:
		return api.Mode_LIVE
	case netmap.Warm:
		return api.Mode_WARM
	}
	return api.Mode_COLD
}
