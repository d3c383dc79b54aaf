package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// helperContainer is what an agent starts beside itself, of its own image.
const helperContainer = "mig-agent-helper"

const (
	stopTime = 30 * time.Second // of a feature: SIGKILL follows SIGTERM after 10 s
	joinTime = 60 * time.Second // of all agents: seconds on a quiet machine
	lookTime = 100 * time.Millisecond
)

// ensure installs and enables a feature; again if it runs from another image or with former certificates.
func ensure(ctx context.Context, n testbed.Node, feature, tarball string, again bool) error {
	return images.With(ctx, n, func(sw images.Switch) error {
		f, err := os.Open(tarball)
		if err != nil {
			return err
		}
		defer f.Close()
		t, err := images.ReadTarball(f)
		if err != nil {
			return err
		}
		all, err := vswitch.ReadPackages(sw.Root)
		if err != nil {
			return err
		}
		if p, ok := all[feature]; ok && (again || p.ImageID != t.ID) {
			if err := uninstall(ctx, sw, feature); err != nil {
				return fmt.Errorf("remove the former: %w", err)
			}
		} else if ok {
			row, err := sw.Config.HGetAll(ctx, sw.Config.Key("FEATURE", feature))
			if err != nil || row["state"] == "enabled" {
				return err
			}
		}
		_, err = sw.Install(ctx, tarball, true)
		return err
	})
}

// uninstall disables a feature and removes it when its container has ended.
func uninstall(ctx context.Context, sw images.Switch, feature string) error {
	if err := disable(ctx, sw, feature); err != nil {
		return err
	}
	return sw.Uninstall(ctx, feature)
}

// disable returns when the feature's container has ended.
func disable(ctx context.Context, sw images.Switch, feature string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := sw.Config.HSet(ctx, sw.Config.Key("FEATURE", feature), map[string]string{"state": "disabled"}); err != nil {
		return err
	}
	for {
		row, err := sw.State.HGetAll(ctx, sw.State.Key("FEATURE", feature))
		if err != nil {
			return err
		}
		if row["system_state"] != "up" {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("feature %s does not stop: %w", feature, err)
		}
	}
}

// await returns when every agent serves and knows all others, every switch has the resources of all, and the manager
// answers.
func (s *Suite) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	if err := s.each(func(n testbed.Node) error { return s.awaitAgent(ctx, n) }); err != nil {
		return err
	}
	if err := s.each(func(n testbed.Node) error { return s.awaitRows(ctx, n) }); err != nil {
		return err
	}
	for {
		_, err := s.Services(ctx)
		if err == nil {
			return nil
		}
		if pause(ctx) != nil {
			return fmt.Errorf("%s does not answer: %w; its log ends:\n%s", Manager, err, tail(s.manager(), Manager))
		}
	}
}

func (s *Suite) awaitAgent(ctx context.Context, n testbed.Node) error {
	for {
		text, err := logOf(ctx, n, Agent)
		if err == nil && joined(text) >= len(s.Bed.Nodes) {
			return nil
		}
		if pause(ctx) != nil {
			return fmt.Errorf("%s has not joined; its log ends:\n%s%s", Agent, tail(n, Agent), s.orManager(n))
		}
	}
}

// awaitRows returns when a node holds the resources of every node and takes all of them for alive.
func (s *Suite) awaitRows(ctx context.Context, n testbed.Node) error {
	for {
		missing, err := s.missingRows(ctx, n)
		if missing == "" {
			return nil
		}
		if pause(ctx) != nil {
			return fmt.Errorf("resources of %s are missing: %w; the log of %s ends:\n%sand that of %s:\n%s",
				missing, errors.Join(err, errTime), Sync, tail(n, Sync), Plugin, tail(n, Plugin))
		}
	}
}

// missingRows names a node whose rows this one does not have yet.
func (s *Suite) missingRows(ctx context.Context, n testbed.Node) (string, error) {
	now, err := s.Snapshot(ctx, n)
	if len(now.Nodes) == 0 { // an error beside nodes names rows of garbage
		return "any node", err
	}
	for _, other := range s.Bed.Nodes {
		seen, ok := now.Node(other.Name)
		if _, measured := seen.Resource(netmap.Compute); !ok || !measured || seen.Liveness != netmap.Alive {
			return other.Name, nil
		}
	}
	return "", nil
}

// orManager adds the manager's log, once, to what agents say that did not join.
func (s *Suite) orManager(n testbed.Node) string {
	if m := s.manager(); n.Name == m.Name {
		return fmt.Sprintf("and that of %s:\n%s", Manager, tail(m, Manager))
	}
	return ""
}

var lastJoin = regexp.MustCompile(`msg=members count=(\d+)|msg="not joined"`)

// joined reads from an agent's log how many members it knows now; 0 unless it serves and is connected.
func joined(log []byte) int {
	if !bytes.Contains(log, []byte(`msg="agent ready"`)) {
		return 0
	}
	said := lastJoin.FindAllSubmatch(log, -1)
	if len(said) == 0 {
		return 0
	}
	count := 0
	fmt.Sscan(string(said[len(said)-1][1]), &count) // "not joined" has none
	return count
}

// logOf is what a container has said since it was started last.
func logOf(ctx context.Context, n testbed.Node, name string) ([]byte, error) {
	docker, err := vswitch.DockerAt(n.DockerSocket())
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	c, err := docker.ContainerInspect(ctx, name)
	if err != nil {
		return nil, err
	}
	if !c.State.Running {
		return nil, fmt.Errorf("%s is %s", name, c.State.Status)
	}
	out, err := docker.ContainerLogs(ctx, name, container.LogsOptions{ShowStdout: true, ShowStderr: true, Since: c.State.StartedAt})
	if err != nil {
		return nil, err
	}
	defer out.Close()
	return io.ReadAll(out)
}

// tail is for people: the last lines of a container's log, or why there are none.
func tail(n testbed.Node, name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // also after the caller's time is over
	defer cancel()
	docker, err := vswitch.DockerAt(n.DockerSocket())
	if err != nil {
		return err.Error()
	}
	defer docker.Close()
	out, err := docker.ContainerLogs(ctx, name, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "12"})
	if err != nil {
		return err.Error()
	}
	defer out.Close()
	text, err := io.ReadAll(out)
	if err != nil {
		slog.Warn("read log", "node", n.Name, "service", name, "err", err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

var errTime = errors.New("time is over")

// pause waits for the next look.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return errTime
	case <-time.After(lookTime):
		return nil
	}
}
