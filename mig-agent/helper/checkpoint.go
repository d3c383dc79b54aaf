package helper

import (
	"context"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
)

// Dumps and restores; each may be ready before its order.

// ReadyDump implements api.HelperServer.
func (s *Server) ReadyDump(ctx context.Context, in *api.DumpRequest) (*api.ReadyDumpReply, error) {
	descriptors, err := engine.Descriptors(in.Container)
	if err != nil {
		return nil, fail(err)
	}
	d, err := s.dumper(in)
	if err != nil {
		return nil, fail(err)
	}
	s.mu.Lock()
	if before := s.dumpers[in.Op]; before != nil {
		before.Close()
	}
	s.dumpers[in.Op] = d
	s.mu.Unlock()
	if err := ctx.Err(); err != nil { // the agent has died, or has forgotten it meanwhile
		if _, ferr := s.Forget(s.life, &api.OpRef{Op: in.Op}); ferr != nil {
			s.log.Warn("forget a dump that nobody waits for", "op", in.Op, "err", ferr)
		}
		return nil, fail(err)
	}
	return &api.ReadyDumpReply{Descriptors: descriptors}, nil
}

// dumper gives the one that is ready, or a new one.
func (s *Server) dumper(in *api.DumpRequest) (*engine.Dumper, error) {
	s.mu.Lock()
	d := s.dumpers[in.Op]
	delete(s.dumpers, in.Op)
	s.mu.Unlock()
	if d != nil {
		return d, nil
	}
	return s.host.ReadyDump(in.Op, in.Container, engine.DumpHow{Lazy: in.Lazy, Parent: int(in.Parent)})
}

// ReadyRestore implements api.HelperServer.
func (s *Server) ReadyRestore(_ context.Context, in *api.ReadyRestoreRequest) (*api.Empty, error) {
	r, err := s.host.ReadyRestore(in.Op, in.Container, in.Lazy, in.Descriptors)
	if err != nil {
		return nil, fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.restorers[in.Op]; before != nil {
		before.Close()
	}
	s.restorers[in.Op] = r
	return &api.Empty{}, nil
}

// restorer gives the one that is ready, nil where none is.
func (s *Server) restorer(op string) *engine.Restorer {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.restorers[op]
	delete(s.restorers, op)
	return r
}

// dropReady lets go what was not used.
func (s *Server) dropReady(op string) {
	if r := s.restorer(op); r != nil {
		r.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.dumpers[op]; d != nil {
		d.Close()
		delete(s.dumpers, op)
	}
}

// Dump implements api.HelperServer.
func (s *Server) Dump(in *api.DumpRequest, stream api.Helper_DumpServer) error {
	ctx, cancel := context.WithTimeout(stream.Context(), time.Duration(in.BudgetMs)*time.Millisecond)
	defer cancel()
	// An agent that died behind this order may be settled for already, or has taken it back: a freeze now would have nobody to
	// end it.
	defer s.decide(in.Op)()
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	d, err := s.dumper(in)
	if err != nil {
		return fail(err)
	}
	defer d.Close()
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	recs, err := s.journal.Load(in.Op, journal.Source)
	if err != nil {
		return fail(err)
	}
	if step := journal.Settled(recs); step != "" {
		return fail(&journal.SettledError{Op: in.Op, Step: step})
	}
	res, err := d.Dump(ctx, func(after time.Duration) {
		_ = stream.Send(&api.DumpReply{FrozenAfterMs: ms(after)}) // an agent that is gone is settled for
	})
	if err == nil && in.Lazy {
		err = s.pages.Open(in.Op, res.Pages)
	}
	if err != nil {
		return fail(err)
	}
	return stream.Send(&api.DumpReply{FrozenAfterMs: ms(res.Freeze), DumpMs: ms(res.Dump), Bytes: res.Bytes})
}

// Restore implements api.HelperServer.
func (s *Server) Restore(ctx context.Context, in *api.RestoreRequest) (*api.Restored, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(in.BudgetMs)*time.Millisecond)
	defer cancel()
	ready := s.restorer(in.Op)
	if in.PagesFrom != "" {
		return s.restoreLazily(ctx, in, ready)
	}
	res, err := s.host.Restore(ctx, in.Op, in.Container, false, ready)
	if err != nil {
		return nil, fail(err)
	}
	return &api.Restored{Pid: int32(res.PID), TookMs: res.TookMS}, nil
}

// Disarm implements api.HelperServer.
func (s *Server) Disarm(_ context.Context, in *api.DisarmRequest) (*api.Empty, error) {
	s.dropReady(in.Op)
	return &api.Empty{}, fail(engine.Disarm(s.cfg.Dir, in.Container, in.Reason))
}
