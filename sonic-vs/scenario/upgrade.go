package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/vswitch"
)

// upgrade brings another version of mig-agent onto every switch while the service runs under load, and then moves it by
// the new one. Its holder and its container are the old version's, and stay.
func upgrade(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil || len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %q (%w)", faults, err)
	}
	tarball, version, err := s.nextAgent(ctx)
	if err != nil {
		return fmt.Errorf("make another version: %w", err)
	}
	clients, err := s.startLoad(ctx)
	if err != nil {
		return err
	}
	defer clients.kill()
	if err := s.suite.Upgrade(ctx, suite.Agent, tarball); err != nil {
		return err
	}
	for _, n := range s.nodes {
		if err := s.isVersion(ctx, n, version); err != nil {
			s.fault("%s: %v", n.Name, err)
		}
	}
	s.say("upgraded to %s while %s ran on %s", version, service, owner)
	if owner, err = s.moves(ctx, clients, 2); err != nil {
		return err
	}
	report, err := clients.stop(s, owner)
	if err != nil {
		return err
	}
	s.flawless(report)
	return nil
}

// nextAgent builds an image of another version: another manifest, and a program that differs.
func (s *stage) nextAgent(ctx context.Context) (tarball, version string, err error) {
	repo := filepath.Join(s.dir, "next")
	home := s.node(firstHome)
	all, err := vswitch.ReadPackages(home.Path("/"))
	if err != nil {
		return "", "", err
	}
	now := all[suite.Agent].Version
	version = now + "-next"
	for _, path := range []string{"containers/Dockerfile", "containers/mig-agent/manifest.json", "containers/mig-agent/files",
		"out/bin/mig-agent", "out/bin/mig-tar"} {
		text, err := os.ReadFile(filepath.Join(s.Repo, path))
		if err != nil {
			return "", "", err
		}
		switch filepath.Base(path) {
		case "manifest.json":
			text = []byte(strings.Replace(string(text), `"version": "`+now+`"`, `"version": "`+version+`"`, 1))
		case suite.Agent:
			text = append(text, version...) // behind what the loader reads
		}
		to := filepath.Join(repo, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", "", err
		}
		if err := os.WriteFile(to, text, 0o755); err != nil {
			return "", "", err
		}
	}
	tarball, err = images.Build(ctx, s.leader().docker, repo, suite.Agent)
	return tarball, version, err
}

// isVersion wants agent, helper and runtime of that version on the node.
func (s *stage) isVersion(ctx context.Context, n *node, version string) error {
	want, err := n.docker.ImageInspect(ctx, suite.Agent+":"+version)
	if err != nil {
		return err
	}
	for _, name := range []string{suite.Agent, helper} {
		c, err := n.docker.ContainerInspect(ctx, name)
		if err != nil {
			return err
		}
		if c.Image != want.ID || !c.State.Running {
			return fmt.Errorf("%s is %s of image %s, want %s", name, c.State.Status, c.Image, want.ID)
		}
	}
	runtime, err := os.ReadFile(n.agentPath("bin", "mig-runc"))
	if err != nil {
		return err
	}
	if !strings.HasSuffix(string(runtime), version) {
		return fmt.Errorf("mig-runc is of another version")
	}
	return nil
}
