// Package witness answers how a move ended, and asks.
//
// It reads the journal on disk. The agent serves it beside its other services, its helper serves it on a port of its
// own and so answers for a dead agent. A target that lost the conversation asks the source's agent, then its helper,
// then the manager; a source asks its target the same way whether it serves by now.
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
	Identity    *pki.Identity
	Manager     string        // host:port, "" = no second path
	ManagerName string        // node of its certificate
	Timeout     time.Duration // for each of the three
}

// Ask gives the first answer of peer's agent, its helper and the manager.
func (a Asker) Ask(ctx context.Context, op, peer, agent, helper string) (*api.OutcomeReply, error) {
	var errs []error
	for _, addr := range []string{agent, helper} {
		if addr == "" {
			continue
		}
		reply, err := a.call(ctx, addr, peer, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) (*api.OutcomeReply, error) {
			return api.NewWitnessClient(conn).Outcome(ctx, &api.OpRef{Op: op})
		})
		if err == nil {
			return reply, nil
		}
		errs = append(errs, fmt.Errorf("%s at %s: %w", peer, addr, err))
	}
	if a.Manager != "" {
		reply, err := a.call(ctx, a.Manager, a.ManagerName, pki.Manager, func(ctx context.Context, conn *grpc.ClientConn) (*api.OutcomeReply, error) {
			return api.NewManagerClient(conn).Outcome(ctx, &api.OpRef{Op: op})
		})
		// The manager passes on what the source said; its own ignorance decides nothing.
		switch {
		case err == nil && reply.Outcome != api.Outcome_UNKNOWN:
			return reply, nil
		case err == nil:
			err = errors.New("does not know it")
		}
		errs = append(errs, fmt.Errorf("manager at %s: %w", a.Manager, err))
	}
	return nil, fmt.Errorf("outcome of %s: %w", op, errors.Join(errs...))
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
