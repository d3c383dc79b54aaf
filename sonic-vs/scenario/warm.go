package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/sonic-vs/images"
)

// warm moves servers of Debian warm. nginx has no volume: its clients' connections go on at the first instance. Redis has
// one, and counts: a write that is lost or done twice shows.
func warm(ctx context.Context, s *stage) error {
	for _, part := range []struct {
		server string
		spec   string // added to its file
		play   func(context.Context, *warmMove) error
	}{
		{"nginx", "", s.warmKept},
		{"redis", "", s.warmVolume},
		{"redis", "warm_up: {delta: 1, timeout: 3s}\n", s.warmLate},
		{"redis", "warm_up: {delta: 1, timeout: 1m}\n", s.warmKilled},
	} {
		if err := s.warmPart(ctx, part.server, part.spec, part.play); err != nil {
			return fmt.Errorf("%s: %w", part.server, err)
		}
	}
	return nil
}

// warmMove is a server under load and the order to move it.
type warmMove struct {
	server   server
	talk     *talk
	from, to string
	ended    chan error // of nsctl
}

func (s *stage) warmPart(ctx context.Context, name, more string, play func(context.Context, *warmMove) error) error {
	v := servers[slices.IndexFunc(servers, func(v server) bool { return v.name == name })]
	v.fresh = name == "redis" // it closes its clients' connections when it ends
	tarball, err := images.Build(ctx, s.leader().docker, s.Repo, name)
	if err != nil {
		return err
	}
	if _, err := s.suite.Nsctl(ctx, "image", "load", tarball); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(s.Repo, "examples", name, name+".yaml"))
	if err != nil {
		return err
	}
	// Who begins with data listens before it is loaded, so the port alone does not tell.
	spec := strings.Replace(string(text), `tcp: ":6379"`, "exec: [/usr/bin/redis-cli, -e, ping]", 1) + "migration: warm\n" + more
	file := filepath.Join(s.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
		return err
	}
	if _, err := s.suite.Deploy(ctx, file, homes[0]); err != nil {
		return err
	}
	defer s.suite.Nsctl(context.WithoutCancel(ctx), "remove", name)
	m := &warmMove{server: v, from: homes[0], to: homes[1], ended: make(chan error, 1)}
	if m.talk, err = s.talk(ctx, v); err != nil {
		return err
	}
	defer m.talk.end()
	if err := m.talk.pause(ctx, time.Second); err != nil {
		return err
	}
	go func() {
		_, err := s.suite.Nsctl(ctx, "migrate", name+"-0", "--to", m.to)
		m.ended <- err
	}()
	return play(ctx, m)
}

// warmKept: while connections of before last, the order does; then it ends by itself.
func (s *stage) warmKept(ctx context.Context, m *warmMove) error {
	w, err := watchJournal(s.node(m.from).agentPath("journal"), journal.Source)
	if err != nil {
		return err
	}
	defer w.close()
	if _, err := w.await(ctx, journal.Released); err != nil {
		return err
	}
	if err := m.talk.pause(ctx, 3*time.Second); err != nil {
		return err
	}
	running, err := s.where(ctx, m.server.name)
	if err != nil {
		return err
	}
	if len(running) != 2 {
		s.fault("%s runs on %q; with connections open it is to run on both nodes", m.server.name, running)
	}
	if err := s.warmJudge(ctx, m, "without a volume"); err != nil {
		return err
	}
	return s.warmEnded(ctx, m, m.to)
}

func (s *stage) warmVolume(ctx context.Context, m *warmMove) error {
	if err := s.warmEnded(ctx, m, m.to); err != nil {
		return err
	}
	if err := m.talk.pause(ctx, 2*time.Second); err != nil {
		return err
	}
	return s.warmJudge(ctx, m, "with a volume")
}

// warmLate: it writes faster than a byte a round, so that it is never warm.
func (s *stage) warmLate(ctx context.Context, m *warmMove) error {
	err := <-m.ended
	if code, said := exitCode(err); code != 1 || !strings.Contains(said, "not warm after 3s") {
		s.fault("a move that is not warm in time ended with %d: %s", code, lastLine(said))
	}
	m.ended <- nil
	if err := s.warmEnded(ctx, m, m.from); err != nil {
		return err
	}
	return s.warmJudge(ctx, m, "not warm in time")
}

// warmKilled: the target's agent dies while the data goes over.
func (s *stage) warmKilled(ctx context.Context, m *warmMove) error {
	if err := m.talk.pause(ctx, 2*time.Second); err != nil {
		return err
	}
	pid, err := s.suite.AgentPID(ctx, s.node(m.to).Node)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	err = <-m.ended
	if code, said := exitCode(err); code != 1 {
		s.fault("a move whose target died ended with %d: %s", code, lastLine(said))
	}
	m.ended <- nil
	if err := s.warmEnded(ctx, m, m.from); err != nil {
		return err
	}
	return s.warmJudge(ctx, m, "agent of the target killed")
}

// warmEnded waits until the order has its answer and the service runs at home alone.
func (s *stage) warmEnded(ctx context.Context, m *warmMove, home string) error {
	if err := <-m.ended; err != nil {
		_, said := exitCode(err)
		s.fault("%s: move to %s: %s", m.server.name, m.to, lastLine(said))
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		running, err := s.where(ctx, m.server.name)
		if err != nil {
			return err
		}
		if slices.Equal(running, []string{home + " running"}) {
			return nil
		}
		if pause(limit) != nil {
			s.fault("%s: %v after its move it is %q, want it on %s alone", m.server.name, settleTime, running, home)
			return ctx.Err()
		}
	}
}

// where lists the nodes that have the container, and its state there.
func (s *stage) where(ctx context.Context, name string) ([]string, error) {
	var list []string
	for _, n := range s.nodes {
		state, err := n.containers(ctx)
		if err != nil {
			return nil, err
		}
		if is, ok := state[name+"-0"]; ok {
			list = append(list, n.Name+" "+is)
		}
	}
	return list, nil
}

// warmJudge ends the load: nobody noticed anything.
func (s *stage) warmJudge(ctx context.Context, m *warmMove, what string) error {
	all := m.talk.end()
	if err := writeTalk(filepath.Join(s.dir, strings.ReplaceAll(m.server.name+" "+what, " ", "-")+".jsonl"), all); err != nil {
		return err
	}
	failed, broken, gap := summary(all)
	if failed > 0 || broken > 0 {
		s.fault("%s, %s: %d failed requests, %d broken connections", m.server.name, what, failed, broken)
	}
	if m.server.name == "redis" {
		if err := contiguous(all); err != nil {
			s.fault("%s, %s: %v", m.server.name, what, err)
		}
	}
	s.say("%-6s %-28s %d of %d requests failed, %d broken connections, longest gap %v",
		m.server.name, what, failed, len(all), broken, gap.Round(time.Millisecond))
	return nil
}
