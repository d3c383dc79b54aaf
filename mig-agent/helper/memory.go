package helper

import (
	"bufio"
	"context"
	"errors"
	"math/rand/v2"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/lane"
	"sonic-netservices/mig-agent/memory"
)

// SendMemory implements api.HelperServer. After a round that broke nobody knows what the target has: the next one begins
// anew. A way that breaks is UNAVAILABLE, for then another try may do.
func (s *Server) SendMemory(ctx context.Context, in *api.MemoryRequest) (*api.MemoryReply, error) {
	pids, err := s.host.Processes(in.Container)
	if err != nil {
		return nil, fail(err)
	}
	size, err := memory.Size(s.host.Proc, pids)
	if err != nil {
		return nil, fail(err)
	}
	if size < in.LeastBytes {
		return &api.MemoryReply{MemoryBytes: size, Skipped: true}, nil
	}
	source, err := s.takeMemory(in.Op)
	if err != nil {
		return nil, err
	}
	stats, err := s.round(ctx, in, source, pids)
	if err != nil {
		s.giveMemory(in.Op, nil)
		if errors.Is(err, lane.ErrRefused) || ctx.Err() != nil {
			return nil, fail(err)
		}
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	err = os.MkdirAll(s.host.OpFolder(in.Op), 0o700)
	if err == nil {
		err = source.WriteTable(s.host.MemoryTable(in.Op))
	}
	s.giveMemory(in.Op, source)
	return &api.MemoryReply{MemoryBytes: int64(stats.Pages) * memory.PageSize, SentBytes: int64(stats.Sent) * memory.PageSize}, fail(err)
}

// round sends one over a lane of its own.
func (s *Server) round(ctx context.Context, in *api.MemoryRequest, source *memory.Source, pids []int) (memory.Stats, error) {
	conn, err := lane.Dial(ctx, in.Lane, in.Peer, s.asker.Identity.Client(in.Peer, pki.Node), lane.Hello{Op: in.Op, Section: lane.Memory})
	if err != nil {
		return memory.Stats{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s.pace.Set(in.BandwidthBps)
	stats, err := source.Round(ctx, bufio.NewWriterSize(s.pace.Writer(ctx, conn), laneBuffer), pids)
	if _, said := conn.Answer(); said != nil && (err == nil || errors.Is(said, lane.ErrRefused)) {
		err = said // a target that has refused does not read on
	}
	return stats, err
}

// laneBuffer is what goes into a lane at once.
const laneBuffer = 256 << 10

// takeMemory gives what the target of an operation has to the one round that runs.
func (s *Server) takeMemory(op string) (*memory.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source, known := s.memories[op]
	if known && source == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "op: a round of %s is under way", op)
	}
	if !known {
		source = memory.NewSource(s.host.Proc, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	}
	s.memories[op] = nil
	return source, nil
}

// giveMemory ends a round; without a source nothing is known any more.
func (s *Server) giveMemory(op string, source *memory.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.memories, op)
	if source != nil {
		s.memories[op] = source
	}
}
