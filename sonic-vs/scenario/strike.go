package scenario

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"sonic-netservices/sonic-vs/suite"
)

// strike is a fault between two nodes, as it is done here.
type strike struct {
	before func(context.Context) error // the order is given
	hit    func(context.Context) error // at the step
	after  func(context.Context) error // at once after it; the order may not be answered yet
	end    func(context.Context) error // the order is answered
}

// and strikes with another one some time later.
func (k strike) and(later time.Duration, other strike) strike {
	both := k
	both.before = func(ctx context.Context) error { return errors.Join(k.before(ctx), other.before(ctx)) }
	both.hit = func(ctx context.Context) error {
		if err := k.hit(ctx); err != nil {
			return err
		}
		time.Sleep(later)
		return other.hit(ctx)
	}
	return both
}

// errMissed says that what was to break was not there.
var errMissed = errors.New("not struck")

// strikes are the faults of package chaos by name.
var strikes = map[string]func(s *stage, from, to string) strike{
	"source-agent":        func(s *stage, from, _ string) strike { return s.killContainer(from, suite.Agent) },
	"target-agent":        func(s *stage, _, to string) strike { return s.killContainer(to, suite.Agent) },
	"source-helper":       func(s *stage, from, _ string) strike { return s.killContainer(from, helper) },
	"target-helper":       func(s *stage, _, to string) strike { return s.killContainer(to, helper) },
	"manager":             func(s *stage, _, _ string) strike { return s.killContainer(s.leader().Name, suite.Manager) },
	"source-criu":         func(s *stage, from, _ string) strike { return s.killCRIU(from) },
	"target-criu":         func(s *stage, _, to string) strike { return s.killCRIU(to) },
	"source-dockerd":      func(s *stage, from, _ string) strike { return s.killDockerd(from, false) },
	"target-dockerd":      func(s *stage, _, to string) strike { return s.killDockerd(to, false) },
	"source-dockerd-live": func(s *stage, from, _ string) strike { return s.killDockerd(from, true) },
	"target-dockerd-live": func(s *stage, _, to string) strike { return s.killDockerd(to, true) },
	"target-dockerd-agent": func(s *stage, _, to string) strike {
		return s.killDockerd(to, true).and(200*time.Millisecond, s.killContainer(to, suite.Agent))
	},
	"link-cut":            func(s *stage, from, to string) strike { return s.cutLink(from, to, cutTime, 1) },
	"link-flap":           func(s *stage, from, to string) strike { return s.cutLink(from, to, flapTime, 4) },
	"target-disk-full":    func(s *stage, from, to string) strike { return s.fillDisk(from, to) },
	"target-memory-short": func(s *stage, _, to string) strike { return s.takeMemory(to) },
	"image-missing":       func(s *stage, _, to string) strike { return s.deleteImage(to) },
	"source-power":        func(s *stage, from, _ string) strike { return s.cyclePower(from) },
	"target-power":        func(s *stage, _, to string) strike { return s.cyclePower(to) },
}

// killContainer kills its first process, which was looked up before the order: at the step there is no time.
func (s *stage) killContainer(node, name string) strike {
	pid := 0
	return strike{
		before: func(ctx context.Context) (err error) {
			pid, err = s.suite.ContainerPID(ctx, s.node(node).Node, name)
			return err
		},
		hit: func(context.Context) error { return kill9(pid) },
	}
}

// killCRIU kills the process that dumps or restores as soon as there is one.
func (s *stage) killCRIU(node string) strike {
	return strike{hit: func(ctx context.Context) error {
		for limit := time.Now().Add(2 * time.Second); time.Now().Before(limit); {
			if pids := suite.Processes(s.node(node).Node, "criu"); len(pids) > 0 {
				if err := kill9(pids...); !errors.Is(err, syscall.ESRCH) { // it may just have ended
					return err
				}
			}
		}
		return fmt.Errorf("%w: CRIU did not run on %s", errMissed, node)
	}}
}

// killDockerd kills the engine; the switch starts it again after a second. Its next life ends all containers, unless it
// was told to leave them alone.
func (s *stage) killDockerd(node string, liveRestore bool) strike {
	var pids []int
	k := strike{
		before: func(ctx context.Context) error {
			if pids = suite.Processes(s.node(node).Node, "dockerd"); len(pids) == 0 {
				return fmt.Errorf("no dockerd on %s", node)
			}
			return s.setLiveRestore(ctx, s.node(node), pids, liveRestore)
		},
		hit: func(context.Context) error { return kill9(pids...) },
		after: func(ctx context.Context) error {
			for {
				_, err := s.node(node).docker.Ping(ctx)
				if now := suite.Processes(s.node(node).Node, "dockerd"); err == nil && len(now) > 0 && now[0] != pids[0] {
					return nil
				}
				if pause(ctx) != nil {
					return fmt.Errorf("dockerd of %s does not come back: %w", node, err)
				}
			}
		},
	}
	if liveRestore {
		k.end = func(ctx context.Context) error {
			n := s.node(node)
			return s.setLiveRestore(ctx, n, suite.Processes(n.Node, "dockerd"), false)
		}
	}
	return k
}

// kill9 kills all of them. That some have just ended is no error, unless all have.
func kill9(pids ...int) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			errs = append(errs, fmt.Errorf("kill %d: %w", pid, err))
		}
	}
	if len(errs) < len(pids) {
		return nil
	}
	return errors.Join(errs...)
}
