// Package e2e runs n2n-supernode as a process among ntop's edges and supernodes, each in a network namespace of its own.
//
// It reads out/ntop, which build/setup.sh has unpacked, makes namespaces and takes them away again, and is told by go test.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sonic-netservices/internal/n2n/bed"
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

// stage is a bed with the programs to run on it.
type stage struct{ *bed.Bed }

func raise(t *testing.T, hosts ...string) stage {
	t.Helper()
	if _, err := os.Stat(filepath.Join(ntop, "edge")); err != nil {
		t.Fatalf("ntop's programs are not there, run build/setup.sh: %v", err)
	}
	return stage{bed.Raise(t, hosts...)}
}

func (b stage) start(host, program string, args ...string) *bed.Process {
	b.T.Helper()
	return b.Start(b.Command(host, program, args...))
}

// supernode starts ours, and waits for it: an edge of ntop that finds no TCP port gives up.
func (b stage) supernode(host string, args ...string) *bed.Process {
	b.T.Helper()
	p := b.start(host, supernode, append([]string{"-redis-root", "", "-manage", "none", "-mac", "02:00:00:00:00:01"}, args...)...)
	b.metric(host, "n2n_supernode_edges")
	return p
}

func (b stage) edge(host string, n int, args ...string) *bed.Process {
	b.T.Helper()
	return b.start(host, filepath.Join(ntop, "edge"), append([]string{"-f", "-a", fmt.Sprintf("static:10.99.0.%d/24", n),
		"-m", fmt.Sprintf("02:00:00:00:00:%02x", n), "-d", "n2n0", "-I", host}, args...)...)
}

// await tries until it works.
func (b stage) await(what string, within time.Duration, try func() error) {
	b.T.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	b.T.Fatalf("%s: not within %v: %v", what, within, err)
}

// ping waits until ten questions in a row have ten answers: when a straight way is found one may be lost.
func (b stage) ping(from, to string) {
	b.T.Helper()
	b.await(from+" reaches "+to, 40*time.Second, func() error {
		if err := b.Command(from, "ping", "-c1", "-W1", to).Run(); err != nil {
			return err
		}
		out, err := b.Command(from, "ping", "-c10", "-i0.05", "-W2", to).CombinedOutput()
		if err == nil && !strings.Contains(string(out), " 0% packet loss") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

func (b stage) both() {
	b.T.Helper()
	b.ping("alice", "10.99.0.3")
	b.ping("bob", "10.99.0.2")
}

func (b stage) file(name, text string) string {
	b.T.Helper()
	path := filepath.Join(b.T.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.T.Fatal(err)
	}
	return path
}

// metric reads one number of the supernode's metrics, when they are there.
func (b stage) metric(host, name string) (value string) {
	b.T.Helper()
	b.await("metric "+name, 10*time.Second, func() error {
		out, err := b.Command(host, "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/7308; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`).Output()
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
