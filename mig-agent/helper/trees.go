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

// ReadTree implements api.HelperServer. The writable layer has no bulk phase: the target's is new and empty, and its
// delta is everything in it.
func (s *Server) ReadTree(in *api.TreeRequest, stream api.Helper_ReadTreeServer) error {
	w := chunk.Writer(func(b []byte) error { return stream.Send(&api.Chunk{Data: b}) })
	kind := data.Volume
	if in.Name == "" {
		kind = data.Layer
	}
	var err error
	switch {
	case kind == data.Layer:
		_, _, err = data.WriteDelta(w, in.Root, data.Manifest{}, kind)
	case in.Delta:
		base, ok := s.base(in.Op, in.Name)
		if !ok {
			return status.Errorf(codes.FailedPrecondition, "volume %s: %v", in.Name, errNoBase)
		}
		_, _, err = data.WriteDelta(w, in.Root, base, kind)
	default:
		var sent data.Manifest
		if sent, _, err = data.WriteFull(w, in.Root, kind); err == nil {
			s.setBase(in.Op, in.Name, sent)
		}
	}
	if err != nil {
		return fail(fmt.Errorf("read tree %q: %w", in.Name, err))
	}
	return w.Flush()
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
	s.mu.Lock()
	delete(s.trees, ref.Op)
	s.mu.Unlock()
	return &api.Empty{}, fail(s.host.Forget(ref.Op))
}

func (s *Server) base(op, tree string) (data.Manifest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.trees[op][tree]
	return m, ok
}

func (s *Server) setBase(op, tree string, m data.Manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees[op] == nil {
		s.trees[op] = map[string]data.Manifest{}
	}
	s.trees[op][tree] = m
}
