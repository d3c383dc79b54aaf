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
	base := s.takeBase(in.Op, in.Name, in.Lost)
	if base == nil && kind == data.Layer {
		base = data.Manifest{}
	}
	var sent data.Manifest
	var cut bool
	var err error
	switch {
	case in.Delta && base == nil:
		return status.Errorf(codes.FailedPrecondition, "volume %s: %v", in.Name, errNoBase)
	case in.More:
		if !in.Delta {
			base = nil
		}
		sent, cut, _, err = data.WritePiece(w, in.Root, base, kind, in.Piece)
	case in.Delta:
		sent, _, err = data.WriteDelta(w, in.Root, base, kind, false)
	default:
		sent, _, err = data.WriteFull(w, in.Root, kind)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		if in.More { // what is certain of a stream that broke; nil: nothing
			s.setBase(in.Op, in.Name, treeSent{base: sent})
		}
		return fail(fmt.Errorf("read tree %q: %w", in.Name, err))
	}
	s.setBase(in.Op, in.Name, treeSent{base: base, sent: sent})
	if cut {
		return stream.Send(&api.Chunk{Cut: true})
	}
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
	s.dropReady(ref.Op)
	s.mu.Lock()
	delete(s.trees, ref.Op)
	delete(s.memories, ref.Op)
	delete(s.deciding, ref.Op)
	s.mu.Unlock()
	s.pages.Close(ref.Op)
	return &api.Empty{}, fail(s.host.Forget(ref.Op))
}

// treeSent is what the target has of a tree: base, and if the stream after it arrived whole, sent.
type treeSent struct{ base, sent data.Manifest }

// takeBase gives what the target has of a tree, nil when that is not known. lost says that the last stream did not arrive whole.
func (s *Server) takeBase(op, tree string, lost bool) data.Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.trees[op][tree]
	delete(s.trees[op], tree)
	switch {
	case t.sent == nil:
		return t.base
	case !lost:
		return t.sent
	case t.base == nil:
		return nil
	}
	return t.base.Unsure(t.sent)
}

func (s *Server) setBase(op, tree string, t treeSent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trees == nil {
		s.trees = map[string]map[string]treeSent{}
	}
	if s.trees[op] == nil {
		s.trees[op] = map[string]treeSent{}
	}
	s.trees[op][tree] = t
}
