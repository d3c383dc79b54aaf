package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"sonic-netservices/sonic-vs/suite"
)

// reloadTime is for a killed agent to come back with what CONFIG_DB says now, and for dockerd to have read it.
const reloadTime = 20 * time.Second

// liveRestore asks for live-restore in CONFIG_DB and kills dockerd under load: nobody notices, and the service moves
// afterwards. Then it is taken back.
func liveRestore(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil || len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %q (%w)", faults, err)
	}
	for _, name := range homes {
		if err := s.wishLiveRestore(ctx, s.node(name), true); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	clients, err := s.startLoad(ctx)
	if err != nil {
		return err
	}
	defer clients.kill()
	for _, name := range []string{owner, other(owner)} {
		if err := s.loseDockerd(ctx, s.node(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, faults, err = s.settle(ctx); err != nil {
			return err
		}
		for _, f := range faults {
			s.fault("dockerd of %s killed: %s", name, f)
		}
		s.say("dockerd of %s killed and back", name)
	}
	if owner, err = s.moves(ctx, clients, 2); err != nil {
		return err
	}
	report, err := clients.stop(s, owner)
	if err != nil {
		return err
	}
	s.flawless(report)
	for _, name := range homes {
		if err := s.wishLiveRestore(ctx, s.node(name), false); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// wishLiveRestore asks for it and has the agent read it, which a restart does.
func (s *stage) wishLiveRestore(ctx context.Context, n *node, on bool) error {
	config, err := n.db.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	if err := config.HSet(ctx, config.Key("NETSERVICES", "global"), map[string]string{"live_restore": fmt.Sprint(on)}); err != nil {
		return err
	}
	pid, err := s.suite.AgentPID(ctx, n.Node)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	for {
		info, err := n.docker.Info(limit)
		if err == nil && info.LiveRestoreEnabled == on {
			break
		}
		if pause(limit) != nil {
			return errors.Join(err, fmt.Errorf("live-restore of dockerd is not %v after %v", on, reloadTime))
		}
	}
	for { // the agent is back as well
		now, err := s.suite.AgentPID(limit, n.Node)
		if err == nil && now != pid {
			return nil
		}
		if pause(limit) != nil {
			return errors.Join(err, fmt.Errorf("%s is not back after %v", suite.Agent, reloadTime))
		}
	}
}

// loseDockerd kills it and returns when the next one answers.
func (s *stage) loseDockerd(ctx context.Context, n *node) error {
	pids := suite.Processes(n.Node, "dockerd")
	if err := kill9(pids...); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		if err := pause(limit); err != nil {
			return fmt.Errorf("dockerd does not come back: %w", err)
		}
		if now := suite.Processes(n.Node, "dockerd"); len(now) == 0 || slices.Equal(now, pids) {
			continue
		}
		if _, err := n.docker.Ping(limit); err == nil {
			return nil
		}
	}
}
