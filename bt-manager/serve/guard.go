package serve

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"sonic-netservices/api"
)

// everyManager answers these; the others are the leader's.
var everyManager = map[string]bool{
	api.Manager_Managers_FullMethodName:   true,
	api.Manager_Outcome_FullMethodName:    true,
	api.Manager_FetchImage_FullMethodName: true,
}

// leadTime is how long a call waits for this manager to lead, where no other one does: it may just have been started.
const leadTime = 3 * time.Second

// guard refuses what only the leader knows or can do, and tells who that is.
func (s *server) guard() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := s.allow(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := s.allow(stream.Context(), info.FullMethod); err != nil {
				return err
			}
			return next(srv, stream)
		}),
	}
}

func (s *server) allow(ctx context.Context, method string) error {
	if everyManager[method] {
		return nil
	}
	late := time.NewTimer(leadTime)
	defer late.Stop()
	for {
		changed := s.m.Changed()
		if s.leads() {
			return nil
		}
		if leader := s.log.Status().Leader; leader != "" && leader != s.self.Node {
			return s.m.NotLeading()
		}
		select {
		case <-changed:
		case <-time.After(askAgain): // who leads elsewhere changes nothing here
		case <-late.C:
			return s.m.NotLeading()
		case <-ctx.Done():
			return s.m.NotLeading()
		}
	}
}

const askAgain = 50 * time.Millisecond

func (s *server) leads() bool {
	_, _, err := s.m.Lead()
	return err == nil
}
