package helper

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/address"
)

// leaseCheck is how often leases are looked at; the manager waits longer than this beyond a lease.
const leaseCheck = 100 * time.Millisecond

// SetLeases implements api.HelperServer. A holder whose lease was over and is not any more serves again; a helper that
// has just begun does not know which were muted, so all are unmuted that may serve.
func (s *Server) SetLeases(_ context.Context, in *api.Leases) (*api.Empty, error) {
	s.mu.Lock()
	first := s.fenced == nil
	if first {
		s.fenced = map[int32]bool{}
	}
	s.leases = in.Leases
	var back []*api.Traffic
	for _, l := range in.Leases {
		if pid := l.Traffic.Pid; (first || s.fenced[pid]) && l.UntilBootNs > BootTime() {
			back = append(back, l.Traffic)
			delete(s.fenced, pid)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, t := range back {
		errs = append(errs, s.unfence(t))
	}
	return &api.Empty{}, fail(errors.Join(errs...))
}

// keepLeases mutes every holder whose lease is over. A node that is cut off cannot hear that its services were given to
// another one; it can only stop by itself.
func (s *Server) keepLeases(ctx context.Context) {
	tick := time.NewTicker(leaseCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		var over []*api.Traffic
		for _, l := range s.leases {
			if pid := l.Traffic.Pid; !s.fenced[pid] && l.UntilBootNs <= BootTime() {
				over = append(over, l.Traffic)
			}
		}
		s.mu.Unlock()
		for _, t := range over {
			if err := fence(t); err != nil {
				s.log.Error("mute a holder without lease", "pid", t.Pid, "err", err)
				continue
			}
			s.log.Warn("lease is over: the address is silent", "addr", t.Address)
			s.mu.Lock()
			s.fenced[t.Pid] = true
			s.mu.Unlock()
		}
	}
}

func fence(t *api.Traffic) error {
	return errors.Join(address.Yield(netns(t.Pid)), address.Mute(netns(t.Pid)))
}

func (s *Server) unfence(t *api.Traffic) error {
	if err := address.Unmute(netns(t.Pid)); err != nil {
		return err
	}
	return s.announce(netns(t.Pid), t.Address)
}

// BootTime is the clock of leases in ns.
func BootTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // cannot fail for a clock that exists
	}
	return ts.Nano()
}
