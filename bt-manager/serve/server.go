package serve

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/images"
	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// server translates between messages and orders.Manager.
type server struct {
	api.UnimplementedManagerServer
	m      *orders.Manager
	log    journal.Log
	images *images.Store
	self   journal.Member
	peers  *managers.Conn
	gauges *gauges

	viewing sync.Mutex
	views   Views // nil: nothing decides

	loading sync.Mutex // one image at a time: until it has a name, nothing else says that its tar is wanted
}

func (s *server) Join(hello *api.Hello, stream grpc.ServerStreamingServer[api.Members]) error {
	caller, _, _ := pki.Caller(stream.Context())
	return s.m.Join(stream.Context(), hello, caller, stream.Send)
}

func (s *server) LoadImage(stream grpc.ClientStreamingServer[api.Chunk, api.Image]) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	image, err := s.images.Add(&chunkReader{stream: stream})
	if errors.Is(err, images.ErrBad) {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := s.m.Loaded(image); err != nil {
		return coded(err)
	}
	return stream.SendAndClose(&api.Image{Id: image.ID, Name: image.Names[0], Bytes: image.Bytes})
}

// chunkReader reads the bytes of a stream of chunks.
type chunkReader struct {
	stream interface{ Recv() (*api.Chunk, error) }
	rest   []byte
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		c, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.rest = c.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (s *server) Deploy(req *api.DeployRequest, stream grpc.ServerStreamingServer[api.Event]) error {
	wanted, err := spec.Parse(req.File, req.Spec)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	feeds, err := s.m.Deploy(wanted, req.Node)
	return s.follow(feeds, err, stream)
}

func (s *server) Migrate(req *api.MigrateRequest, stream grpc.ServerStreamingServer[api.Event]) error {
	id := netmap.ReplicaID{Service: req.Service, Replica: int(req.Replica)}
	feeds, err := s.m.Migrate(id, req.To, orders.ParseMode(req.Mode), req.Options)
	return s.follow(feeds, err, stream)
}

func (s *server) Preflight(ctx context.Context, req *api.MigrateRequest) (*api.PreflightReply, error) {
	id := netmap.ReplicaID{Service: req.Service, Replica: int(req.Replica)}
	reply, err := s.m.Preflight(ctx, id, req.To, orders.ParseMode(req.Mode), req.Options)
	if err != nil {
		return nil, coded(err)
	}
	return reply, nil
}

// newestMoves is how many a caller of Moves gets that does not say how many it wants.
const newestMoves = 20

func (s *server) Moves(_ context.Context, req *api.MovesRequest) (*api.MoveList, error) {
	most := int(req.Most)
	switch {
	case most < 0:
		return nil, status.Errorf(codes.InvalidArgument, "most: %d is negative", most)
	case most == 0:
		most = newestMoves
	}
	list := &api.MoveList{}
	var err error
	s.m.View(func(state *orders.State) {
		if req.Op == "" {
			list.Moves = state.Moves(most)
			return
		}
		var one *api.MoveView
		if one, err = state.Move(req.Op); err == nil {
			list.Moves = []*api.MoveView{one}
		}
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (s *server) Remove(req *api.RemoveRequest, stream grpc.ServerStreamingServer[api.Event]) error {
	feeds, err := s.m.Remove(req.Service)
	return s.follow(feeds, err, stream)
}

func (s *server) Recover(req *api.RecoverRequest, stream grpc.ServerStreamingServer[api.Event]) error {
	id := netmap.ReplicaID{Service: req.Service, Replica: int(req.Replica)}
	feeds, err := s.m.Recover(stream.Context(), id, req.To, req.AcceptLoss)
	return s.follow(feeds, err, stream)
}

// follow passes on the events of all operations of a command, one operation after the other; they run at the same time.
// It ends with the first error among them, after the events of all.
func (s *server) follow(feeds []*orders.Feed, err error, stream grpc.ServerStreamingServer[api.Event]) error {
	if err != nil {
		return coded(err)
	}
	var first error
	for _, feed := range feeds {
		err := feed.Follow(stream.Context(), stream.Send)
		if stream.Context().Err() != nil {
			return coded(err)
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		return coded(first)
	}
	return nil
}

// coded gives an error without a gRPC code the code of a failure inside.
func coded(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	slog.Error("command failed", "err", err)
	return status.Error(codes.Internal, err.Error())
}

func (s *server) Services(ctx context.Context, _ *api.Empty) (*api.ServiceList, error) {
	list := s.m.Services(ctx)
	list.Manager = s.self.Node
	return list, nil
}

func (s *server) Outcome(ctx context.Context, ref *api.OpRef) (*api.OutcomeReply, error) {
	if ref.Op == "" {
		return nil, status.Error(codes.InvalidArgument, "op: missing")
	}
	return s.m.Outcome(ctx, ref.Op), nil
}
