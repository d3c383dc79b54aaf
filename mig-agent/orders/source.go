package orders

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/mig-agent/lane"
	"sonic-netservices/mig-agent/migrate"
	"sonic-netservices/netmap"
)

const (
	drainTime     = 4 * time.Millisecond   // answers under way leave; what has begun is accepted by then (Yield)
	defaultBudget = 20 * time.Second       // from the first step of a cut-over to its commit
	stepTimeout   = 10 * time.Second       // of one step that is not bulk data
	againFirst    = 100 * time.Millisecond // pause before an action is tried again, doubled each time
	againMost     = 2 * time.Second
)

// sourceMove is one move away from this node: the machine, and what its actions need.
type sourceMove struct {
	op      string
	epoch   uint64
	order   *api.MoveOrder
	mode    netmap.Mode
	local   *local
	machine *migrate.Source
	facts   *journal.Facts

	chains []string   // image layers the target has
	pace   lane.Pacer // of its own bandwidth, if it has one

	mu      sync.Mutex // held by the one step that runs
	conn    *grpc.ClientConn
	talk    api.Peer_CutoverClient
	close   context.CancelFunc // ends talk
	sum     hash.Hash          // of the section that is being sent
	trace   *api.Move
	began   time.Time
	tracked bool  // memory goes ahead by rounds of CRIU
	parent  int32 // the newest of them
	dump    *dumping
	lane    *lane.Conn // for the checkpoint; nil: the conversation carries it
	out     *operation

	volumes int64 // bytes in the volumes, when the move began

	instance *api.Instance // the replica as the target reported it, after the commit
}

// transfer begins a move: the target reserves, image and volumes go over. The service goes on.
func (a *Agent) transfer(op *operation, epoch uint64, order *api.MoveOrder, begun chan<- error) {
	m, err := a.newSource(op, epoch, order)
	if err != nil {
		begun <- err
		return
	}
	a.runSource(m, op, migrate.Transfer, begun)
}

// prewarm makes the target ready.
func (a *Agent) prewarm(op *operation, begun chan<- error) { a.nextStep(op, migrate.Prewarm, begun) }

// cancel ends a move before its cut-over.
func (a *Agent) cancel(op *operation, begun chan<- error) { a.nextStep(op, migrate.Cancel, begun) }

// cutover moves the service. Nobody else decides anything until it is committed or taken back.
func (a *Agent) cutover(op *operation, order *api.MoveOrder, begun chan<- error) {
	if m := a.source(op.id); m != nil && order.BudgetMs > 0 {
		m.order.BudgetMs = order.BudgetMs
	}
	a.nextStep(op, migrate.Cutover, begun)
}

func (a *Agent) nextStep(op *operation, what migrate.Happened, begun chan<- error) {
	m := a.source(op.id)
	if m == nil {
		begun <- refused("operation %s is not under way on %s", op.id, a.cfg.Node)
		return
	}
	a.runSource(m, op, what, begun)
}

func (a *Agent) source(op string) *sourceMove {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sources[op]
}

func (a *Agent) newSource(op *operation, epoch uint64, order *api.MoveOrder) (*sourceMove, error) {
	id := netmap.ReplicaID{Service: order.Service, Replica: int(order.Replica)}
	var mode netmap.Mode
	switch order.Mode {
	case api.Mode_LIVE:
		mode = netmap.Live
	case api.Mode_WARM:
		mode = netmap.Warm
	case api.Mode_COLD:
		mode = netmap.Cold
	default:
		return nil, refused("mode: %v is not offered by this version", order.Mode)
	}
	lazy := order.GetOptions().GetLazy()
	if lazy && mode != netmap.Live {
		return nil, refused("lazy: only a live move has memory to send later")
	}
	if order.To == a.cfg.Node {
		return nil, refused("to: %s is on %s already", id, a.cfg.Node)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.locals[id]
	if l == nil || l.state != netmap.Running {
		state := netmap.Unloaded
		if l != nil {
			state = l.state
		}
		return nil, refused("%s is %s on %s; only a running replica moves", id, state, a.cfg.Node)
	}
	if l.rescuing {
		return nil, refused("%s is being given back to Docker on %s, which was away", id, a.cfg.Node)
	}
	if from := a.pagingFrom(l); from != "" {
		return nil, refused("the memory of %s still comes from %s", id, from)
	}
	data := len(l.spec.Volumes) > 0
	machine := migrate.NewSource(mode, data)
	if lazy {
		machine = migrate.NewLazySource(data)
	}
	m := &sourceMove{
		op: op.id, epoch: epoch, order: order, mode: mode, local: l, machine: machine, began: op.began,
		facts: &journal.Facts{
			Kind: "move", Service: id.Service, Replica: id.Replica, Mode: string(mode), Lazy: lazy, Peer: order.To,
			PeerAgent: order.ToAgent, PeerHelper: order.ToHelper, Container: l.container.ID,
			HolderPID: l.holder.PID, Address: bareAddress(l.spec.Address), MoreAddresses: moreAddresses(l.spec),
		},
		trace: &api.Move{Op: op.id, Service: id.Service, Replica: int32(id.Replica), From: a.cfg.Node, To: order.To,
			Mode: order.Mode, Options: order.Options, StartedUnixMs: time.Now().UnixMilli()},
	}
	a.sources[op.id] = m
	return m, nil
}

// runSource steps the machine from one thing that happened until it answers the order. begun hears whether the order
// is taken: a step out of turn and a transfer that the target refuses are not.
func (a *Agent) runSource(m *sourceMove, op *operation, what migrate.Happened, begun chan<- error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = op
	op.expect(m.trace.ExpectedFreezeMs)
	tell := func(err error) {
		if begun != nil {
			begun <- err
			begun = nil
		}
	}
	budget := defaultBudget
	if m.order.BudgetMs > 0 {
		budget = time.Duration(m.order.BudgetMs) * time.Millisecond
	}
	cutting, cancel := context.WithTimeout(a.life, budget)
	defer cancel()
	act := m.machine.Next(migrate.Input{What: what})
	again := againFirst
	switch {
	case act.Act == migrate.Reply && act.Err != "":
		tell(refused("%s", act.Err))
		return
	case what == migrate.Transfer:
		a.setState(m.local, netmap.Migrating, m.op) // still serving
	default:
		tell(nil)
	}
	for act.Act != migrate.Reply {
		ctx := a.life
		if m.machine.Cutting() { // what a failure would undo has the order's time; the rest has all the time it needs
			ctx = cutting
		}
		began := time.Now()
		in := a.guard(ctx, m.op, journal.Source, m.machine.Guarded())
		if in.What == migrate.OK {
			err := a.sourceAction(ctx, m, act)
			in = outcome(err)
			tell(err) // reserve, the first action of a transfer
		}
		m.trace.Phases = append(m.trace.Phases, &api.Phase{Name: act.String(),
			StartMs: milliseconds(began.Sub(m.began)), TookMs: milliseconds(time.Since(began))})
		if in.What == migrate.Failed {
			a.log.Warn("step failed", "op", m.op, "step", act.String(), "err", in.Err)
		}
		next := m.machine.Next(in)
		if next.Act == migrate.Again {
			pause(a.life, again)
			again = min(2*again, againMost)
			if a.life.Err() != nil {
				return // the next life of the agent goes on from the journal
			}
			continue
		}
		act, again = next, againFirst
	}
	tell(nil)
	a.answerSource(m, op, what, act.Err)
}

// guard makes the helper know, before the next action, whether it must settle the operation should we die.
func (a *Agent) guard(ctx context.Context, op string, role journal.Role, on bool) migrate.Input {
	if !on {
		a.helper.unguard(op)
		return migrate.Input{What: migrate.OK}
	}
	return outcome(a.helper.guard(ctx, op, role))
}

// outcome tells the machine how an action went and, for a refused record, what stands in the journal.
func outcome(err error) migrate.Input {
	if err == nil {
		return migrate.Input{What: migrate.OK}
	}
	in := migrate.Input{What: migrate.Failed, Err: err.Error()}
	var gone pagesGone
	if errors.As(err, &gone) {
		in.What = migrate.Gone
	}
	var settled *journal.SettledError
	if errors.As(err, &settled) {
		in.Settled = settled.Step
	}
	return in
}

func (a *Agent) answerSource(m *sourceMove, op *operation, what migrate.Happened, problem string) {
	last := &api.Event{Phase: string(what), Done: true, Outcome: api.Outcome_COMMITTED, Error: problem}
	if problem != "" {
		last.Outcome = api.Outcome_ABORTED
	}
	if lost := m.machine.Lost(); lost != "" { // committed, and yet not as it should be
		last.Error = lost
		m.note("lazy", lost)
	}
	if m.machine.Finished() {
		a.helper.unguard(m.op)
		m.trace.EndedUnixMs = time.Now().UnixMilli()
		a.dumpStatistics(m)
		last.Move = m.trace
		a.mu.Lock()
		delete(a.sources, m.op)
		a.mu.Unlock()
		if problem != "" || what == migrate.Cancel {
			a.setState(m.local, netmap.Running, m.op)
			go a.reviveEnded(m.local)
		}
		m.hangUp()
		if m.lane != nil {
			m.lane.Close()
		}
		if m.conn != nil {
			m.conn.Close()
		}
		if _, err := a.helper.Forget(a.life, &api.OpRef{Op: m.op}); err != nil {
			a.log.Warn("forget operation", "op", m.op, "err", err)
		}
	}
	if what == migrate.Cutover {
		last.Instance = m.instance
		a.recordAnswer(m.op, last)
	}
	op.emit(last)
}

// sourceAction does one action. It returns an error for the machine to judge, never decides by itself.
func (a *Agent) sourceAction(ctx context.Context, m *sourceMove, act migrate.Action) error {
	ctx, cancel := context.WithTimeout(ctx, actionTime(act.Act, m.mode, m.local.spec))
	defer cancel()
	if m.close != nil { // a target that says nothing more is not waited for beyond the step's time
		defer context.AfterFunc(ctx, m.close)()
	}
	t := traffic(m.local)
	switch act.Act {
	case migrate.Reserve:
		m.out.phase("reserve", "%s on %s", m.local.id, m.order.To)
		return a.reserve(ctx, m)
	case migrate.SendImage:
		return a.sendImage(ctx, m)
	case migrate.SendVolumes:
		return a.sendVolumes(ctx, m)
	case migrate.SendRounds:
		return a.sendRounds(ctx, m)
	case migrate.SendLayer:
		return a.sendLayer(ctx, m)
	case migrate.Arm:
		m.out.phase("arm", "container on %s", m.order.To)
		_, err := api.NewPeerClient(m.conn).Arm(ctx, &api.OpRef{Op: m.op})
		return err
	case migrate.SendMemory:
		return a.sendMemory(ctx, m)
	case migrate.SendPages:
		return a.sendPages(ctx, m)
	case migrate.CancelPeer:
		_, err := api.NewPeerClient(m.conn).Cancel(ctx, &api.OpRef{Op: m.op})
		return err
	case migrate.Record:
		return a.recordSource(m, act)
	case migrate.Note:
		return a.journal.Note(journal.Record{Op: m.op, Role: journal.Source, Step: act.Step})
	case migrate.Ready:
		return a.ready(ctx, m)
	case migrate.Yield:
		_, err := a.helper.Yield(ctx, t)
		return err
	case migrate.Switch:
		return a.switchOver(ctx, m)
	case migrate.Drain:
		if m.mode == netmap.Warm {
			_, err := a.helper.Linger(ctx, &api.LingerRequest{Traffic: t, LimitMs: warmDrain.Milliseconds()})
			return err
		}
		return drain(ctx)
	case migrate.Mute:
		_, err := a.helper.Mute(ctx, t)
		return err
	case migrate.Freeze:
		return a.freeze(ctx, m)
	case migrate.Dump:
		return a.awaitDump(ctx, m)
	case migrate.Stop:
		m.out.phase("stop", "SIGTERM to %s", m.local.id)
		grace := stopGrace
		if m.mode == netmap.Warm {
			grace = warmGrace
		}
		return a.docker.Stop(ctx, m.local.container.ID, grace)
	case migrate.SendCheckpoint:
		return a.sendCheckpoint(ctx, m)
	case migrate.SendDelta:
		return a.sendDelta(ctx, m)
	case migrate.Restore:
		return a.restoreThere(m)
	case migrate.Commit:
		return a.commitThere(m)
	case migrate.AwaitRelease:
		return a.awaitRelease(ctx, m)
	case migrate.Linger:
		return a.linger(ctx, m)
	case migrate.AwaitPages:
		return a.awaitPages(ctx, m)
	case migrate.Discard:
		return a.discard(ctx, m)
	case migrate.TakeBack:
		return a.takeBack(ctx, m)
	case migrate.AbortPeer:
		return a.abortThere(ctx, m)
	}
	return fmt.Errorf("unknown action %q", act.Act)
}

// actionTime bounds one action: bulk data, warming up and a graceful stop take what they take, the rest is quick or broken.
func actionTime(act migrate.Act, mode netmap.Mode, r *api.Replica) time.Duration {
	switch act {
	case migrate.SendImage, migrate.SendVolumes, migrate.SendMemory, migrate.SendRounds:
		return time.Hour
	case migrate.Arm, migrate.WarmUp:
		return warmLimit(mode, r)
	case migrate.Stop, migrate.Restore, migrate.SendPages, migrate.SendLayer:
		return stopGrace + stepTimeout
	case migrate.Linger:
		return lingerTime + warmGrace + stepTimeout
	}
	return stepTimeout
}

// dialPeer connects to the target's agent, once.
func (a *Agent) dialPeer(m *sourceMove) error {
	if m.conn != nil {
		return nil
	}
	conn, err := daemon.DialQuick(m.facts.PeerAgent, a.id.Client(m.facts.Peer, pki.Node))
	if err != nil {
		return fmt.Errorf("dial %s: %w", m.facts.Peer, err)
	}
	m.conn = conn
	return nil
}

func (a *Agent) reserve(ctx context.Context, m *sourceMove) error {
	if err := a.dialPeer(m); err != nil {
		return err
	}
	req, err := a.request(ctx, m)
	if err != nil {
		return err
	}
	if m.mode == netmap.Live {
		if err := a.needs(ctx, m); err != nil {
			return err
		}
	}
	reply, err := api.NewPeerClient(m.conn).Reserve(ctx, req)
	if err != nil {
		return err
	}
	m.chains = reply.Chains
	if reply.HasImage {
		m.trace.ImageBytes = -1 // marks: nothing to send
	}
	return nil
}

func (a *Agent) recordSource(m *sourceMove, act migrate.Action) error {
	rec := journal.Record{Op: m.op, Role: journal.Source, Step: act.Step, Error: act.Err}
	if act.Step == journal.Prepared {
		rec.Facts = m.facts
	}
	return a.journal.Append(rec)
}

// awaitRelease asks the target until it says that it serves. It knows by asking us, or will.
func (a *Agent) awaitRelease(ctx context.Context, m *sourceMove) error {
	reply, err := a.asker.Ask(ctx, m.op, m.facts.Peer, m.facts.PeerAgent, m.facts.PeerHelper)
	if err != nil {
		return err
	}
	if step := journal.Step(reply.Step); step == journal.Released || step == journal.Done {
		return nil
	}
	return fmt.Errorf("%s is at %q", m.facts.Peer, reply.Step)
}

// discard removes what is left here of a replica that another node serves.
func (a *Agent) discard(ctx context.Context, m *sourceMove) error {
	if _, err := a.helper.Kill(ctx, &api.ContainerRef{Id: m.local.container.ID}); err != nil {
		return err
	}
	return a.dropReplica(ctx, m.local, m.op)
}

// takeBack makes this node serve again as before. A copy that died with its holder is started anew, from its volumes,
// when the recovery is done.
func (a *Agent) takeBack(ctx context.Context, m *sourceMove) error {
	if m.local.holder.PID == 0 {
		return nil
	}
	t := traffic(m.local)
	if m.mode == netmap.Live {
		m.stopSending()
		_, err := a.helper.TakeBack(ctx, &api.TakeBackRequest{Op: m.op, Container: m.local.container.ID, Traffic: t})
		return err
	}
	if err := a.docker.Start(ctx, m.local.container.ID); err != nil {
		return err
	}
	_, err := a.helper.Announce(ctx, t)
	return err
}

// recordAnswer keeps the last event for a repeated order.
func (a *Agent) recordAnswer(op string, e *api.Event) {
	e.Op = op
	answer, err := proto.Marshal(e)
	if err == nil {
		err = a.journal.Append(journal.Record{Op: op, Role: journal.Source, Step: journal.Done, Answer: answer})
	}
	if err != nil {
		a.log.Warn("journal answer", "op", op, "err", err)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// remaining is what a context leaves, in ms.
func remaining(ctx context.Context) int64 {
	if t, ok := ctx.Deadline(); ok {
		return time.Until(t).Milliseconds()
	}
	return stepTimeout.Milliseconds()
}
