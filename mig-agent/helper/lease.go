package helper

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/address"
)

// leaseCheck is the longest time between two looks at leases that run: they end by a clock that goes on while the
// machine is suspended, which timers do not. The manager waits longer than this beyond a lease.
const leaseCheck = time.Second

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
	select {
	case s.leased <- struct{}{}:
	default: // a look is due anyway
	}
	var errs []error
	for _, t := range back {
		errs = append(errs, s.unfence(t))
	}
	return &api.Empty{}, fail(errors.Join(errs...))
}

// keepLeases mutes every holder whose lease is over. A node that is cut off cannot hear that its services were given to
// another one; it can only stop by itself. Where no lease runs it sleeps.
func (s *Server) keepLeases(ctx context.Context) {
	for {
		over, wait := s.overdue(BootTime())
		for _, t := range over {
			if err := s.silence(t); err != nil {
				s.log.Error("mute a holder without lease", "pid", t.Pid, "err", err)
				wait = fenceAgain
				continue
			}
			s.log.Warn("lease is over: the address is silent", "addr", t.Address)
			s.mu.Lock()
			s.fenced[t.Pid] = true
			s.mu.Unlock()
		}
		var next <-chan time.Time
		if wait > 0 {
			next = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.leased:
		case <-next:
		}
	}
}

// fenceAgain is the pause before a holder that could not be muted is muted again.
const fenceAgain = 100 * time.Millisecond

// overdue gives the holders to be muted at that boot time, and how long to wait for the next; 0 when no lease runs.
func (s *Server) overdue(now int64) (over []*api.Traffic, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.leases {
		left := time.Duration(l.UntilBootNs - now)
		switch {
		case s.fenced[l.Traffic.Pid]:
		case left <= 0:
			over = append(over, l.Traffic)
		case wait == 0:
			wait = min(left, leaseCheck)
		default:
			wait = min(wait, left)
		}
	}
	return over, wait
}

func (s *Server) unfence(t *api.Traffic) error {
	if err := address.Unmute(netns(t.Pid)); err != nil {
		return err
	}
	return s.announce(t)
}

// BootTime is the clock of leases in ns.
func BootTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // cannot fail for a clock that exists
	}
	return ts.Nano()
}
