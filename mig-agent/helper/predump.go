package helper

import (
	"context"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/memory"
)

// PreDump implements api.HelperServer.
func (s *Server) PreDump(ctx context.Context, in *api.PreDumpRequest) (*api.PreDumpReply, error) {
	reply := &api.PreDumpReply{}
	if in.LeastBytes > 0 {
		pids, err := s.host.Processes(in.Container)
		if err != nil {
			return nil, fail(err)
		}
		if reply.MemoryBytes, err = memory.Size(s.host.Proc, pids); err != nil {
			return nil, fail(err)
		}
		if reply.MemoryBytes < in.LeastBytes {
			reply.Skipped = true
			return reply, nil
		}
	}
	res, err := s.host.PreDump(ctx, in.Op, in.Container, int(in.Round))
	reply.Bytes = res.Bytes
	return reply, fail(err)
}
