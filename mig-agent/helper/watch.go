package helper

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
)

// askAgain is the pause between two questions for an outcome.
const askAgain = 100 * time.Millisecond

// Watch implements api.HelperServer: the agent's life line. When it falls silent or the stream breaks, the operations
// of its newest beat are settled here, each by what the journal says:
//
//	source, live:  not committed -> aborted is written, the service goes on here
//	               committed     -> nothing: a committed source never thaws; the agent cleans up when it is back
//	target, live:  asks how it ended -> released or dropped
//
// Cold moves hold no packets and freeze nothing; they wait for the agent.
func (s *Server) Watch(stream api.Helper_WatchServer) error {
	beats := make(chan *api.Beat)
	broken := make(chan error, 1)
	go func() {
		for {
			beat, err := stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			select {
			case beats <- beat:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	var guarded []*api.Guarded
	defer func() { go s.forgetReady(guarded) }()
	silence := time.NewTimer(s.cfg.Silence)
	defer silence.Stop()
	for {
		select {
		case beat := <-beats:
			guarded = beat.Guarded
			silence.Reset(s.cfg.Silence)
			if err := stream.Send(&api.Empty{}); err != nil {
				s.settle(guarded, "its connection broke")
				return err
			}
		case err := <-broken:
			if errors.Is(err, io.EOF) && len(guarded) == 0 { // an agent that stops in order
				return nil
			}
			s.settle(guarded, "its connection broke")
			return nil
		case <-silence.C:
			s.settle(guarded, "it fell silent")
			guarded = nil // an agent that comes back begins anew
		}
	}
}

// forgetReady lets dumps go that wait for an agent that is gone, in operations that never came to their cut-over: nobody
// else knows of them.
func (s *Server) forgetReady(guarded []*api.Guarded) {
	s.mu.Lock()
	var ops []string
	for op := range s.dumpers {
		if !slices.ContainsFunc(guarded, func(g *api.Guarded) bool { return g.Op == op }) {
			ops = append(ops, op)
		}
	}
	s.mu.Unlock()
	for _, op := range ops {
		if _, err := s.Forget(s.life, &api.OpRef{Op: op}); err != nil {
			s.log.Warn("forget a dump that nobody waits for", "op", op, "err", err)
		}
	}
}

// settle ends guarded operations without the agent.
func (s *Server) settle(guarded []*api.Guarded, why string) {
	for _, g := range guarded {
		s.log.Warn("agent is away in a guarded operation", "op", g.Op, "role", g.Role, "why", why)
		switch journal.Role(g.Role) {
		case journal.Source:
			if err := s.settleSource(g.Op, why); err != nil {
				s.log.Error("settle source", "op", g.Op, "err", err)
			}
		case journal.Target:
			go s.settleTarget(g.Op)
		}
	}
}

func (s *Server) settleSource(op, why string) error {
	defer s.decide(op)()
	recs, err := s.journal.Load(op, journal.Source)
	if err != nil {
		return err
	}
	facts := journal.FactsOf(recs)
	if facts == nil || journal.Finished(recs) {
		return nil
	}
	err = s.journal.Append(journal.Record{Op: op, Role: journal.Source, Step: journal.Aborted,
		Error: "the agent was lost before the commit: " + why})
	var settled *journal.SettledError
	if errors.As(err, &settled) { // committed: never thaw
		s.log.Info("the operation is committed; the target serves", "op", op)
		return nil
	}
	if err != nil {
		return err
	}
	s.log.Info("aborted for the agent", "op", op)
	return s.takeBack(op, facts.Container, traffic(facts))
}

// settleTarget asks until it knows. It ends when the agent has finished the operation itself in the meantime.
func (s *Server) settleTarget(op string) {
	for {
		done, err := s.settleTargetOnce(op)
		if done {
			return
		}
		if err != nil {
			s.log.Warn("outcome not known yet", "op", op, "err", err)
		}
		time.Sleep(askAgain)
	}
}

func (s *Server) settleTargetOnce(op string) (done bool, err error) {
	recs, err := s.journal.Load(op, journal.Target)
	if err != nil {
		return false, err
	}
	facts := journal.FactsOf(recs)
	if facts == nil || journal.Finished(recs) || journal.Last(recs) == journal.Released {
		return true, nil
	}
	outcome := api.Outcome_PENDING
	switch journal.Settled(recs) {
	case journal.Committed:
		outcome = api.Outcome_COMMITTED
	case journal.Aborted:
		outcome = api.Outcome_ABORTED
	default:
		reply, err := s.asker.Ask(context.Background(), op, facts.Peer, facts.PeerAgent, facts.PeerHelper)
		if err != nil {
			return false, err
		}
		outcome = reply.Outcome
	}
	ns := netns(int32(facts.HolderPID))
	switch outcome {
	case api.Outcome_COMMITTED:
		if err := s.record(op, journal.Committed); err != nil {
			return false, err
		}
		if _, err := s.release(ns); err != nil {
			return false, err
		}
		s.log.Info("released for the agent", "op", op)
		return true, s.record(op, journal.Released)
	case api.Outcome_ABORTED, api.Outcome_UNKNOWN: // unknown to its source: it never came to a cut-over
		if err := s.record(op, journal.Aborted); err != nil {
			return false, err
		}
		if err := s.drop(ns); err != nil {
			return false, err
		}
		// The copy must not run on beside the source, muted or not. The agent removes the containers when it is back.
		s.dropReady(op)
		if err := engine.Disarm(s.cfg.Dir, facts.Container, "the move was aborted"); err != nil {
			return false, err
		}
		return true, s.host.Kill(context.Background(), facts.Container)
	}
	return false, nil // pending: the source is still at it
}

func (s *Server) record(op string, step journal.Step) error {
	err := s.journal.Append(journal.Record{Op: op, Role: journal.Target, Step: step})
	var settled *journal.SettledError
	if errors.As(err, &settled) && settled.Step == step {
		return nil
	}
	return err
}

func traffic(f *journal.Facts) *api.Traffic {
	return &api.Traffic{Pid: int32(f.HolderPID), Address: f.Address, MoreAddresses: f.MoreAddresses}
}
