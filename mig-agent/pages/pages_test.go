package pages

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
)

// TestMain is also the keeper: the runtime's executable of the test's host is this test.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "pages" {
		if err := Keep(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// source is a helper with a page server beside it, which answers a line with "page".
type source struct {
	*Server
	ca, addr string
}

func newSource(t *testing.T) source {
	t.Helper()
	s := source{ca: t.TempDir()}
	if err := pki.Init(s.ca, "65100"); err != nil {
		t.Fatal(err)
	}
	id, err := pki.Load(s.certificate(t, "leaf1"), pki.Node)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(journal.Record{Op: "op", Role: journal.Source, Step: journal.Prepared,
		Facts: &journal.Facts{Kind: "move", Peer: "leaf2", Lazy: true}}); err != nil {
		t.Fatal(err)
	}
	s.Server = NewServer(j)
	srv := daemon.NewServer(append(pki.Guard(Rules), grpc.Creds(id.Server()))...)
	api.RegisterPagesServer(srv, s.Server)
	s.addr = listen(t, func(ln net.Listener) { srv.Serve(ln) })
	t.Cleanup(srv.Stop)
	pages := listen(t, func(ln net.Listener) {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for in := bufio.NewScanner(conn); in.Scan(); {
			conn.Write([]byte("page\n"))
		}
	})
	if err := s.Open("op", pages); err != nil {
		t.Fatal(err)
	}
	return s
}

func listen(t *testing.T, serve func(net.Listener)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go serve(ln)
	return ln.Addr().String()
}

// certificate of a node, as a folder.
func (s source) certificate(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := pki.Issue(s.ca, dir, name, []pki.Role{pki.Node}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// target is a host with the daemon of testdata.
func newTarget(t *testing.T) engine.Host {
	t.Helper()
	dir := t.TempDir()
	h := engine.Host{Dir: dir, Proc: "/proc", Cgroups: "/sys/fs/cgroup"}
	for _, d := range []string{filepath.Join(dir, "bin"), filepath.Join(dir, "path"), h.ImageFolder("op")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	criu, err := filepath.Abs("testdata/criu")
	if err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{filepath.Join(dir, "bin", engine.RuntimeFile): self, filepath.Join(dir, "path/criu"): criu} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", filepath.Join(dir, "path")+":"+os.Getenv("PATH"))
	return h
}

func start(t *testing.T, h engine.Host, s source, name string) *Keeper {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	k, err := Start(ctx, h, Order{Op: "op", Container: strings.Repeat("0", 64), From: s.addr, Node: "leaf1", PKI: s.certificate(t, name)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// ended is how the keeper says that it ended.
func ended(t *testing.T, h engine.Host) engine.Paged {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		p, over, err := h.ReadPaged("op")
		if err != nil {
			t.Fatal(err)
		}
		if over {
			return p
		}
	}
	text, _ := os.ReadFile(filepath.Join(h.OpFolder("op"), "pages.log"))
	t.Fatalf("the keeper does not end: %s", text)
	return engine.Paged{}
}

// tell lets the daemon of testdata ask for its page.
func tell(t *testing.T, h engine.Host) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.ImageFolder("op"), "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// daemonPID of the daemon of testdata.
func daemonPID(t *testing.T, h engine.Host) (pid int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.ImageFolder("op"), "pid"))
	if err == nil {
		_, err = fmt.Sscan(string(text), &pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// A page goes from the page server through both processes to the daemon, whatever becomes of the helper that started it.
func TestFetch(t *testing.T) {
	s, h := newSource(t), newTarget(t)
	k := start(t, h, s, "leaf2")
	if err := k.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.Close() // as a helper that dies
	tell(t, h)
	if p := ended(t, h); p.Error != "" {
		t.Errorf("it ended with %q", p.Error)
	}
	// Too late is as good: all is there.
	if err := k.Hold(t.Context()); err != nil {
		t.Errorf("hold after the end: %v", err)
	}
}

// A daemon that dies leaves a reason, and no keeper.
func TestDaemonKilled(t *testing.T) {
	s, h := newSource(t), newTarget(t)
	start(t, h, s, "leaf2")
	if err := syscall.Kill(daemonPID(t, h), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if p := ended(t, h); !strings.Contains(p.Error, "killed") {
		t.Errorf("it ended with %q", p.Error)
	}
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if lock, err := h.LockPages("op"); err == nil {
			lock.Close()
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the keeper is still there")
		}
	}
}

// The source is lost: so is what did not come.
func TestSourceLost(t *testing.T) {
	s, h := newSource(t), newTarget(t)
	start(t, h, s, "leaf2")
	for limit := time.Now().Add(20 * time.Second); !s.isFetched("op"); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("nobody fetches")
		}
	}
	s.Close("op") // as a source that takes the move back while the target fetches, too
	tell(t, h)
	if p := ended(t, h); p.Error == "" {
		t.Error("it ended well without its page")
	}
}

func (s *Server) isFetched(op string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[op] != nil && s.conns[op].fetched
}

// A move that is taken back takes the daemon with it.
func TestForgotten(t *testing.T) {
	s, h := newSource(t), newTarget(t)
	start(t, h, s, "leaf2")
	pid := daemonPID(t, h)
	if err := h.Forget("op"); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the daemon is still there")
		}
	}
}

// A daemon that cannot begin says why, at once.
func TestNoDaemon(t *testing.T) {
	s, h := newSource(t), newTarget(t)
	t.Setenv("FAIL", "no inventory")
	_, err := Start(t.Context(), h, Order{Op: "op", From: s.addr, Node: "leaf1", PKI: s.certificate(t, "leaf2")})
	if err == nil || !strings.Contains(err.Error(), "no inventory") {
		t.Errorf("got %v", err)
	}
}

// Pages are for the op's target alone, and once.
func TestWhoseFetch(t *testing.T) {
	s := newSource(t)
	fetch := func(name, op string) error {
		t.Helper()
		id, err := pki.Load(s.certificate(t, name), pki.Node)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := daemon.Dial(s.addr, id.Client("leaf1", pki.Node))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stream, err := api.NewPagesClient(conn).Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&api.PageBytes{Op: op}); err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&api.PageBytes{Data: []byte("give\n")}); err != nil {
			return err
		}
		m, err := stream.Recv()
		if err == nil && string(m.Data) != "page\n" {
			t.Errorf("%s got %q", name, m.Data)
		}
		return err
	}
	for _, c := range []struct {
		name, op string
		want     codes.Code
	}{
		{"leaf3", "op", codes.PermissionDenied},
		{"leaf2", "other", codes.NotFound},
		{"leaf2", "../op", codes.InvalidArgument},
		{"leaf2", "op", codes.OK},
		{"leaf2", "op", codes.FailedPrecondition},
	} {
		if err := fetch(c.name, c.op); status.Code(err) != c.want {
			t.Errorf("%s fetches %s: %v, want %v", c.name, c.op, err, c.want)
		}
	}
}
