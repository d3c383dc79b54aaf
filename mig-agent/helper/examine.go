package helper

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
)

// Examine implements api.HelperServer.
func (s *Server) Examine(_ context.Context, in *api.ExamineRequest) (*api.ExamineReply, error) {
	e := s.host.Examine(engine.Subject{
		Container: in.Container, Layer: in.Layer, Volumes: in.Volumes, Images: in.Images,
	})
	reply := &api.ExamineReply{
		MemoryBytes: e.Memory, VolumeBytes: e.Volumes, LayerBytes: e.Layer,
		FreeMemory: e.FreeMemory, FreeVolumes: e.FreeVolumes, FreeImages: e.FreeImages,
		NowUnixMs: time.Now().UnixMilli(), GroupMemory: s.host.GroupMemory(in.Group),
	}
	for _, c := range slices.Concat(s.hostChecks(), e.Checks) {
		reply.Checks = append(reply.Checks, &api.Check{Name: c.Name, Holds: c.Holds, Detail: c.Detail})
	}
	return reply, nil
}

// hostAge is how old good news of the host may be: they change when somebody installs something, and cost CPU that a
// switch has better use for. Bad news are looked at again at once.
const hostAge = time.Minute

// hostSeen is what was found of the host.
type hostSeen struct {
	mu     sync.Mutex
	at     time.Time
	checks []engine.Check
}

func (s *Server) hostChecks() []engine.Check {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	bad := func(c engine.Check) bool { return !c.Holds && !strings.HasPrefix(c.Name, engine.FeaturePrefix) }
	if s.seen.checks == nil || time.Since(s.seen.at) > hostAge || slices.ContainsFunc(s.seen.checks, bad) {
		s.seen.checks, s.seen.at = s.host.ExamineHost(), time.Now()
	}
	return s.seen.checks
}
