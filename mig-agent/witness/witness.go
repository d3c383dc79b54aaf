// Package witness answers how a move ended, and asks.
//
// It reads the journal on disk. The agent serves it beside its other services, its helper serves it on a port of its
// own and so answers for a dead agent. A target that lost the conversation asks the source's agent, then its helper,
// then the managers; a source asks its target the same way whether it serves by now.
package witness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/journal"
)

// Rules say who may ask.
var Rules = map[string][]pki.Role{api.Witness_Outcome_FullMethodName: {pki.Node, pki.Manager}}

// Server answers from a journal.
type Server struct {
	api.UnimplementedWitnessServer
	journal *journal.Journal
}

func NewServer(j *journal.Journal) *Server { return &Server{journal: j} }

// Outcome implements api.WitnessServer.
func (s *Server) Outcome(_ context.Context, ref *api.OpRef) (*api.OutcomeReply, error) {
	reply, err := Read(s.journal, ref.Op)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return reply, nil
}

// Read gives the state of an operation: as the source where this node is the source, else as whatever it is.
func Read(j *journal.Journal, op string) (*api.OutcomeReply, error) {
	for _, role := range []journal.Role{journal.Source, journal.Target, journal.Local} {
		recs, err := j.Load(op, role)
		if err != nil {
			return nil, err
		}
		if len(recs) == 0 {
			continue
		}
		reply := &api.OutcomeReply{Outcome: api.Outcome_PENDING, Step: string(journal.Last(recs))}
		switch journal.Settled(recs) {
		case journal.Committed:
			reply.Outcome = api.Outcome_COMMITTED
		case journal.Aborted:
			reply.Outcome = api.Outcome_ABORTED
		}
		for _, r := range recs {
			if r.Error != "" {
				reply.Error = r.Error
			}
		}
		return reply, nil
	}
	return &api.OutcomeReply{Outcome: api.Outcome_UNKNOWN}, nil
}

// Asker asks other nodes.
type Asker struct {
	Identity *pki.Identity
	Managers func() []managers.At // none = no second path
	Timeout  time.Duration        // of each that is asked
}

// nextAfter is the silence after which the next one is asked as well: held packets wait for the answer.
const nextAfter = 300 * time.Millisecond

type ask func(context.Context) (*api.OutcomeReply, error)

// answer is what one of them said.
type answer struct {
	from  int
	reply *api.OutcomeReply
	err   error
}

// Ask gives the answer of peer's agent, of its helper or of a manager: whoever first says how it ended, else the
// first of them that answers at all. Managers pass on what they hear, whether they lead or not. A way that loses everything is not waited for.
func (a Asker) Ask(ctx context.Context, op, peer, agent, helper string) (*api.OutcomeReply, error) {
	asks := []ask{
		func(ctx context.Context) (*api.OutcomeReply, error) { return a.askNode(ctx, op, peer, agent) },
		func(ctx context.Context) (*api.OutcomeReply, error) { return a.askNode(ctx, op, peer, helper) },
	}
	for _, at := range a.Managers() {
		asks = append(asks, func(ctx context.Context) (*api.OutcomeReply, error) { return a.askManager(ctx, op, at) })
	}
	reply, err := inTurn(ctx, asks)
	if err != nil {
		return nil, fmt.Errorf("outcome of %s: %w", op, err)
	}
	return reply, nil
}

// inTurn asks each when the one before has failed or been silent for a while.
func inTurn(ctx context.Context, asks []ask) (*api.OutcomeReply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(asks))
	asked, told := 0, make([]*answer, len(asks))
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-next.C:
			if asked < len(asks) {
				from := asked
				asked++
				go func() {
					reply, err := asks[from](ctx)
					answers <- answer{from, reply, err}
				}()
				next.Reset(nextAfter)
			}
		case got := <-answers:
			told[got.from] = &got
			if got.err != nil {
				next.Reset(0)
			} else if got.reply.Outcome == api.Outcome_COMMITTED || got.reply.Outcome == api.Outcome_ABORTED {
				return got.reply, nil
			}
		}
		if reply, err, done := first(told); done {
			return reply, err
		}
	}
}

// first is the answer of the first that gave one, once all before it have failed; done without a reply: all have.
func first(told []*answer) (reply *api.OutcomeReply, err error, done bool) {
	var errs []error
	for _, t := range told {
		switch {
		case t == nil:
			return nil, nil, false
		case t.err == nil:
			return t.reply, nil, true
		}
		errs = append(errs, t.err)
	}
	return nil, errors.Join(errs...), true
}

func (a Asker) askNode(ctx context.Context, op, peer, addr string) (*api.OutcomeReply, error) {
	if addr == "" {
		return nil, errors.New(peer + " has no such address")
	}
	reply, err := a.call(ctx, addr, peer, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) (*api.OutcomeReply, error) {
		return api.NewWitnessClient(conn).Outcome(ctx, &api.OpRef{Op: op})
	})
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", peer, addr, err)
	}
	return reply, nil
}

// askManager: it passes on what the source said; its own ignorance decides nothing.
func (a Asker) askManager(ctx context.Context, op string, at managers.At) (*api.OutcomeReply, error) {
	reply, err := a.call(ctx, at.Addr, at.Node, pki.Manager, func(ctx context.Context, conn *grpc.ClientConn) (*api.OutcomeReply, error) {
		return api.NewManagerClient(conn).Outcome(ctx, &api.OpRef{Op: op})
	})
	if err == nil && reply.Outcome == api.Outcome_UNKNOWN {
		err = errors.New("does not know it")
	}
	if err != nil {
		return nil, fmt.Errorf("manager at %s: %w", at.Addr, err)
	}
	return reply, nil
}

func (a Asker) call(ctx context.Context, addr, name string, role pki.Role,
	ask func(context.Context, *grpc.ClientConn) (*api.OutcomeReply, error)) (*api.OutcomeReply, error) {
	conn, err := daemon.Dial(addr, a.Identity.Client(name, role))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	return ask(ctx, conn)
}
