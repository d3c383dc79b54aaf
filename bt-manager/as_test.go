package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	"sonic-netservices/internal/sim"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// asManager makes the test's own binary be bt-manager: a real process, to be killed.
const asManager = "TEST_AS_BT_MANAGER"

func TestMain(m *testing.M) {
	if os.Getenv(asManager) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const leader = "leaf3"

// as is one AS: a bt-manager process, a Redis as on its switch, and simulated agents.
type as struct {
	*testing.T
	site    *sim.Site
	redis   *dbtest.Switch
	agents  map[string]*sim.Agent
	addr    string
	dir     string
	alice   api.ManagerClient
	manager *exec.Cmd // nil: dead
	flags   []string
	lives   int // of the manager
}

// newAS raises an AS whose manager decides quickly. Nodes have four cores each.
func newAS(t *testing.T, nodes ...string) *as {
	t.Helper()
	a := &as{T: t, redis: dbtest.Start(t), agents: map[string]*sim.Agent{}, addr: freeAddress(t), dir: t.TempDir()}
	a.redis.Redis(t, "4", "HSET", "NETSERVICES|policy", "samples", "1", "period_ms", "200", "cool_down", "0", "gap", "100")
	dbs, err := sonicdb.Open(a.redis.Root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dbs.Close() })
	db, err := resourdb.Open(t.Context(), dbs)
	if err != nil {
		t.Fatal(err)
	}
	if a.site, err = sim.NewSite(t.TempDir(), a.addr, leader, db); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.site.Close)
	folder, err := a.site.PKI(leader, pki.Manager)
	if err != nil {
		t.Fatal(err)
	}
	a.flags = []string{"-node", leader, "-listen", a.addr, "-journal", "127.0.0.1:0", "-pki", folder, "-dir", a.dir, "-redis-root", a.redis.Root, "-groot", freePair(t)}
	a.start()
	t.Cleanup(a.kill)
	id, err := a.site.Identity("alice", pki.Operator)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := daemon.Dial(a.addr, id.Client(leader, pki.Manager), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	a.alice = api.NewManagerClient(conn)
	for _, node := range nodes {
		if a.agents[node], err = a.site.Agent(node, 4); err != nil {
			t.Fatal(err)
		}
	}
	a.image()
	return a
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// freePair is an address whose port and the next one are free.
func freePair(t *testing.T) string {
	t.Helper()
	for range 20 {
		first := freeAddress(t)
		host, port, _ := net.SplitHostPort(first)
		n, _ := strconv.Atoi(port)
		next, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(n+1)))
		if err == nil {
			next.Close()
			return first
		}
	}
	t.Fatal("no two ports in a row are free")
	return ""
}

// start runs the manager; what it says goes to a file.
func (a *as) start() {
	a.Helper()
	self, err := os.Executable()
	if err != nil {
		a.Fatal(err)
	}
	said, err := os.OpenFile(a.said(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.Fatal(err)
	}
	defer said.Close()
	a.manager = exec.Command(self, a.flags...)
	a.manager.Env = append(os.Environ(), asManager+"=1")
	a.manager.Stdout, a.manager.Stderr = said, said
	a.manager.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.manager.Start(); err != nil {
		a.Fatal(err)
	}
	a.lives++
}

func (a *as) said() string { return filepath.Join(a.dir, "said") }

// kill is kill -9.
func (a *as) kill() {
	if a.manager != nil {
		_ = a.manager.Process.Kill()
		_ = a.manager.Wait()
		a.manager = nil
	}
}

// image gives the manager the image kms:1.0.
func (a *as) image() {
	a.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	config := `{"os":"linux","rootfs":{"diff_ids":[]}}`
	for _, file := range [][2]string{{imageConfig, config}, {"manifest.json", fmt.Sprintf(`[{"Config":%q,"RepoTags":["kms:1.0"]}]`, imageConfig)}} {
		if err := w.WriteHeader(&tar.Header{Name: file[0], Size: int64(len(file[1])), Typeflag: tar.TypeReg}); err != nil {
			a.Fatal(err)
		}
		if _, err := io.WriteString(w, file[1]); err != nil {
			a.Fatal(err)
		}
	}
	w.Close()
	ctx, cancel := context.WithTimeout(a.Context(), patience)
	defer cancel()
	stream, err := a.alice.LoadImage(ctx)
	if err == nil {
		err = stream.Send(&api.Chunk{Data: b.Bytes()})
	}
	if err == nil {
		_, err = stream.CloseAndRecv()
	}
	if err != nil {
		a.Fatalf("load image: %v\n%s", err, a.tail())
	}
}

// imageConfig is named by its own SHA-256.
const imageConfig = "bc8a9fe31d490085201fbcef1e19f316a1f814efb629139a3b18ac3ef5b14413.json"

// deploy runs a service of that many cores on a node.
func (a *as) deploy(name, address, node string, cores float64) {
	a.Helper()
	a.site.Demand(name, cores)
	ctx, cancel := context.WithTimeout(a.Context(), patience)
	defer cancel()
	spec := fmt.Sprintf("name: %s\nimage: kms:1.0\naddress: %s/24\ndemand: {compute: %g}\n", name, address, cores)
	a.until("the deployment of "+name, func() bool {
		stream, err := a.alice.Deploy(ctx, &api.DeployRequest{Spec: []byte(spec), Node: node})
		var last *api.Event
		for err == nil {
			var e *api.Event
			if e, err = stream.Recv(); err == nil {
				last = e
			}
		}
		if code := status.Code(err); code == codes.NotFound || code == codes.Unavailable { // its agent joins only now
			return false
		}
		if err != io.EOF || last.GetOutcome() != api.Outcome_COMMITTED {
			a.Fatalf("deploy: %v, %v\n%s", last, err, a.tail())
		}
		return true
	})
}

// patience bounds every wait.
const patience = 40 * time.Second

func (a *as) until(what string, holds func() bool) {
	a.Helper()
	for began := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > patience {
			a.Fatalf("waited %v for %s\n%s", patience, what, a.tail())
		}
	}
}

// untilSaid is until with what keeps it.
func (a *as) untilSaid(why *string, holds func() bool) {
	a.Helper()
	for began := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > patience {
			a.Fatalf("after %v: %s\n%s", patience, *why, a.tail())
		}
	}
}

// moves lists the newest operations that moved something, newest first.
func (a *as) moves() []*api.MoveView {
	ctx, cancel := context.WithTimeout(a.Context(), patience)
	defer cancel()
	list, err := a.alice.Moves(ctx, &api.MovesRequest{Most: 1000})
	if err != nil {
		a.Fatalf("moves: %v\n%s", err, a.tail())
	}
	return list.Moves
}

// away says what keeps a replica from being on that node and nowhere else, with nothing under way; "" = nothing.
func (a *as) away(id netmap.ReplicaID, node string) string {
	ctx, cancel := context.WithTimeout(a.Context(), 2*time.Second)
	defer cancel()
	list, err := a.alice.Services(ctx, &api.Empty{})
	if err != nil {
		return err.Error()
	}
	for _, s := range list.Services {
		if s.Name != id.Service {
			continue
		}
		if s.Problem != "" || len(s.Instances) != 1 || s.Instances[0].Node != node || s.Instances[0].State != api.State_RUNNING {
			return fmt.Sprintf("the manager has %s at %v %s", id, s.Instances, s.Problem)
		}
	}
	for _, m := range a.moves() {
		if m.Outcome == api.Outcome_PENDING {
			return fmt.Sprintf("%s is at %s", m.Move.Op, m.Step)
		}
	}
	for name, agent := range a.agents {
		for _, i := range agent.Instances() {
			if i.Container == id.String() && (name != node || i.State != api.State_RUNNING) {
				return fmt.Sprintf("%s is %s on %s", id, i.State, name)
			}
		}
	}
	if copies := a.site.Segment.Copies(id); !slices.Equal(copies, []string{node}) || a.site.Segment.Owner(id) != node {
		return fmt.Sprintf("copies of %s are on %v, and %q serves", id, copies, a.site.Segment.Owner(id))
	}
	return ""
}

// clients ask all the time until the test ends.
func (a *as) clients(id netmap.ReplicaID) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			a.site.Segment.Request(id)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	a.Cleanup(func() { cancel(); <-ended })
}

// tail is the newest of what the manager said, and what the agents did.
func (a *as) tail() string {
	text, _ := os.ReadFile(a.said())
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	out := "bt-manager:\n" + strings.Join(lines[max(0, len(lines)-40):], "\n") + "\n"
	for _, name := range slices.Sorted(maps.Keys(a.agents)) {
		journal := a.agents[name].Journal()
		out += fmt.Sprintf("%s: %v\n%s\n", name, a.agents[name].Instances(), strings.Join(journal[max(0, len(journal)-8):], "\n"))
	}
	trace := a.site.Trace()
	for _, p := range trace[max(0, len(trace)-30):] {
		out += fmt.Sprintf("%s %s %s %s\n", p.Node, p.Op, p.Order, p.Place)
	}
	return out
}
