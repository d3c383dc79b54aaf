package helper

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
)

// SetBudget implements api.HelperServer.
func (s *Server) SetBudget(_ context.Context, in *api.Budget) (*api.Empty, error) {
	return &api.Empty{}, fail(s.host.SetBudget(in.Group, in.Cpu, in.Memory))
}

// sizeAge is how old a folder's size may be: to walk through it costs more than to read a counter.
const sizeAge = 10 * time.Second

// sizes remembers how large folders are.
type sizes struct {
	mu    sync.Mutex
	known map[string]size // by folder
}

type size struct {
	bytes int64
	at    time.Time
}

// Usage implements api.HelperServer.
func (s *Server) Usage(_ context.Context, in *api.UsageRequest) (*api.UsageReply, error) {
	reply := &api.UsageReply{}
	for _, of := range in.Replicas {
		is := &api.UsageIs{}
		reply.Replicas = append(reply.Replicas, is)
		u, err := s.host.Usage(of.Container)
		if errors.Is(err, fs.ErrNotExist) {
			is.Gone = true
			continue
		}
		if err != nil {
			return nil, fail(err)
		}
		is.CpuNs, is.MemoryBytes = int64(u.CPU), u.Memory
		if of.HolderPid != 0 {
			if is.NetBytes, err = s.host.NetBytes(int(of.HolderPid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fail(err)
			}
		}
		is.LayerBytes, is.VolumeBytes = s.sizes.of(of.Layer), s.sizes.of(of.Volumes)
	}
	return reply, nil
}

// of a folder, at most sizeAge old.
func (s *sizes) of(path string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if is, ok := s.known[path]; ok && now.Sub(is.at) < sizeAge {
		return is.bytes
	}
	for other, is := range s.known { // of replicas that are here no more
		if now.Sub(is.at) > 6*sizeAge {
			delete(s.known, other)
		}
	}
	if s.known == nil {
		s.known = map[string]size{}
	}
	bytes := engine.DiskBytes(path)
	s.known[path] = size{bytes, now}
	return bytes
}
