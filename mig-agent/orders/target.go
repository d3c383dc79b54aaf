package orders

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/mig-agent/lane"
	"sonic-netservices/mig-agent/memory"
	"sonic-netservices/mig-agent/migrate"
	"sonic-netservices/netmap"
)

// A reservation lives without a sign of its source for quietTime; then the source is asked whether it still means it.
// When nobody can be asked, the reservation lives on for reservationTime.
const (
	quietTime       = 2 * time.Second
	reservationTime = 2 * time.Minute
)

// targetMove is one move to this node.
type targetMove struct {
	op    string
	mode  netmap.Mode
	facts *journal.Facts
	image string // ID the replica needs

	resumed bool // from the journal

	mu        sync.Mutex // held by the one request that runs
	machine   *migrate.Target
	local     *local
	touched   time.Time
	announced time.Time          // the address is here since
	pushed    map[string]bool    // sections that are complete
	startup   chan error         // end of the armed docker start
	lost      bool               // docker does not know the restored container
	pools     *memory.Pools      // sent ahead of the freeze
	lane      *lane.Conn         // for the checkpoint; under the agent's mu
	taking    *taking            // it comes by the lane
	rounds    int                // of tracked pre-copy that are here
	held      int64              // packets
	heldMS    float64            // for so long
	criu      map[string]float64 // statistics of the restore
	took      api.Restored
}

// Reserve implements api.PeerServer.
func (a *Agent) Reserve(ctx context.Context, req *api.ReserveRequest) (*api.ReserveReply, error) {
	if err := checkReplica(req.Replica); err != nil {
		return nil, err
	}
	caller, _, _ := pki.Caller(ctx)
	if caller != req.From {
		return nil, status.Errorf(codes.PermissionDenied, "from: %s asks in the name of %s", caller, req.From)
	}
	if err := a.current(req.Epoch); err != nil {
		return nil, err
	}
	if err := a.fits(ctx, req); err != nil {
		return nil, err
	}
	mode := modeOf(req.Mode)
	lazy := mode == netmap.Live && req.GetOptions().GetLazy()
	machine := migrate.NewTarget(mode)
	if lazy {
		machine = migrate.NewLazyTarget()
		if err := a.canPage(ctx); err != nil {
			return nil, err
		}
	}
	id := netmap.ReplicaID{Service: req.Replica.Service, Replica: int(req.Replica.Replica)}
	req.Replica.Op, req.Replica.Epoch = req.Op, req.Epoch
	spec, err := proto.Marshal(req.Replica)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	l := &local{id: id, spec: req.Replica, quiet: true}
	if err := a.claim(l, req.Op, netmap.Migrating); err != nil {
		return nil, refusal(err)
	}
	m := &targetMove{
		op: req.Op, mode: mode, machine: machine, local: l, touched: time.Now(),
		image: req.Replica.ImageId, pushed: map[string]bool{},
		facts: &journal.Facts{Kind: "move", Service: id.Service, Replica: id.Replica, Mode: string(mode), Lazy: lazy, Peer: req.From,
			PeerAgent: req.FromAgent, PeerHelper: req.FromHelper, Address: bareAddress(req.Replica.Address),
			MoreAddresses: moreAddresses(req.Replica), Instruction: spec},
	}
	a.mu.Lock()
	a.targets[req.Op] = m
	a.mu.Unlock()
	if err := a.targetDoes(m, migrate.Input{What: migrate.Reserved}); err != nil {
		return nil, err
	}
	go a.expire(m)
	if _, err = a.docker.Image(ctx, req.Replica.ImageId); err == nil {
		return &api.ReserveReply{HasImage: true}, nil
	}
	chains, err := a.docker.Chains(ctx)
	if err != nil { // then everything is sent
		a.log.Warn("layers of this node", "op", m.op, "err", err)
	}
	return &api.ReserveReply{Chains: chains}, nil
}

func platform(p *api.Platform) engine.Platform {
	return engine.Platform{CRIU: p.Criu, Runc: p.Runc, Kernel: p.Kernel, CPU: p.Cpu, Propagation: p.Propagation}
}

// target finds a move for a request of its source; nobody else may speak in it.
func (a *Agent) target(ctx context.Context, op string) (*targetMove, error) {
	a.mu.Lock()
	m := a.targets[op]
	a.mu.Unlock()
	if m == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "op: %s has no reservation on %s", op, a.cfg.Node)
	}
	if caller, _, _ := pki.Caller(ctx); caller != m.facts.Peer {
		return nil, status.Errorf(codes.PermissionDenied, "op: %s belongs to %s", op, m.facts.Peer)
	}
	if m.resumed { // it is asking its source, who must not wait for it meanwhile
		return nil, status.Errorf(codes.FailedPrecondition, "op: the agent of %s was restarted, the reservation is void", a.cfg.Node)
	}
	return m, nil
}

// Arm implements api.PeerServer.
func (a *Agent) Arm(ctx context.Context, ref *api.OpRef) (*api.Empty, error) {
	m, err := a.target(ctx, ref.Op)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.local.spec.Volumes {
		if !m.pushed["volume/"+v.Name] {
			return nil, status.Errorf(codes.FailedPrecondition, "volume %s was not sent", v.Name)
		}
	}
	return &api.Empty{}, a.targetDoes(m, migrate.Input{What: migrate.Armed})
}

// Ready implements api.PeerServer.
func (a *Agent) Ready(ctx context.Context, req *api.ReadyRequest) (*api.Empty, error) {
	m, err := a.target(ctx, req.Op)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touched = time.Now()
	if s := m.machine.State(); m.mode != netmap.Live || s != netmap.Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "op: %s, a %s move, is %s here", req.Op, m.mode, s)
	}
	return a.helper.ReadyRestore(ctx, &api.ReadyRestoreRequest{
		Op: m.op, Container: m.local.container.ID, Lazy: m.facts.Lazy, Descriptors: req.Descriptors})
}

// Cancel implements api.PeerServer.
func (a *Agent) Cancel(ctx context.Context, ref *api.OpRef) (*api.Empty, error) {
	m, err := a.target(ctx, ref.Op)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.machine.State(); s != netmap.Migrating && s != netmap.Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "op: %s is %s here", ref.Op, s)
	}
	return &api.Empty{}, a.targetDoes(m, migrate.Input{What: migrate.Aborted, Err: "cancelled by the source"})
}

// Cutover implements api.PeerServer: the conversation inside the freeze.
func (a *Agent) Cutover(stream api.Peer_CutoverServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	sw := first.GetSwitch()
	if sw == nil {
		return status.Error(codes.InvalidArgument, "says: a cut-over begins with switch")
	}
	m, err := a.target(stream.Context(), sw.Op)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	err = a.converse(m, first, stream)
	m.giveUpLane()
	if err != nil {
		a.log.Warn("conversation with the source broke", "op", m.op, "peer", m.facts.Peer, "err", err)
	}
	switch {
	case m.machine.Paging():
		go a.settleTarget(m, migrate.Input{What: migrate.Pages})
	case !m.machine.Finished(): // never decide alone: ask
		go a.settleTarget(m, migrate.Input{What: migrate.Lost})
	}
	return nil
}

// converse handles one word after the other until the move is decided or the conversation breaks.
func (a *Agent) converse(m *targetMove, says *api.SourceSays, stream api.Peer_CutoverServer) error {
	var sending sync.Mutex // a lane that fails says so at once
	send := func(answer *api.TargetSays) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(answer)
	}
	for {
		var answer *api.TargetSays
		var err error
		switch word := says.Says.(type) {
		case *api.SourceSays_Switch:
			err = a.targetDoes(m, migrate.Input{What: migrate.Switched})
			answer = &api.TargetSays{Says: &api.TargetSays_Switched{Switched: &api.Empty{}}}
		case *api.SourceSays_Part:
			err = a.cutoverSection(m, word.Part, stream, send)
		case *api.SourceSays_Restore:
			if err = m.joinLane(stream.Context()); err == nil {
				err = a.targetDoes(m, migrate.Input{What: migrate.Restoring})
			}
			answer = &api.TargetSays{Says: &api.TargetSays_Restored{Restored: &m.took}}
		case *api.SourceSays_Commit:
			if err = a.targetDoes(m, migrate.Input{What: migrate.Committed}); err != nil {
				return err
			}
			return send(&api.TargetSays{Says: &api.TargetSays_Released{
				Released: &api.Released{PacketsHeld: m.held, HeldMs: m.heldMS, Instance: a.instance(m.local), Criu: m.criu}}})
		case *api.SourceSays_Abort:
			m.giveUpLane()
			return a.targetDoes(m, migrate.Input{What: migrate.Aborted, Err: word.Abort})
		default:
			return status.Errorf(codes.InvalidArgument, "says: unknown word %T", says.Says)
		}
		if err != nil {
			answer = &api.TargetSays{Says: &api.TargetSays_Failed{Failed: err.Error()}}
		}
		if answer != nil {
			if err := send(answer); err != nil {
				return err
			}
		}
		if says, err = stream.Recv(); err != nil {
			return err
		}
	}
}

// targetDoes steps the machine from one thing that happened until it answers. m.mu is held.
func (a *Agent) targetDoes(m *targetMove, in migrate.Input) error {
	m.touched = time.Now()
	act := m.machine.Next(in)
	for again := againFirst; act.Act != migrate.Reply; {
		ctx, cancel := context.WithTimeout(a.life, actionTime(act.Act, m.mode, m.local.spec))
		in := a.guard(ctx, m.op, journal.Target, m.machine.Guarded())
		if in.What == migrate.OK {
			in = a.targetAction(ctx, m, act)
		}
		cancel()
		next := m.machine.Next(in)
		if next.Act == migrate.Again {
			a.log.Info("not yet", "op", m.op, "step", act.String(), "err", next.Err)
			pause(a.life, again)
			again = min(2*again, againMost)
			if a.life.Err() != nil {
				return a.life.Err()
			}
			continue
		}
		act, again = next, againFirst
	}
	a.afterTargetStep(m)
	if act.Err != "" {
		return status.Error(codes.FailedPrecondition, act.Err)
	}
	return nil
}

// afterTargetStep shows the machine's state to the world.
func (a *Agent) afterTargetStep(m *targetMove) {
	state := m.machine.State()
	if m.machine.Finished() {
		a.helper.unguard(m.op)
		a.mu.Lock()
		delete(a.targets, m.op)
		a.mu.Unlock()
		if c := a.ownLane(m); c != nil {
			c.Close()
		}
		if m.pools != nil {
			if err := m.pools.Close(); err != nil {
				a.log.Warn("forget memory", "op", m.op, "err", err)
			}
		}
		if _, err := a.helper.Forget(a.life, &api.OpRef{Op: m.op}); err != nil {
			a.log.Warn("forget operation", "op", m.op, "err", err)
		}
		return // adopt or remove has set the state
	}
	a.mu.Lock()
	changed := m.local.state != state
	a.mu.Unlock()
	if changed && state != netmap.Unloaded {
		a.setState(m.local, state, m.op)
	}
}

// targetAction does one action and tells the machine how it went.
func (a *Agent) targetAction(ctx context.Context, m *targetMove, act migrate.Action) migrate.Input {
	t := traffic(m.local)
	var err error
	switch act.Act {
	case migrate.Record:
		err = a.recordTarget(m, act)
	case migrate.CreateContainer:
		err = a.createReplica(ctx, m.local)
		m.facts.Container, m.facts.HolderPID = m.local.container.ID, m.local.holder.PID
	case migrate.Hold:
		_, err = a.helper.Hold(ctx, t)
	case migrate.ArmStart:
		m.startup, err = a.armStart(m.local.container.ID)
	case migrate.WarmUp:
		err = a.warmUp(ctx, m)
	case migrate.Forward:
		err = a.forward(ctx, m)
	case migrate.Announce:
		err = a.change(m.local, false, func() error {
			m.announced = time.Now()
			_, err := a.helper.Announce(ctx, t)
			return err
		})
	case migrate.RestoreHere:
		err = a.restoreHere(ctx, m)
	case migrate.StartHere:
		began := time.Now()
		if m.mode == netmap.Warm {
			err = a.startWarm(ctx, m)
		} else if err = a.docker.Start(ctx, m.local.container.ID); err == nil {
			err = a.awaitHealthy(ctx, m.local, startTimeout)
		}
		m.took.TookMs = milliseconds(time.Since(began))
	case migrate.Release:
		var reply *api.ReleaseReply
		if m.local.holder.PID == 0 { // it died after the commit, and its packets with it
			break
		}
		if reply, err = a.helper.Release(ctx, t); err == nil {
			m.held, m.heldMS = reply.Packets, milliseconds(time.Since(m.announced))
		}
	case migrate.Adopt:
		m.criu = a.restoreStatistics(m)
		lost := a.awaitStartup(ctx, m)
		a.mu.Lock()
		m.local.rescuing = lost
		a.mu.Unlock()
		err = writeReplicaFile(a.cfg.Dir, m.local.id, m.local.spec)
		if err == nil {
			m.local.quiet = false
			a.grantLease(m.local)
			a.setState(m.local, netmap.Running, m.op)
			if err := a.applySegment(ctx); err != nil { // it publishes the ports; the service goes on without
				a.log.Warn("adopted", "op", m.op, "err", err)
			}
			err = a.shareLeases(ctx)
		}
		switch {
		case err != nil: // it is tried again
		case lost && m.facts.Lazy: // an image now would have nothing where memory is still to come
			go a.startAnew(m.local)
		case lost:
			go a.rescue(m.local, m.op)
		default:
			go a.reviveEnded(m.local)
		}
		if m.mode == netmap.Warm {
			go a.endForward(m)
		}
	case migrate.AwaitPages:
		err = a.awaitPagesHere(ctx, m)
	case migrate.DropHeld:
		if m.local.holder.PID != 0 {
			_, err = a.helper.Drop(ctx, t)
		}
	case migrate.Remove:
		err = a.removeTarget(ctx, m)
	case migrate.Ask:
		return a.askSource(ctx, m)
	default:
		err = fmt.Errorf("unknown action %q", act.Act)
	}
	return outcome(err)
}

func (a *Agent) recordTarget(m *targetMove, act migrate.Action) error {
	rec := journal.Record{Op: m.op, Role: journal.Target, Step: act.Step, Error: act.Err}
	if act.Step == journal.Reserved || act.Step == journal.Prepared {
		rec.Facts = m.facts
	}
	return a.journal.Append(rec)
}

// armStart calls docker start, which waits in our runtime for the checkpoint; its overhead is paid before the freeze.
// It goes on when this process dies.
func (a *Agent) armStart(container string) (startup chan error, err error) {
	if err := engine.Arm(a.cfg.Dir, container); err != nil {
		return nil, err
	}
	startup = make(chan error, 1)
	go func() { startup <- a.docker.Start(a.life, container) }()
	select {
	case err := <-startup:
		if err == nil {
			err = errors.New("docker started the container instead of waiting: is the runtime entry in place?")
		}
		return nil, err
	case <-time.After(armSettle):
		return startup, nil
	}
}

// awaitStartup waits until Docker, too, knows that the container runs. If it thinks otherwise, or died before it wrote
// that down, the container is lost to it (rescue).
func (a *Agent) awaitStartup(ctx context.Context, m *targetMove) (lost bool) {
	engine.Disarmed(a.cfg.Dir, m.local.container.ID)
	if m.startup == nil { // cold, or armed by an earlier life of the agent, or seen before
		return m.lost
	}
	select {
	case err := <-m.startup:
		m.startup = nil // adopt may come again
		if err != nil {
			a.log.Error("docker lost the restored container", "op", m.op, "err", err)
			m.lost = true
		}
	case <-ctx.Done():
		a.log.Error("docker start has not returned", "op", m.op)
	}
	return m.lost
}

// armSettle is the time in which an arming that fails, fails: Docker's own start overhead is 200-350 ms.
const armSettle = 500 * time.Millisecond

// restoreHere gives the armed start its word and checks the service over its own loopback.
func (a *Agent) restoreHere(ctx context.Context, m *targetMove) error {
	req := &api.RestoreRequest{Op: m.op, Container: m.local.container.ID, BudgetMs: remaining(ctx)}
	if m.facts.Lazy {
		req.PagesFrom, req.PagesNode = m.facts.PeerHelper, m.facts.Peer
	}
	restoring, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // one that is dead already hands no word on to our runtime
		if err := a.docker.Alive(restoring); err != nil {
			cancel(err)
		}
	}()
	r, err := a.helper.Restore(restoring, req)
	if err != nil {
		return errors.Join(err, context.Cause(restoring))
	}
	m.took.Pid, m.took.TookMs = r.Pid, r.TookMs
	if p := m.local.spec.Probe; p != nil && len(p.Exec) == 0 {
		if err := a.awaitProbe(ctx, m.local); err != nil {
			return err
		}
	}
	// A dockerd that has died meanwhile ends the restored processes when it comes back: the source still has a copy.
	return a.docker.Alive(ctx)
}

// awaitProbe probes a restored replica. Unlike awaitHealthy it does not inspect the container: that blocks until
// docker start has returned.
func (a *Agent) awaitProbe(ctx context.Context, l *local) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		err := a.probe(ctx, l)
		if err == nil {
			return nil
		}
		pause(ctx, 5*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("restored service does not pass its probe: %w", err)
		}
	}
}

// removeTarget takes a move that did not happen off this node.
func (a *Agent) removeTarget(ctx context.Context, m *targetMove) error {
	if m.local.container.ID != "" {
		if _, err := a.helper.Disarm(ctx, &api.DisarmRequest{Op: m.op, Container: m.local.container.ID, Reason: "the move was taken back"}); err != nil {
			return err
		}
		if _, err := a.helper.Kill(ctx, &api.ContainerRef{Id: m.local.container.ID}); err != nil {
			return err
		}
	}
	if err := a.dropReplica(ctx, m.local, m.op); err != nil || m.local.container.ID == "" {
		return err
	}
	return engine.Unarm(a.cfg.Dir, m.local.container.ID) // a restore that failed leaves its word
}

// askSource turns the answer of whoever knows into what the machine understands.
func (a *Agent) askSource(ctx context.Context, m *targetMove) migrate.Input {
	reply, err := a.asker.Ask(ctx, m.op, m.facts.Peer, m.facts.PeerAgent, m.facts.PeerHelper)
	switch {
	case err != nil:
		return outcome(err)
	case reply.Outcome == api.Outcome_COMMITTED:
		return migrate.Input{What: migrate.Committed}
	case reply.Outcome == api.Outcome_ABORTED:
		return migrate.Input{What: migrate.Aborted, Err: "aborted by the source: " + reply.Error}
	case reply.Outcome == api.Outcome_UNKNOWN: // it never came to a cut-over
		return migrate.Input{What: migrate.Aborted, Err: "unknown to the source"}
	}
	return migrate.Input{What: migrate.Failed, Err: "the source has not decided yet"}
}

// settleTarget brings a move to its end without its source's voice.
func (a *Agent) settleTarget(m *targetMove, in migrate.Input) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.machine.Finished() {
		return
	}
	err := a.targetDoes(m, in)
	if err == nil && m.machine.Paging() && in.What != migrate.Lost {
		err = a.targetDoes(m, migrate.Input{What: migrate.Pages})
	}
	if err != nil {
		a.log.Info("move to this node ended", "op", m.op, "err", err)
	}
}

// expire ends a reservation whose source has given it up before the cut-over. A source keeps such a move in memory
// alone, so one that was restarted does not know it any more, and the helper of one that is dead does not either.
func (a *Agent) expire(m *targetMove) {
	for a.life.Err() == nil {
		pause(a.life, quietTime/4)
		m.mu.Lock()
		over, silent := m.machine.Finished(), time.Since(m.touched)
		m.mu.Unlock()
		if over {
			return
		}
		if silent < quietTime {
			continue
		}
		reply, err := a.asker.Ask(a.life, m.op, m.facts.Peer, m.facts.PeerAgent, m.facts.PeerHelper)
		switch {
		case err != nil && silent > reservationTime:
			a.settleTarget(m, migrate.Input{What: migrate.Lost})
			return
		case err == nil && reply.Outcome == api.Outcome_UNKNOWN:
			a.settleTarget(m, migrate.Input{What: migrate.Aborted, Err: "the source does not know the move any more"})
			return
		case err == nil && reply.Outcome == api.Outcome_ABORTED: // its cut-over began, and never got here
			a.settleTarget(m, migrate.Input{What: migrate.Aborted, Err: "aborted by the source: " + reply.Error})
			return
		}
	}
}
