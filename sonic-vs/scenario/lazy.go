package scenario

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"

	"sonic-netservices/examples/ballast/proof"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/spec"
)

const (
	lazyMB    = 100
	pipeLimit = "/proc/sys/fs/pipe-max-size"
)

// ballast answers a line with a proof of one of its pages.
var ballast = server{
	name: "ballast", address: "10.20.0.20:9000",
	ask: func(int) string { return "\n" },
	answer: func(in *bufio.Reader, _ int) (string, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		p, err := proof.Parse(line)
		if err == nil && !p.Holds() {
			err = fmt.Errorf("page %d is not what was written: %s", p.Page, line)
		}
		return fmt.Sprintf("%016x %d", p.Boot, p.Serial), err
	},
}

const ballastVerify = "10.20.0.20:8080"

// lazy moves memory after the switch: to its end, with both agents killed while it is on its way, and with CRIU's daemon
// killed then.
func lazy(ctx context.Context, s *stage) error {
	before, err := os.ReadFile(pipeLimit)
	if err != nil {
		return err
	}
	if err := s.deployBallast(ctx); err != nil {
		return err
	}
	defer s.suite.Nsctl(context.WithoutCancel(ctx), "remove", ballast.name)
	if s.wants("whole", true) {
		if err := s.lazyWhole(ctx); err != nil {
			return fmt.Errorf("whole: %w", err)
		}
	}
	for _, c := range []struct {
		name string
		play func(context.Context, *lazyMove) error
	}{{"agent-kill", s.lazyAgents}, {"daemon-kill", s.lazyDaemon}} {
		if !s.wants(c.name, true) {
			continue
		}
		if err := s.lazyKilled(ctx, c.play); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if _, err := s.suite.Nsctl(ctx, "remove", ballast.name); err != nil {
		return err
	}
	_, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	for _, f := range faults {
		s.fault("left over: %s", f)
	}
	// The limit is the machine's: another test bed may have raised it before us.
	if after, err := os.ReadFile(pipeLimit); err != nil || len(after) > len(before) || len(after) == len(before) && bytes.Compare(after, before) > 0 {
		s.fault("fs.pipe-max-size was %s and is %s (%v)", bytes.TrimSpace(before), bytes.TrimSpace(after), err)
	}
	if pids := lazyDaemons(""); len(pids) > 0 {
		s.fault("lazy-pages daemons are left: %v", pids)
	}
	return nil
}

func (s *stage) deployBallast(ctx context.Context) error {
	tarball, err := images.Build(ctx, s.leader().docker, s.Repo, ballast.name)
	if err != nil {
		return err
	}
	if _, err := s.suite.Nsctl(ctx, "image", "load", tarball); err != nil {
		return err
	}
	file := filepath.Join(s.Repo, "examples", ballast.name, ballast.name+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	service, err := spec.Parse(file, text)
	if err != nil {
		return err
	}
	service.Environment["BALLAST_MB"] = strconv.Itoa(lazyMB)
	if text, err = spec.Print(service); err != nil {
		return err
	}
	file = filepath.Join(s.dir, ballast.name+".yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	_, err = s.suite.Deploy(ctx, file, homes[0])
	return err
}

// lazyWhole: every page arrives, no connection breaks.
func (s *stage) lazyWhole(ctx context.Context) error {
	from, err := s.homeOf(ctx, ballast.name)
	if err != nil {
		return err
	}
	talk, err := s.talk(ctx, ballast)
	if err != nil {
		return err
	}
	defer talk.end()
	if err := talk.pause(ctx, time.Second); err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.moveLazily(ctx, other(from)); err != nil {
		s.fault("whole: %v", err)
	}
	took := time.Since(began)
	if err := talk.pause(ctx, time.Second); err != nil {
		return err
	}
	if err := s.verify(ctx); err != nil {
		s.fault("whole: %v", err)
	}
	all := talk.end()
	if err := writeTalk(filepath.Join(s.dir, "whole.jsonl"), all); err != nil {
		return err
	}
	failed, broken, gap := summary(all)
	if failed > 0 || broken > 0 {
		s.fault("whole: %d failed requests, %d broken connections", failed, broken)
	}
	if boots := bootsOf(all); len(boots) != 1 {
		s.fault("whole: %d processes have answered", len(boots))
	}
	if home, err := s.homeOf(ctx, ballast.name); err != nil || home != other(from) {
		s.fault("whole: it runs on %s (%v)", home, err)
	}
	s.say("%-12s %d MB: %d of %d requests failed, %d broken connections, longest gap %v, all pages there and right after %v",
		"whole", lazyMB, failed, len(all), broken, gap.Round(time.Millisecond), took.Round(time.Millisecond))
	return nil
}

// lazyMove is one under load whose memory is on its way: it is committed, and the daemon stands still.
type lazyMove struct {
	op             string
	source, target *node
	daemon         int // pid
	talk           *talk
	ended          chan error // of nsctl
}

// lazyKilled begins a move, stops the daemon before the commit and lets play go on after it.
func (s *stage) lazyKilled(ctx context.Context, play func(context.Context, *lazyMove) error) error {
	from, err := s.homeOf(ctx, ballast.name)
	if err != nil {
		return err
	}
	m := &lazyMove{source: s.node(from), target: s.node(other(from)), ended: make(chan error, 1)}
	w, err := watchJournal(m.target.agentPath("journal"), journal.Target)
	if err != nil {
		return err
	}
	defer w.close()
	if m.talk, err = s.talk(ctx, ballast); err != nil {
		return err
	}
	defer m.talk.end()
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, err := s.moveLazily(ctx, m.target.Name)
		m.ended <- err
		time.AfterFunc(time.Second, cancel) // a move that ends without the record never writes it
	}()
	if m.op, err = w.await(watching, journal.Restored); err != nil {
		return fmt.Errorf("the move ended before it was restored: %w: %w", err, <-m.ended)
	}
	pids := lazyDaemons(m.op)
	if len(pids) != 1 {
		return fmt.Errorf("the lazy-pages daemons of %s are %v", m.op, pids)
	}
	m.daemon = pids[0]
	if err := syscall.Kill(m.daemon, syscall.SIGSTOP); err != nil { // so that pages are missing at the commit
		return err
	}
	defer syscall.Kill(m.daemon, syscall.SIGCONT)
	if _, err := w.await(watching, journal.Released); err != nil {
		return fmt.Errorf("the move ended before it was released: %w: %w", err, <-m.ended)
	}
	return play(ctx, m)
}

// lazyAgents: both agents die while memory is on its way. It comes all the same, and nobody's connection breaks.
func (s *stage) lazyAgents(ctx context.Context, m *lazyMove) error {
	for _, n := range []*node{m.source, m.target} {
		pid, err := s.suite.AgentPID(ctx, n.Node)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	if err := syscall.Kill(m.daemon, syscall.SIGCONT); err != nil {
		return err
	}
	if err := <-m.ended; err != nil {
		s.fault("agent-kill: %v", err)
	}
	if err := s.verify(ctx); err != nil {
		s.fault("agent-kill: %v", err)
	}
	for limit := time.Now().Add(settleTime); ; {
		faults := append(m.source.unfinished(), m.target.unfinished()...)
		left, err := filepath.Glob(m.source.agentPath("work/op/*"))
		if err != nil {
			return err
		}
		if faults = append(faults, left...); len(faults) == 0 { // of one kernel, whose limit the switches share
			break
		}
		if time.Now().After(limit) {
			s.fault("agent-kill: %s", strings.Join(faults, "; "))
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	all := m.talk.end()
	if err := writeTalk(filepath.Join(s.dir, "agent-kill.jsonl"), all); err != nil {
		return err
	}
	failed, broken, gap := summary(all)
	if boots := bootsOf(all); failed > 0 || broken > 0 || len(boots) != 1 {
		s.fault("agent-kill: %d failed requests, %d broken connections, %d processes have answered", failed, broken, len(boots))
	}
	if home, err := s.homeOf(ctx, ballast.name); err != nil || home != m.target.Name {
		s.fault("agent-kill: it runs on %q (%v)", home, err)
	}
	s.say("%-12s both agents killed while memory was on its way: %d of %d requests failed, %d broken connections, longest gap %v",
		"agent-kill", failed, len(all), broken, gap.Round(time.Millisecond))
	return nil
}

// lazyDaemon: the daemon dies. The memory is lost and this is said; nobody ever answers with memory that is not what was
// written, and the replica runs once.
func (s *stage) lazyDaemon(ctx context.Context, m *lazyMove) error {
	if err := syscall.Kill(m.daemon, syscall.SIGKILL); err != nil {
		return err
	}
	if err := <-m.ended; err == nil || !strings.Contains(err.Error(), "is lost") {
		s.fault("daemon-kill: nsctl does not say that memory is lost: %v", err)
	}
	for node, role := range map[*node]journal.Role{m.source: journal.Source, m.target: journal.Target} {
		j, err := journal.Open(node.agentPath("journal"), "scenario")
		if err != nil {
			return err
		}
		recs, err := j.Load(m.op, role)
		if err != nil {
			return err
		}
		if journal.Settled(recs) != journal.Committed || !slices.ContainsFunc(recs, func(r journal.Record) bool {
			return r.Step == journal.Done && strings.Contains(r.Error, "is lost")
		}) {
			s.fault("daemon-kill: the journal of %s does not say that memory is lost: %+v", node.Name, recs[len(recs)-1])
		}
	}
	if err := s.awaitVerify(ctx); err != nil { // begun anew
		s.fault("daemon-kill: %v", err)
	}
	if home, err := s.homeOf(ctx, ballast.name); err != nil || home != m.target.Name {
		s.fault("daemon-kill: it runs on %q (%v)", home, err)
	}
	key := "RESOUR_INSTANCE|" + ballast.name + "|0|" + m.target.Name
	row, err := s.suite.Bed.Exec(ctx, m.target.Name, "redis-cli", "-n", "7", "hget", key, "problem").CombinedOutput()
	if err != nil || !strings.Contains(string(row), "is lost") {
		s.fault("daemon-kill: %s has the problem %q (%v)", key, row, err)
	}
	all := m.talk.end()
	if err := writeTalk(filepath.Join(s.dir, "daemon-kill.jsonl"), all); err != nil {
		return err
	}
	wrong := 0
	for _, e := range all {
		if strings.Contains(e.Error, "not what was written") {
			wrong++
			s.fault("daemon-kill: request %d: %s", e.N, e.Error)
		}
	}
	failed, broken, _ := summary(all)
	s.say("%-12s memory lost and said so; %d failed requests, %d broken connections, %d wrong answers, runs on %s alone",
		"daemon-kill", failed, broken, wrong, m.target.Name)
	return nil
}

func (s *stage) moveLazily(ctx context.Context, to string) (string, error) {
	return s.suite.Nsctl(ctx, "migrate", ballast.name+"-0", "--to", to, "--mode", "live", "--lazy")
}

// homeOf is the one node on which a container of the service's first replica runs.
func (s *stage) homeOf(ctx context.Context, name string) (string, error) {
	var on []string
	for _, n := range s.nodes {
		all, err := n.docker.ContainerList(ctx, container.ListOptions{})
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(all, func(c container.Summary) bool { return c.Names[0] == "/"+name+"-0" }) {
			on = append(on, n.Name)
		}
	}
	if len(on) != 1 {
		return "", fmt.Errorf("%s-0 runs on %q", name, on)
	}
	return on[0], nil
}

// verify has the service look at every page of its memory.
func (s *stage) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ballastVerify+"/verify", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("verify: status %d: %s", resp.StatusCode, body.String())
	}
	return nil
}

// awaitVerify gives a service that is started again some time.
func (s *stage) awaitVerify(ctx context.Context) error {
	for limit := time.Now().Add(settleTime); ; {
		err := s.verify(ctx)
		if err == nil || time.Now().After(limit) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// bootsOf are the processes that answered, in order.
func bootsOf(all []exchange) (boots []string) {
	for _, e := range all {
		if boot, _, ok := strings.Cut(e.Value, " "); ok && !slices.Contains(boots, boot) {
			boots = append(boots, boot)
		}
	}
	return boots
}

// lazyDaemons are the processes of CRIU that fetch the pages of an operation, "" of any.
func lazyDaemons(op string) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well formed
	for _, line := range lines {
		text, _ := os.ReadFile(line)
		args := strings.Split(string(text), "\x00")
		if !slices.Contains(args, "lazy-pages") || !strings.Contains(string(text), "/op/"+op) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(line)))
		pids = append(pids, pid)
	}
	return pids
}
