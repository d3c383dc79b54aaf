package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonic-netservices/sonic-vs/line"
	"sonic-netservices/sonic-vs/vswitch"
)

// TestMain: this test program is also the sonic-vs its nodes and helpers are started with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		root := &cobra.Command{SilenceUsage: true, SilenceErrors: true}
		root.AddCommand(Commands()...)
		root.AddCommand(vswitch.Command(), line.Command())
		os.Exit(ExitCode(root.ExecuteContext(context.Background())))
	}
	os.Exit(m.Run())
}

// TestUp raises the triangle, looks at it from outside and inside, kills a node, repairs, and takes it down.
func TestUp(t *testing.T) {
	const instance = "tbup"
	ctx := context.Background()
	clean(t, instance)
	out := t.TempDir()
	o := Options{Topology: triangle, Instance: instance, Restart: SONiCRestart(), Out: out}
	tb, err := Up(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	status, err := tb.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range status {
		if s.Pid == 0 || !s.Docker || !s.Redis {
			t.Errorf("after up: %+v", s)
		}
	}
	nsctl, err := os.ReadFile(filepath.Join(out, "nsctl.yaml"))
	if err != nil || !strings.Contains(string(nsctl), "netns: /run/netns/tbup-client\n") {
		t.Errorf("nsctl.yaml: %v\n%s", err, nsctl)
	}

	t.Run("exec", func(t *testing.T) {
		if got := say(t, tb.Exec(ctx, "leaf2", "hostname")); got != "leaf2" {
			t.Errorf("hostname of leaf2: %q", got)
		}
		if got := say(t, tb.Exec(ctx, "client", "cat", "/proc/net/dev")); !strings.Contains(got, clientPort+":") {
			t.Errorf("interfaces of the client:\n%s", got)
		}
		cat := tb.Exec(ctx, "leaf1", "cat")
		cat.Stdin = strings.NewReader("from outside")
		if got := say(t, cat); got != "from outside" {
			t.Errorf("through stdin: %q", got)
		}
		err := tb.Exec(ctx, "leaf1", "sh", "-c", "exit 7").Run()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Errorf("exit 7 came out as %v", err)
		}
		if err := tb.Exec(ctx, "leaf9", "true").Run(); err == nil {
			t.Error("exec on a node that is not there succeeded")
		}
	})

	t.Run("node", func(t *testing.T) {
		driver := say(t, tb.Exec(ctx, "leaf1", "docker", "info", "-f", "{{.Driver}} {{.DockerRootDir}}"))
		if driver != "overlay2 /var/lib/docker" {
			t.Errorf("docker stores in %q", driver)
		}
		if got := say(t, tb.Exec(ctx, "leaf1", "findmnt", "-no", "PROPAGATION", "/")); got != "shared" {
			t.Errorf("/ propagates as %q", got)
		}
		if got := say(t, tb.Exec(ctx, "leaf1", "cat", "/proc/1/cgroup")); strings.Contains(got, instance) {
			t.Errorf("the node sees cgroups above its own:\n%s", got)
		}
		say(t, tb.Exec(ctx, "leaf1", "sh", "-c", "echo here >/host/note && echo there >/var/run/note"))
		leaf1 := node(t, tb, "leaf1")
		for _, path := range []string{filepath.Join(leaf1.Dir, "host/note"), leaf1.Path("/host/note"), leaf1.Path("/var/run/note")} {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("the node's file from outside: %v", err)
			}
		}
		if _, err := os.Stat(node(t, tb, "leaf2").Path("/host/note")); err == nil {
			t.Error("leaf2 sees leaf1's file")
		}
		// Loopback to loopback: a port nobody listens on answers with a reset, and only the owner of the address does.
		for _, to := range tb.Nodes {
			if err := reachable(tb, "leaf1", to.Loopback.String()); err != nil {
				t.Errorf("leaf1 to %s: %v", to.Name, err)
			}
		}
	})

	t.Run("twice", func(t *testing.T) {
		again, err := Up(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(pids(again), pids(tb)) {
			t.Errorf("a second up changed PIDs %v to %v", pids(tb), pids(again))
		}
		other := o
		other.Restart.Sec = 1
		if _, err := Up(ctx, other); err == nil || !strings.Contains(err.Error(), "down it first") {
			t.Errorf("up with other settings: %v", err)
		}
	})

	t.Run("repair", func(t *testing.T) {
		say(t, tb.Exec(ctx, "leaf2", "ip", "link", "add", "left-over", "type", "bridge"))
		dead := node(t, tb, "leaf2")
		freezeInside(t, dead)
		if err := unix.Kill(dead.Pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		again, err := Up(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range again.Nodes {
			if raised := n.Pid != tb.Nodes[i].Pid; raised != (n.Name == "leaf2") || n.Pid == 0 {
				t.Errorf("%s: PID %d, was %d", n.Name, n.Pid, tb.Nodes[i].Pid)
			}
		}
		if links := say(t, again.Exec(ctx, "leaf2", "ip", "-br", "link")); strings.Contains(links, "left-over") || !strings.Contains(links, "Ethernet4") {
			t.Errorf("interfaces after the power cycle:\n%s", links)
		}
		for _, pair := range [][2]string{{"leaf1", "10.1.0.2"}, {"leaf3", "10.1.0.2"}, {"leaf2", "10.1.0.1"}} {
			if err := reachable(again, pair[0], pair[1]); err != nil {
				t.Errorf("%s to %s after the repair: %v", pair[0], pair[1], err)
			}
		}
	})

	stays := tb.Exec(ctx, "client", "sleep", "1000") // in no cgroup of the testbed
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // let it enter
	if err := Down(ctx, instance); err != nil {
		t.Fatal(err)
	}
	if err := stays.Wait(); err == nil {
		t.Error("a command in the client ended well although its testbed went down")
	}
	noTrace(t, instance)
	if _, err := os.Stat(filepath.Join(out, "nsctl.yaml")); err == nil {
		t.Error("nsctl.yaml stays")
	}
	if _, err := Load(instance); !errors.Is(err, ErrNotUp) {
		t.Errorf("load after down: %v", err)
	}
}

// clean makes sure an instance is not there before a test and not after it, whatever happens in between.
func clean(t *testing.T, instance string) {
	t.Helper()
	down := func() {
		if err := Down(context.Background(), instance); err != nil {
			t.Error(err)
		}
	}
	down()
	t.Cleanup(down)
}

func say(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func node(t *testing.T, tb *Testbed, name string) Node {
	t.Helper()
	n, err := tb.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func pids(tb *Testbed) []int {
	var all []int
	for _, n := range tb.Nodes {
		all = append(all, n.Pid)
	}
	return all
}

// reachable waits until an address answers from a node; the switch daemons set addresses and routes in their own time.
func reachable(tb *Testbed, from, addr string) error {
	return tb.InNetns(from, func() error {
		deadline := time.Now().Add(20 * time.Second)
		for {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			// A socket of our own, connected on this very thread: a dialer may try on another one.
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1})
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte(net.ParseIP(addr).To4())})
			unix.Close(fd)
			if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				return nil
			}
			if time.Now().After(deadline) {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// freezeInside freezes all of a node's processes but the first, in a cgroup inside the node, as a migration might when
// it is cut short.
func freezeInside(t *testing.T, n Node) {
	t.Helper()
	top, file, word := n.Cgroups["freezer"], "freezer.state", "FROZEN"
	if top == "" {
		top, file, word = n.Cgroups[""], "cgroup.freeze", "1"
	}
	dir := filepath.Join(top, "netservices")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pidsIn(top) {
		if pid != n.Pid {
			os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0o644) // it may just have ended
		}
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(word), 0o644); err != nil {
		t.Fatal(err)
	}
}

// noTrace looks everywhere an instance could have left something.
func noTrace(t *testing.T, instance string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/"+instance) {
			t.Errorf("mount stays: %s", line)
		}
	}
	patterns := []string{netnsPath(instance, "*"), dataDir(instance), filepath.Join(stateTop, instance)}
	all, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		patterns = append(patterns, h.dir(instance))
	}
	for _, p := range patterns {
		left, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range left {
			t.Errorf("%s stays", path)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; portName.MatchString(name) || name == "Loopback0" {
			t.Errorf("interface %s is on the host", name)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		left := processesOf(t, instance)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) { // the machine's init may take a while to reap
			t.Errorf("processes stay: %v", left)
			return
		}
	}
}

// processesOf lists processes in the instance's cgroups or with its name among their arguments.
func processesOf(t *testing.T, instance string) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, dir := range dirs {
		cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup")) // it may be gone by now
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if strings.Contains(string(cgroup), "/"+cgroupTop+"/"+instance+"/") || slices.Contains(strings.Split(string(args), "\x00"), instance) {
			all = append(all, fmt.Sprintf("%s %q", filepath.Base(dir), args))
		}
	}
	return all
}
