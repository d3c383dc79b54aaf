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
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/mig-agent/witness"
)

// operation is one order under way or done: it goes on when the call that ordered it ends, and tells a repeated order
// the same again.
type operation struct {
	id    string
	began time.Time

	mu      sync.Mutex
	expects float64 // ms of freeze, until it is over
	events  []*api.Event
	refused error         // nothing was begun, and nothing will come
	grown   chan struct{} // closed and replaced with every event, and with refused
}

func newOperation(id string) *operation {
	return &operation{id: id, began: time.Now(), grown: make(chan struct{})}
}

// emit adds an event; the one with Done set is the last.
func (o *operation) emit(e *api.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e.Op, e.AtMs = o.id, time.Since(o.began).Milliseconds()
	if !e.Done {
		e.ExpectedFreezeMs = o.expects
	}
	o.events = append(o.events, e)
	close(o.grown)
	o.grown = make(chan struct{})
}

// refuse tells those who follow that the order was refused.
func (o *operation) refuse(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused = err
	close(o.grown)
	o.grown = make(chan struct{})
}

// expect makes the events tell what freeze to expect; 0: none any more.
func (o *operation) expect(ms float64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expects = ms
}

// phase tells what begins now.
func (o *operation) phase(name, format string, args ...any) {
	o.emit(&api.Event{Phase: name, Detail: fmt.Sprintf(format, args...)})
}

// follow sends all events, old and new, until the last.
func (o *operation) follow(ctx context.Context, send func(*api.Event) error) error {
	for n := 0; ; {
		o.mu.Lock()
		news, grown, refused := o.events[n:], o.grown, o.refused
		o.mu.Unlock()
		for _, e := range news {
			if err := send(e); err != nil {
				return err
			}
			if e.Done {
				return nil
			}
		}
		n += len(news)
		if refused != nil {
			return refused
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errRefused marks an order that was refused: nothing was begun.
var errRefused = errors.New("refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errRefused, fmt.Sprintf(format, args...))
}

// Do implements api.AgentServer.
func (a *Agent) Do(order *api.Order, stream api.Agent_DoServer) error {
	if err := a.admit(order); err != nil {
		return err
	}
	step, run := a.plan(order)
	if run == nil {
		return status.Error(codes.InvalidArgument, "what: an order needs exactly one of deploy, remove, transfer, prewarm, cutover, cancel")
	}
	if e := a.answered(order.Op, step); e != nil {
		return stream.Send(e)
	}
	key := order.Op + "/" + step
	a.mu.Lock()
	op, repeated := a.ops[key]
	if !repeated {
		op = newOperation(order.Op)
		a.ops[key] = op
	}
	a.mu.Unlock()
	if repeated {
		return op.follow(stream.Context(), stream.Send)
	}
	begun := make(chan error, 1)
	go run(op, begun)
	if err := <-begun; err != nil {
		a.mu.Lock()
		delete(a.ops, key)
		a.mu.Unlock()
		op.refuse(refusal(err)) // a new manager may have repeated the order meanwhile
		return refusal(err)
	}
	return op.follow(stream.Context(), stream.Send)
}

// plan names the order's step and what carries it out. run tells begun once, nil or why the order is refused, before
// it changes anything.
func (a *Agent) plan(order *api.Order) (step string, run func(op *operation, begun chan<- error)) {
	switch what := order.What.(type) {
	case *api.Order_Deploy:
		return "deploy", func(op *operation, begun chan<- error) { a.deploy(op, order.Epoch, what.Deploy.Replica, begun) }
	case *api.Order_Remove:
		return "remove", func(op *operation, begun chan<- error) { a.remove(op, what.Remove, begun) }
	case *api.Order_Transfer:
		return "transfer", func(op *operation, begun chan<- error) { a.transfer(op, order.Epoch, what.Transfer, begun) }
	case *api.Order_Prewarm:
		return "prewarm", func(op *operation, begun chan<- error) { a.prewarm(op, begun) }
	case *api.Order_Cutover:
		return "cutover", func(op *operation, begun chan<- error) { a.cutover(op, what.Cutover, begun) }
	case *api.Order_Cancel:
		return "cancel", func(op *operation, begun chan<- error) { a.cancel(op, begun) }
	}
	return "", nil
}

// answered is the last event of an operation that an earlier life of the agent finished.
func (a *Agent) answered(op, step string) *api.Event {
	role := journal.Local
	switch step {
	case "cutover":
		role = journal.Source
	case "deploy", "remove":
	default:
		return nil
	}
	a.mu.Lock()
	_, known := a.ops[op+"/"+step]
	a.mu.Unlock()
	recs, err := a.journal.Load(op, role)
	if known || err != nil || !journal.Finished(recs) {
		return nil
	}
	for _, r := range recs {
		e := &api.Event{}
		if len(r.Answer) > 0 && proto.Unmarshal(r.Answer, e) == nil {
			return e
		}
	}
	// Finished by recovery, which had nobody to answer.
	e := &api.Event{Op: op, Phase: step, Done: true, Outcome: api.Outcome_ABORTED}
	if journal.Settled(recs) == journal.Committed {
		e.Outcome = api.Outcome_COMMITTED
	}
	for _, r := range recs {
		if r.Error != "" {
			e.Error = r.Error
		}
	}
	return e
}

// Ask implements api.AgentServer.
func (a *Agent) Ask(_ context.Context, ref *api.OpRef) (*api.OutcomeReply, error) {
	reply, err := witness.Read(a.journal, ref.Op)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if reply.Outcome != api.Outcome_UNKNOWN {
		return reply, nil
	}
	// Steps before the cut-over are not in the journal: nothing has changed yet, so nothing needs to be remembered
	// over a restart.
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.sources[ref.Op]; ok {
		return &api.OutcomeReply{Outcome: api.Outcome_PENDING}, nil
	}
	for _, step := range []string{"deploy", "remove"} {
		if _, ok := a.ops[ref.Op+"/"+step]; ok {
			return &api.OutcomeReply{Outcome: api.Outcome_PENDING, Step: step}, nil
		}
	}
	return reply, nil
}

// asWitness answers other nodes as Ask answers the manager. The helper, which has only the journal, cannot tell a move
// before its cut-over from one that never was.
type asWitness struct {
	api.UnimplementedWitnessServer
	agent *Agent
}

// Outcome implements api.WitnessServer.
func (w asWitness) Outcome(ctx context.Context, ref *api.OpRef) (*api.OutcomeReply, error) {
	return w.agent.Ask(ctx, ref)
}

// current refuses an epoch older than the newest seen, and learns none: a peer passes on what its manager said, and only
// a manager may depose another.
func (a *Agent) current(epoch uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if epoch < a.obeys.Epoch {
		return status.Errorf(codes.FailedPrecondition, "epoch: %d is stale, the newest manager has epoch %d", epoch, a.obeys.Epoch)
	}
	return nil
}

// refusal gives an error its gRPC code.
func refusal(err error) error {
	if errors.Is(err, errRefused) {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}
