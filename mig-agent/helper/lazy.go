package helper

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/pages"
)

// Feature implements api.HelperServer.
func (s *Server) Feature(_ context.Context, in *api.FeatureRequest) (*api.Empty, error) {
	err := s.feature(in.Name)
	if errors.Is(err, engine.ErrUnsupported) {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &api.Empty{}, fail(err)
}

// feature asks once: neither the kernel nor CRIU changes while the helper lives.
func (s *Server) feature(name string) error {
	s.mu.Lock()
	err, known := s.features[name]
	s.mu.Unlock()
	if known {
		return err
	}
	err = engine.Feature(name)
	if err == nil || errors.Is(err, engine.ErrUnsupported) {
		s.mu.Lock()
		s.features[name] = err
		s.mu.Unlock()
	}
	return err
}

// restoreLazily restores processes whose memory follows. It returns when what becomes of them is seen to, whoever of us
// dies then.
func (s *Server) restoreLazily(ctx context.Context, in *api.RestoreRequest, ready *engine.Restorer) (*api.Restored, error) {
	keeper, err := pages.Start(ctx, s.host, pages.Order{
		Op: in.Op, Container: in.Container, From: in.PagesFrom, Node: in.PagesNode, PKI: s.cfg.PKI})
	if err != nil {
		if ready != nil {
			ready.Close()
		}
		return nil, fail(err)
	}
	defer keeper.Close()
	res, err := s.host.Restore(ctx, in.Op, in.Container, true, ready)
	if err == nil {
		err = keeper.Hold(ctx)
	}
	if err != nil {
		return nil, fail(err)
	}
	return &api.Restored{Pid: int32(res.PID), TookMs: res.TookMS}, nil
}
