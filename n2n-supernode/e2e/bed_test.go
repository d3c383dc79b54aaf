// Package e2e runs n2n-supernode as a process among ntop's edges and supernodes, each in a network namespace of its own.
//
// It reads out/ntop, which build/setup.sh has unpacked, makes namespaces and takes them away again, and is told by go test.
package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	ntop      = "../../out/ntop"
	supernode string // our program
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "n2n-supernode-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	supernode = filepath.Join(dir, "n2n-supernode")
	if out, err := exec.Command("go", "build", "-o", supernode, "sonic-netservices/n2n-supernode").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	if ntop, err = filepath.Abs(ntop); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// bed is a bridge with hosts at 192.0.2.1, .2, ...
type bed struct {
	t     *testing.T
	name  string
	hosts map[string]string // by name: namespace
}

func raise(t *testing.T, hosts ...string) *bed {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	if _, err := os.Stat(filepath.Join(ntop, "edge")); err != nil {
		t.Fatalf("ntop's programs are not there, run build/setup.sh: %v", err)
	}
	b := &bed{t: t, name: fmt.Sprintf("sne%d", os.Getpid()%100000), hosts: map[string]string{}}
	b.space("br")
	b.in("br", "ip", "link", "add", "br0", "type", "bridge")
	b.in("br", "ip", "link", "set", "br0", "up")
	for i, h := range hosts {
		b.space(h)
		b.in("br", "ip", "link", "add", "p"+h, "type", "veth", "peer", "name", "eth0", "netns", b.hosts[h])
		b.in("br", "ip", "link", "set", "p"+h, "master", "br0", "up")
		b.in(h, "ip", "addr", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", "eth0")
		b.in(h, "ip", "link", "set", "eth0", "up")
	}
	return b
}

func (b *bed) space(host string) {
	b.t.Helper()
	b.hosts[host] = b.name + host
	if out, err := exec.Command("ip", "netns", "add", b.hosts[host]).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	b.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", b.hosts[host]).Run() })
	b.in(host, "ip", "link", "set", "lo", "up")
}

func (b *bed) command(host, program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", b.hosts[host], program}, args...)...)
}

func (b *bed) in(host, program string, args ...string) string {
	b.t.Helper()
	out, err := b.command(host, program, args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %s %s: %v\n%s", host, program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// process is one that runs until the test ends it.
type process struct {
	*exec.Cmd
	log *bytes.Buffer
}

func (b *bed) start(host, program string, args ...string) *process {
	b.t.Helper()
	p := &process{b.command(host, program, args...), &bytes.Buffer{}}
	p.Stdout, p.Stderr = p.log, p.log
	if err := p.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if b.t.Failed() {
			b.t.Logf("%s %s:\n%s", host, filepath.Base(program), p.log)
		}
	})
	return p
}

func (p *process) end(signal syscall.Signal) {
	if p.ProcessState != nil {
		return
	}
	_ = p.Process.Signal(signal)
	kill := time.AfterFunc(5*time.Second, func() { _ = p.Process.Kill() })
	_ = p.Wait()
	kill.Stop()
}

// supernode starts ours, and waits for it: an edge of ntop that finds no TCP port gives up.
func (b *bed) supernode(host string, args ...string) *process {
	b.t.Helper()
	p := b.start(host, supernode, append([]string{"-redis-root", "", "-manage", "none", "-mac", "02:00:00:00:00:01"}, args...)...)
	b.metric(host, "n2n_supernode_edges")
	return p
}

func (b *bed) edge(host string, n int, args ...string) *process {
	b.t.Helper()
	return b.start(host, filepath.Join(ntop, "edge"), append([]string{"-f", "-a", fmt.Sprintf("static:10.99.0.%d/24", n),
		"-m", fmt.Sprintf("02:00:00:00:00:%02x", n), "-d", "n2n0", "-I", host}, args...)...)
}

// await tries until it works.
func (b *bed) await(what string, within time.Duration, try func() error) {
	b.t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	b.t.Fatalf("%s: not within %v: %v", what, within, err)
}

// ping waits until ten questions in a row have ten answers: when a straight way is found one may be lost.
func (b *bed) ping(from, to string) {
	b.t.Helper()
	b.await(from+" reaches "+to, 40*time.Second, func() error {
		if err := b.command(from, "ping", "-c1", "-W1", to).Run(); err != nil {
			return err
		}
		out, err := b.command(from, "ping", "-c10", "-i0.05", "-W2", to).CombinedOutput()
		if err == nil && !strings.Contains(string(out), " 0% packet loss") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

func (b *bed) both() {
	b.t.Helper()
	b.ping("alice", "10.99.0.3")
	b.ping("bob", "10.99.0.2")
}

func (b *bed) file(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// metric reads one number of the supernode's metrics, when they are there.
func (b *bed) metric(host, name string) (value string) {
	b.t.Helper()
	b.await("metric "+name, 10*time.Second, func() error {
		out, err := b.command(host, "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/7308; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`).Output()
		for line := range strings.Lines(string(out)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
				value = v
				return nil
			}
		}
		return fmt.Errorf("%v: %s", err, out)
	})
	return value
}

const (
	users = `login
* alice 6wSAUofwI7AnM5mHTK31o6Ai9sdUcBZ6-cn70v2f1dq
* bob ultXdJjYNYsoK6obcXW8J17GycyuByhXbtwUIhodK7m
`
	federationKey = "i0IuBFO0RC22m2Ya32uUUFUA2yfQSwsxVZ3-S5F2k7O" // of "Federation"
)
