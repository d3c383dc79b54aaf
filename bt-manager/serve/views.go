package serve

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
)

// Views is what the manager shows of its deciding, and the drain, which it decides with. Its errors carry gRPC codes:
// NOT_FOUND for a replica, service or node that nobody knows. One without a code is a failure inside.
type Views interface {
	// Nodes lists the switches by name.
	Nodes(ctx context.Context) *api.NodeList
	// Tree shows the tree of a replica ("kms-0"), of the first replica of a service ("kms"), or the intake tree ("").
	Tree(replica string, onlyActive bool) (*api.TreeView, error)
	// Why gives the newest decisions about a service, oldest first, and at most so many.
	Why(service string, most int) (*api.WhyReply, error)
	// Drain keeps services away from a node and has those that are there moved, or ends that.
	Drain(node string, end bool) error
	// Trees tells which file of trees is in effect.
	Trees() *api.TreesStatus
	// ReloadTrees puts the file into effect as it is now; INVALID_ARGUMENT names its faults.
	ReloadTrees(by string, force bool) (*api.TreesStatus, error)
	// Steer does what an operator tells a tree; FAILED_PRECONDITION says that it could do harm now.
	Steer(by string, req *api.SteerRequest) (*api.SteerReply, error)
	// Monitor opens the Groot2 socket for a tree, named as in Tree, or ends it.
	Monitor(by, replica string, write, end bool) (*api.MonitorReply, error)
	// Recording gives a log of a tree, named as in Tree, or "intake"; ago 0 is the newest.
	Recording(replica string, ago int) (io.ReadCloser, error)
}

// maxChunk bounds a message of a stream of bytes.
const maxChunk = 256 << 10

func (s *server) Monitor(ctx context.Context, req *api.MonitorRequest) (*api.MonitorReply, error) {
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	by, _, _ := pki.Caller(ctx)
	reply, err := views.Monitor(by, req.Replica, req.Write, req.Close)
	if err != nil {
		return nil, coded(err)
	}
	return reply, nil
}

func (s *server) Recording(req *api.RecordingRequest, stream grpc.ServerStreamingServer[api.Chunk]) error {
	if req.Ago < 0 {
		return status.Errorf(codes.InvalidArgument, "ago: %d is negative", req.Ago)
	}
	views, err := s.decides()
	if err != nil {
		return err
	}
	log, err := views.Recording(req.Replica, int(req.Ago))
	if err != nil {
		return coded(err)
	}
	defer log.Close()
	buf := make([]byte, maxChunk)
	for {
		n, err := log.Read(buf)
		if n > 0 {
			if err := stream.Send(&api.Chunk{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return coded(err)
		}
	}
}

// newestDecisions is how many a caller of Why gets that does not say how many it wants.
const newestDecisions = 20

func (s *server) Nodes(ctx context.Context, _ *api.Empty) (*api.NodeList, error) {
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	return views.Nodes(ctx), nil
}

func (s *server) Tree(_ context.Context, ref *api.TreeRef) (*api.TreeView, error) {
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	view, err := views.Tree(ref.Replica, ref.OnlyActive)
	if err != nil {
		return nil, coded(err)
	}
	return view, nil
}

func (s *server) Why(_ context.Context, req *api.WhyRequest) (*api.WhyReply, error) {
	most := int(req.Most)
	switch {
	case req.Service == "":
		return nil, status.Error(codes.InvalidArgument, "service: missing")
	case most < 0:
		return nil, status.Errorf(codes.InvalidArgument, "most: %d is negative", most)
	case most == 0:
		most = newestDecisions
	}
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	reply, err := views.Why(req.Service, most)
	if err != nil {
		return nil, coded(err)
	}
	return reply, nil
}

func (s *server) Drain(ctx context.Context, req *api.DrainRequest) (*api.NodeList, error) {
	if req.Node == "" {
		return nil, status.Error(codes.InvalidArgument, "node: missing")
	}
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	if err := views.Drain(req.Node, req.End); err != nil {
		return nil, coded(err)
	}
	return views.Nodes(ctx), nil
}

func (s *server) Trees(context.Context, *api.Empty) (*api.TreesStatus, error) {
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	return views.Trees(), nil
}

func (s *server) ReloadTrees(ctx context.Context, req *api.ReloadRequest) (*api.TreesStatus, error) {
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	by, _, _ := pki.Caller(ctx)
	reply, err := views.ReloadTrees(by, req.Force)
	if err != nil {
		return nil, coded(err)
	}
	return reply, nil
}

func (s *server) Steer(ctx context.Context, req *api.SteerRequest) (*api.SteerReply, error) {
	views, err := s.decides()
	if err != nil {
		return nil, err
	}
	by, _, _ := pki.Caller(ctx)
	reply, err := views.Steer(by, req)
	if err != nil {
		return nil, coded(err)
	}
	return reply, nil
}

// decides gives what there is to see, unless this manager only takes orders.
func (s *server) decides() (Views, error) {
	s.viewing.Lock()
	defer s.viewing.Unlock()
	if s.views == nil {
		return nil, status.Errorf(codes.Unimplemented, "the manager on %s only takes orders: it has no Redis to see the nodes in, and no tree", s.self.Node)
	}
	return s.views, nil
}

// show changes what there is to see.
func (s *server) show(trees *deciding) {
	s.viewing.Lock()
	defer s.viewing.Unlock()
	s.views = nil
	if trees != nil {
		s.views = trees
	}
}
