package helper

import (
	"math/rand/v2"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/mig-agent/memory"
)

// ReadMemory implements api.HelperServer. After a round that broke nobody knows what the target has: the next one begins
// anew.
func (s *Server) ReadMemory(in *api.MemoryRequest, stream api.Helper_ReadMemoryServer) error {
	pids, err := s.host.Processes(in.Container)
	if err != nil {
		return fail(err)
	}
	size, err := memory.Size(s.host.Proc, pids)
	if err != nil {
		return fail(err)
	}
	if size < in.LeastBytes {
		return stream.Send(&api.MemoryPart{MemoryBytes: size, Skipped: true})
	}
	source, err := s.takeMemory(in.Op)
	if err != nil {
		return err
	}
	w := chunk.Writer(func(b []byte) error { return stream.Send(&api.MemoryPart{Data: b}) })
	stats, err := source.Round(stream.Context(), w, pids)
	if err == nil {
		err = os.MkdirAll(s.host.OpFolder(in.Op), 0o700)
	}
	if err == nil {
		err = source.WriteTable(s.host.MemoryTable(in.Op))
	}
	if err != nil {
		s.giveMemory(in.Op, nil)
		return fail(err)
	}
	s.giveMemory(in.Op, source)
	return stream.Send(&api.MemoryPart{MemoryBytes: int64(stats.Pages) * memory.PageSize, SentBytes: int64(stats.Sent) * memory.PageSize})
}

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
