package helper

import (
	"testing"
	"time"

	"sonic-netservices/api"
)

func TestOverdue(t *testing.T) {
	at := func(pid int32, until time.Duration) *api.HolderLease {
		return &api.HolderLease{Traffic: &api.Traffic{Pid: pid}, UntilBootNs: int64(until)}
	}
	const now = time.Hour
	for name, tt := range map[string]struct {
		leases []*api.HolderLease
		over   int
		wait   time.Duration
	}{
		"none":                {nil, 0, 0},
		"long":                {[]*api.HolderLease{at(1, now+8*time.Second)}, 0, leaseCheck},
		"the next end counts": {[]*api.HolderLease{at(1, now+8*time.Second), at(2, now+30*time.Millisecond)}, 0, 30 * time.Millisecond},
		"over, one goes on":   {[]*api.HolderLease{at(1, now), at(2, now+time.Minute)}, 1, leaseCheck},
		"muted already":       {[]*api.HolderLease{at(9, now-time.Second)}, 0, 0},
	} {
		s := &Server{leases: tt.leases, fenced: map[int32]bool{9: true}}
		over, wait := s.overdue(int64(now))
		if len(over) != tt.over || wait != tt.wait {
			t.Errorf("%s: %d over, wait %v; want %d, %v", name, len(over), wait, tt.over, tt.wait)
		}
	}
}
