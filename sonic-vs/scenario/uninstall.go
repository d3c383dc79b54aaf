package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/vswitch"
)

// uninstall takes mig-agent off a switch as an operator does, and wants the switch as it was before the suite came. Then
// it comes again, and the service moves back.
func uninstall(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil || len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %q (%w)", faults, err)
	}
	n, away := s.node(owner), other(owner)
	before := s.fresh[n.Name]
	if before == nil {
		return fmt.Errorf("%s had mig-agent before this run: sonic-vs down first", n.Name)
	}
	s.wantUninstall(ctx, n, 2, "runs and would install itself again")
	if err := s.suite.Disable(ctx, n.Node, suite.Agent); err != nil {
		return err
	}
	s.wantUninstall(ctx, n, 2, replica+" can only run with mig-agent")
	if err := s.healthy(ctx); err != nil {
		s.fault("a refused uninstall harms the service: %v", err)
	}
	if err := s.suite.Enable(ctx, n.Node, suite.Agent); err != nil {
		return err
	}
	if err := s.move(ctx, away); err != nil {
		return err
	}
	if err := s.suite.Disable(ctx, n.Node, suite.Agent); err != nil {
		return err
	}
	s.wantUninstall(ctx, n, 0, "removed "+netmap.AgentDir)
	s.wantUninstall(ctx, n, 0, "") // again: nothing is left, nothing fails
	err = images.With(ctx, n.Node, func(sw images.Switch) error { return sw.Uninstall(ctx, suite.Agent) })
	if err != nil {
		return err
	}
	after, err := s.traces(ctx, n)
	if err != nil {
		return err
	}
	left := changes(before, after)
	for _, c := range left {
		s.fault("%s: left behind: %s", n.Name, c)
	}
	s.say("%s: %d of %d traces differ from those before the suite came", n.Name, len(left), len(before))
	if err := s.healthy(ctx); err != nil {
		s.fault("the service on %s: %v", away, err)
	}
	if s.suite, err = suite.Install(ctx, s.suite.Bed, s.suiteOptions()); err != nil {
		return fmt.Errorf("install again: %w", err)
	}
	if err := s.move(ctx, n.Name); err != nil {
		return fmt.Errorf("move back: %w", err)
	}
	if _, faults, err = s.settle(ctx); err != nil {
		return err
	}
	for _, f := range faults {
		s.fault("installed again: %s", f)
	}
	s.say("installed again, moved back to %s", n.Name)
	return nil
}

// wantUninstall runs `mig-agent uninstall` on the node as its documentation says, and wants its exit code and words.
func (s *stage) wantUninstall(ctx context.Context, n *node, code int, words string) {
	all, err := vswitch.ReadPackages(n.Path("/"))
	if err != nil {
		s.fault("%s: %v", n.Name, err)
		return
	}
	p := all[suite.Agent]
	cmd := s.suite.Bed.Exec(ctx, n.Name, "docker", "run", "--rm", "--network", "none", "-v", "/var/run/docker.sock:/var/run/docker.sock",
		p.Repository+":"+p.Version, "uninstall")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	got, failed := 0, (*exec.ExitError)(nil)
	if err := cmd.Run(); errors.As(err, &failed) {
		got = failed.ExitCode()
	} else if err != nil {
		got = -1
	}
	s.say("%s: uninstall ends with %d: %s", n.Name, got, strings.TrimSpace(said.String()))
	if got != code || !strings.Contains(said.String(), words) {
		s.fault("%s: uninstall ends with %d, want %d and %q", n.Name, got, code, words)
	}
}
