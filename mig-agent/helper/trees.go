package helper

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/mig-agent/data"
)

// errNoBase says that a delta was asked for a tree this process has not sent in full; a helper that was restarted
// between bulk and cut-over forgot what the target has, and the move is tried again from the beginning.
var errNoBase = errors.New("no full stream of this tree went before")

// ReadTree implements api.HelperServer. A delta is relative to the stream before it, so that as many rounds as it takes
// bring the target near. The writable layer needs no full stream: the target's is new and empty.
func (s *Server) ReadTree(in *api.TreeRequest, stream api.Helper_ReadTreeServer) error {
	w := chunk.Writer(func(b []byte) error { return stream.Send(&api.Chunk{Data: b}) })
	kind := data.Volume
	if in.Name == "" {
		kind = data.Layer
	}
	base := s.takeBase(in.Op, in.Name)
	if base == nil && kind == data.Layer {
		base = data.Manifest{}
	}
	var sent data.Manifest
	var err error
	switch {
	case !in.Delta && kind == data.Volume:
		sent, _, err = data.WriteFull(w, in.Root, kind)
	case base == nil:
		return status.Errorf(codes.FailedPrecondition, "volume %s: %v", in.Name, errNoBase)
	default:
		sent, _, err = data.WriteDelta(w, in.Root, base, kind, in.More)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fail(fmt.Errorf("read tree %q: %w", in.Name, err))
	}
	s.setBase(in.Op, in.Name, sent)
	return nil
}

// WriteTree implements api.HelperServer.
func (s *Server) WriteTree(stream api.Helper_WriteTreeServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	rest := first.Data
	r := chunk.Reader(func() ([]byte, error) {
		if b := rest; len(b) > 0 {
			rest = nil
			return b, nil
		}
		part, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		return part.Data, nil
	})
	// A layer is on the disk of a container that does not run yet and is worthless without it; a volume is the state.
	stats, err := data.Apply(r, first.Root, !first.Layer)
	if err != nil {
		return fail(fmt.Errorf("write tree: %w", err))
	}
	return stream.SendAndClose(&api.TreeReply{Bytes: stats.Stream})
}

// Forget implements api.HelperServer: what an operation left here is of no more use.
func (s *Server) Forget(_ context.Context, ref *api.OpRef) (*api.Empty, error) {
	s.dropDumper(ref.Op)
	s.mu.Lock()
	delete(s.trees, ref.Op)
	delete(s.memories, ref.Op)
	s.mu.Unlock()
	return &api.Empty{}, fail(s.host.Forget(ref.Op))
}

// takeBase gives what the target has of a tree, nil when that is not known: a stream that breaks leaves it open.
func (s *Server) takeBase(op, tree string) data.Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.trees[op][tree]
	delete(s.trees[op], tree)
	return m
}

func (s *Server) setBase(op, tree string, m data.Manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		s.trees = map[string]map[string]data.Manifest{}
	}
	if s.trees[op] == nil {
		s.trees[op] = map[string]data.Manifest{}
	}
	s.trees[op][tree] = m
}
