package orders

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
)

const (
	askEvery   = 250 * time.Millisecond // at first; doubled up to askSlowly
	askSlowly  = 4 * time.Second
	stuckAfter = 30 * time.Second // longer than any step of an agent stays at one journal record
)

// limit of an order's answer. What follows is not a failure but Ask.
func limit(s Step) time.Duration {
	switch s {
	case StepTransfer:
		return 30 * time.Minute // image and volumes over a slow link
	case StepDeploy, StepCutover:
		return 5 * time.Minute // a cutover's own budget is the agent's, and far smaller
	}
	return 2 * time.Minute
}

// begin starts the goroutine of an operation in flight. The caller holds mu.
func (m *Manager) begin(id string) *Feed {
	replica := m.state.Ops[id].Replica.String()
	feed := m.waiting[replica] // somebody waits for the deployment already
	if feed == nil {
		feed = newFeed()
	}
	delete(m.waiting, replica)
	m.feeds[id] = feed
	ctx := m.ctx
	m.work.Go(func() { m.run(ctx, id, feed) })
	return feed
}

// beginAll starts the operations that records begin. The caller holds mu.
func (m *Manager) beginAll(records []Record) {
	for _, r := range records {
		if r.Kind == Begun {
			m.begin(r.Op.ID)
		}
	}
}

// run takes an operation to its end, or until this manager does not lead any more: then the journal says where it stands.
func (m *Manager) run(ctx context.Context, id string, feed *Feed) {
	w := &worker{m: m, id: id, feed: feed}
	for {
		m.mu.Lock()
		action, ok := m.state.Next(id)
		changed := m.changed
		if !ok {
			m.finish(w)
			m.mu.Unlock()
			return
		}
		w.load(m.state)
		m.mu.Unlock()

		if action.Rest {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			continue
		}
		var r Result
		switch {
		case action.Ask:
			r = w.ask(ctx)
		case action.Step == StepReach:
			r = w.reach(ctx)
		default:
			r = w.send(ctx)
		}
		if ctx.Err() != nil {
			return
		}

		trace, lost := traceText(w.move)
		if lost != nil {
			slog.Warn("trace of move is lost", "op", id, "err", lost)
		}
		r.Trace = trace
		err := m.decide(func() ([]Record, error) {
			if _, ok := m.state.Ops[id]; !ok { // given up meanwhile
				return nil, nil
			}
			return m.state.Report(time.Now(), id, r), nil
		}, nil)
		if err != nil { // the next leader goes on with it
			return
		}
	}
}

// finish tells the feed how the operation ended. The caller holds mu.
func (m *Manager) finish(w *worker) {
	delete(m.feeds, w.id)
	past, _ := m.state.Past(w.id)
	last := &api.Event{Op: w.id, Done: true, AtMs: w.elapsed(), Error: past.Error, Outcome: api.Outcome_ABORTED, Move: w.move}
	if past.Outcome == Committed {
		last.Outcome, last.Instance, last.Error = api.Outcome_COMMITTED, w.instance, w.lost
		if last.Instance == nil { // known by Ask only
			last.Instance = w.remembered
			if at, ok := m.state.placement(past.Replica); ok {
				last.Instance = m.state.instance(past.Replica, at, api.State_RUNNING)
			}
		}
	}
	w.feed.end(last, past.End)
}

// worker carries out the actions of one operation.
type worker struct {
	m    *Manager
	id   string
	feed *Feed

	// What load copied from the state for the newest action.
	op         Op
	member     Member
	image      string
	order      *api.Order
	remembered *api.Instance // a removed replica, of which the state knows nothing at the end

	// What the agent told with the good end.
	instance *api.Instance
	move     *api.Move
	lost     string // what did not follow after a commit

	// Ask.
	pause   time.Duration
	step    string
	pending time.Time // since when the agent has been at step
}

func (w *worker) load(s *State) {
	w.op = *s.Ops[w.id]
	w.member = s.Members[w.op.Node]
	w.image = s.Services[w.op.Replica.Service].ImageID
	w.order = s.order(s.Ops[w.id])
	if at, ok := s.placement(w.op.Replica); ok {
		w.remembered = s.instance(w.op.Replica, at, api.State_UNLOADED)
	}
	if !w.op.Lost {
		w.pause, w.step, w.pending = askEvery, "", time.Time{}
	}
}

func (w *worker) elapsed() int64 { return time.Since(w.op.Started).Milliseconds() }

func (w *worker) tell(phase, detail string, bytes int64) {
	w.feed.add(&api.Event{Op: w.id, Phase: phase, Detail: detail, Bytes: bytes, AtMs: w.elapsed()})
}

// reach sees whether the agent answers; for a deploy it brings the image if the node lacks it.
func (w *worker) reach(ctx context.Context) Result {
	if w.op.Problem != "" {
		w.tell("place", w.op.Problem+"; trying "+w.op.Node, 0)
	}
	inventory, err := w.m.agents.inventory(ctx, w.member, reachLimit)
	if err != nil {
		return failed(err, Silent)
	}
	if w.op.Verb != Deploy || slices.ContainsFunc(inventory.Images, func(i *api.Image) bool { return i.Id == w.image }) {
		return Result{Answer: Yes}
	}
	sent, err := w.m.agents.push(ctx, w.member, w.m.images, w.image)
	if err != nil {
		return failed(err, Silent)
	}
	w.tell("image", w.op.Node+" has "+w.image, sent)
	return Result{Answer: Yes}
}

// send gives the agent the order and passes on what it reports.
func (w *worker) send(ctx context.Context) Result {
	agent, err := w.m.agents.agent(w.member)
	if err != nil {
		return failed(err, Broken)
	}
	ctx, cancel := context.WithTimeout(ctx, limit(w.op.Step))
	defer cancel()
	stream, err := agent.Do(ctx, w.order)
	if err != nil {
		return w.unanswered(ctx, err)
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = status.Error(codes.Unavailable, "the agent ended its report without an outcome")
		}
		if err != nil {
			return w.unanswered(ctx, err)
		}
		if event.Done {
			return w.done(event)
		}
		event.AtMs = w.elapsed() // of the whole operation, not of the agent's part in it
		w.feed.add(event)
	}
}

// unanswered: an order ended with an error instead of an outcome. Where the agent failed inside and knows nothing of the
// operation, it did not begin; where it failed before the cutover, there is only something to cancel.
func (w *worker) unanswered(ctx context.Context, err error) Result {
	if status.Code(err) != codes.Internal {
		return failed(err, Broken)
	}
	r := Result{Answer: Refused, Code: codes.Internal, Error: status.Convert(err).Message()}
	if w.op.Step == StepTransfer || w.op.Step == StepPrewarm {
		return r
	}
	if reply, err := w.m.agents.ask(ctx, w.member, w.id); err != nil || reply.Outcome != api.Outcome_UNKNOWN {
		r.Answer = Broken
	}
	return r
}

// done reads the last event. The steps before cutover leave the replica where it is, whatever they call their outcome.
func (w *worker) done(e *api.Event) Result {
	if e.Move != nil {
		w.move = e.Move
	}
	switch {
	case e.Error == "" && w.op.Step == StepCancel:
		return Result{Answer: Yes}
	case w.op.Step == StepCancel: // it may have come too late: the journal of the source knows
		return Result{Answer: Broken, Error: e.Error}
	case e.Outcome == api.Outcome_ABORTED:
		return Result{Answer: No, Error: e.Error}
	case w.op.Step == StepTransfer || w.op.Step == StepPrewarm:
		if e.Error != "" {
			return Result{Answer: Refused, Code: codes.Internal, Error: e.Error}
		}
		return Result{Answer: Yes}
	case e.Outcome != api.Outcome_COMMITTED:
		return Result{Answer: Broken, Error: fmt.Sprintf("%s ended with outcome %s %s", w.op.Step, e.Outcome, e.Error)}
	}
	w.instance, w.lost = e.Instance, e.Error
	r := Result{Answer: Yes}
	if v := e.Move; v != nil {
		r.GapMS, r.ExpectedMS, r.Packets = v.SwitchToReleaseMs, v.ExpectedFreezeMs, v.PacketsHeld
		r.Bytes = v.ImageBytes + v.VolumeBytes + v.DeltaBytes + v.CheckpointBytes
	}
	return r
}

// ask waits a little and asks for the outcome.
func (w *worker) ask(ctx context.Context) Result {
	select {
	case <-time.After(w.pause):
	case <-ctx.Done():
		return Result{Answer: Silent}
	}
	w.pause = min(2*w.pause, askSlowly)
	reply, err := w.m.agents.ask(ctx, w.member, w.id)
	if err != nil {
		w.tell("ask", w.op.Node+" does not answer: "+status.Convert(err).Message(), 0)
		return Result{Answer: Silent, Error: err.Error()}
	}
	w.tell("ask", w.op.Node+": "+reply.Outcome.String()+" "+reply.Step, 0)
	switch reply.Outcome {
	case api.Outcome_COMMITTED:
		w.instance = reply.Instance
		return Result{Answer: Yes}
	case api.Outcome_ABORTED:
		return Result{Answer: No, Error: reply.Error}
	case api.Outcome_UNKNOWN:
		return Result{Answer: Unknown}
	}
	if reply.Step != w.step || w.pending.IsZero() {
		w.step, w.pending = reply.Step, time.Now()
	}
	if time.Since(w.pending) > stuckAfter {
		return Result{Answer: Stuck}
	}
	return Result{Answer: Pending}
}

// failed tells a refusal, which changed nothing, from a call of which nothing is known.
func failed(err error, otherwise Answer) Result {
	s := status.Convert(err)
	switch s.Code() {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.Unauthenticated, codes.Unimplemented, codes.ResourceExhausted, codes.OutOfRange:
		return Result{Answer: Refused, Code: s.Code(), Error: s.Message()}
	}
	return Result{Answer: otherwise, Error: s.Message()}
}
