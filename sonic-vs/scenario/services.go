package scenario

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
)

// server is one that nobody here wrote, from a Debian package, with the protocol its clients speak.
type server struct {
	name    string // of examples/NAME
	address string
	first   string                                        // sent once before the load; its answer is one line
	guest   []string                                      // runs in the container, by docker exec, when it moves
	fresh   bool                                          // each request comes on a connection of its own
	ask     func(n int) string                            // request n
	answer  func(in *bufio.Reader, n int) (string, error) // what is kept of its answer
	judge   func(ctx context.Context, s *stage, home *node, talk []exchange) (string, error)
}

const redisAddress = "10.20.0.20:6379"

var servers = []server{
	{
		name: "redis", address: redisAddress,
		guest:  []string{"redis-cli", "-i", "1", "-r", "600", "ping"},
		ask:    func(int) string { return "INCR n\r\n" },
		answer: func(in *bufio.Reader, _ int) (string, error) { return numberLine(in, ":") },
		judge: func(ctx context.Context, s *stage, home *node, talk []exchange) (string, error) {
			if err := contiguous(talk); err != nil {
				return "", err
			}
			return fmt.Sprintf("INCR counted to %d, each once", len(talk)), s.redisLog(ctx, home, len(talk))
		},
	},
	{
		name: "memcached", address: "10.20.0.22:11211",
		first:  "set n 0 0 1\r\n0\r\n",
		ask:    func(int) string { return "incr n 1\r\n" },
		answer: func(in *bufio.Reader, _ int) (string, error) { return numberLine(in, "") },
		judge: func(_ context.Context, _ *stage, _ *node, talk []exchange) (string, error) {
			return fmt.Sprintf("incr counted to %d, each once, in memory alone", len(talk)), contiguous(talk)
		},
	},
	{
		name: "nginx", address: "10.20.0.21:80",
		ask: func(n int) string {
			return fmt.Sprintf("GET /worker?n=%d HTTP/1.1\r\nHost: nginx\r\n\r\n", n)
		},
		answer: workerAnswer,
		judge: func(ctx context.Context, s *stage, home *node, talk []exchange) (string, error) {
			pids, err := workers(talk)
			if err != nil {
				return "", err
			}
			lines, err := s.accessLog(ctx, home, talk)
			return fmt.Sprintf("workers %s answered, before and after; access.log has all %d lines", strings.Join(pids, " and "), lines), err
		},
	},
}

// services moves them under load, there and back and there again, and looks at every answer.
func services(ctx context.Context, s *stage) error {
	for _, v := range servers {
		if !s.wants(v.name, v.name != "memcached") {
			continue
		}
		if err := s.serve(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

// serverMoves of each server; the image is new to the target in the first only.
const serverMoves = 3

func (s *stage) serve(ctx context.Context, v server) error {
	tarball, err := images.Build(ctx, s.leader().docker, s.Repo, v.name)
	if err != nil {
		return err
	}
	if _, err := s.suite.Nsctl(ctx, "image", "load", tarball); err != nil {
		return err
	}
	if _, err := s.suite.Deploy(ctx, filepath.Join(s.Repo, "examples", v.name, v.name+".yaml"), homes[0]); err != nil {
		return err
	}
	defer s.suite.Nsctl(context.WithoutCancel(ctx), "remove", v.name)
	processes, err := s.processes(ctx, s.node(homes[0]), v.name+"-0")
	if err != nil {
		return err
	}
	talk, err := s.talk(ctx, v)
	if err != nil {
		return err
	}
	defer talk.end()
	if err := talk.pause(ctx, time.Second); err != nil {
		return err
	}
	home, moves := homes[0], serverMoves
	if s.Quick {
		moves = 1
	}
	for n := range moves {
		if v.guest != nil {
			command := append([]string{"docker", "exec", "--detach", v.name + "-0"}, v.guest...)
			if out, err := s.suite.Bed.Exec(ctx, s.node(home).Name, command...).CombinedOutput(); err != nil {
				return fmt.Errorf("docker exec: %w: %s", err, out)
			}
		}
		home = other(home)
		if _, err := s.suite.Migrate(ctx, v.name+"-0", home, string(netmap.Live)); err != nil {
			s.fault("%s: move %d to %s: %v", v.name, n+1, home, err)
			break
		}
		if err := talk.pause(ctx, time.Second); err != nil {
			return err
		}
	}
	all := talk.end()
	if err := writeTalk(filepath.Join(s.dir, v.name+".jsonl"), all); err != nil {
		return err
	}
	failed, broken, gap := summary(all)
	said, err := v.judge(ctx, s, s.node(home), all)
	if err != nil {
		s.fault("%s: %v", v.name, err)
	}
	if failed > 0 || broken > 0 {
		s.fault("%s: %d failed requests, %d broken connections", v.name, failed, broken)
	}
	after, err := s.processes(ctx, s.node(home), v.name+"-0")
	if err != nil {
		return err
	}
	if !slices.Equal(processes, after) {
		s.fault("%s: processes were %q and are %q", v.name, processes, after)
	}
	s.say("%-10s %d processes, %d moves: %d of %d requests failed, %d broken connections, longest gap %v; %s",
		v.name, len(after), moves, failed, len(all), broken, gap.Round(time.Millisecond), said)
	_, err = s.suite.Nsctl(ctx, "remove", v.name)
	return err
}

// processes of a container by their titles, as dockerd sees them.
func (s *stage) processes(ctx context.Context, n *node, name string) ([]string, error) {
	top, err := n.docker.ContainerTop(ctx, name, []string{"-eo", "pid,uid,args"})
	if err != nil {
		return nil, err
	}
	var list []string
	for _, p := range top.Processes {
		list = append(list, strings.Join(p[1:], " "))
	}
	slices.Sort(list)
	return list, nil
}

// numberLine reads a line that is a number behind a sign.
func numberLine(in *bufio.Reader, sign string) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), sign)
	if _, err := strconv.ParseUint(text, 10, 64); !ok || err != nil {
		return "", fmt.Errorf("answered %q", line)
	}
	return text, nil
}

// contiguous: a counter that was asked n times has said each of 1..n once.
func contiguous(talk []exchange) error {
	seen := make([]bool, len(talk)+1)
	for _, e := range talk {
		if e.Error != "" {
			return fmt.Errorf("request %d has no answer: %s", e.N, e.Error)
		}
		v, err := strconv.Atoi(e.Value)
		if err != nil || v < 1 || v > len(talk) {
			return fmt.Errorf("request %d was answered %s; %d were asked", e.N, e.Value, len(talk))
		}
		if seen[v] {
			return fmt.Errorf("%d was answered twice", v)
		}
		seen[v] = true
	}
	return nil
}

// redisLog asks Redis itself, and reads its append-only file.
func (s *stage) redisLog(ctx context.Context, home *node, n int) error {
	conn, err := s.dialTCP(ctx, redisAddress)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "INCRBY n 0\r\nWAITAOF 1 0 3000\r\n"); err != nil {
		return err
	}
	got, err := numberLine(bufio.NewReader(conn), ":")
	if err != nil {
		return err
	}
	if got != strconv.Itoa(n) {
		return fmt.Errorf("the counter is %s, %d were answered", got, n)
	}
	files, err := filepath.Glob(filepath.Join(s.suite.Volume(home.Node, "redis-0", "data"), "appendonlydir", "*.aof"))
	if err != nil {
		return err
	}
	sum := 0
	for limit := time.Now().Add(3 * time.Second); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) { // written each second
		if sum, err = increments(files); err != nil || sum == n {
			return err
		}
	}
	return fmt.Errorf("the append-only file has %d increments, %d were answered", sum, n)
}

// workerAnswer reads `<pid> <request id> <n>` out of nginx's answer.
func workerAnswer(in *bufio.Reader, n int) (string, error) {
	body, err := httpBody(in)
	if err != nil {
		return "", err
	}
	words := strings.Fields(body)
	if len(words) != 3 || words[2] != strconv.Itoa(n) {
		return "", fmt.Errorf("request %d was answered %q", n, body)
	}
	return words[0] + " " + words[1], nil
}

// workers are the processes that answered; no request id may come twice.
func workers(talk []exchange) (pids []string, err error) {
	seen := map[string]bool{}
	for _, e := range talk {
		if e.Error != "" {
			return nil, fmt.Errorf("request %d has no answer: %s", e.N, e.Error)
		}
		pid, id, _ := strings.Cut(e.Value, " ")
		if seen[id] {
			return nil, fmt.Errorf("request id %s was given twice", id)
		}
		seen[id] = true
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	if len(pids) > 2 {
		return nil, fmt.Errorf("workers %q answered: there are two", pids)
	}
	return pids, nil
}

// accessLog counts the lines of nginx's log in the container's own layer: one a request.
func (s *stage) accessLog(ctx context.Context, home *node, talk []exchange) (lines int, err error) {
	files, _, err := home.docker.CopyFromContainer(ctx, "nginx-0", "/var/log/nginx/access.log")
	if err != nil {
		return 0, err
	}
	defer files.Close()
	t := tar.NewReader(files)
	if _, err := t.Next(); err != nil {
		return 0, err
	}
	for in := bufio.NewScanner(t); in.Scan(); {
		if strings.Contains(in.Text(), "GET /worker?n=") {
			lines++
		}
	}
	if lines != len(talk) {
		return lines, fmt.Errorf("access.log has %d lines, %d requests were answered", lines, len(talk))
	}
	return lines, nil
}
