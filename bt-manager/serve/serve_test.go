package serve

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
)

// site is one AS: a CA and a running bt-manager on leaf3.
type site struct {
	t     *testing.T
	ca    string
	dir   string // the manager's
	addr  string
	dbs   *sonicdb.Set
	views Views
	stop  func()
}

func newSite(t *testing.T, dbs *sonicdb.Set) *site {
	s := &site{t: t, ca: newCA(t), dir: t.TempDir(), dbs: dbs}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func newCA(t *testing.T) string {
	t.Helper()
	ca := t.TempDir()
	if err := pki.Init(ca, "65100"); err != nil {
		t.Fatal(err)
	}
	return ca
}

// start runs bt-manager on a free port.
func (s *site) start() {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	ln.Close()
	ctx, cancel := context.WithCancel(context.Background())
	c := Config{Node: "leaf3", Listen: s.addr, Journal: "127.0.0.1:0", PKI: s.pki("leaf3", pki.Manager), Dir: s.dir, Views: s.views}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, s.dbs) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("run: %v", err)
		}
	})
}

func (s *site) pki(name string, role pki.Role) string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), name)
	if err := pki.Issue(s.ca, dir, name, []pki.Role{role}); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *site) identity(name string, role pki.Role) *pki.Identity {
	s.t.Helper()
	id, err := pki.Load(s.pki(name, role), role)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// client speaks to the manager under a name.
func (s *site) client(name string, role pki.Role) api.ManagerClient {
	s.t.Helper()
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(s.identity(name, role).Client("leaf3", pki.Manager)),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return api.NewManagerClient(conn)
}

// node is an agent that does everything at once, and remembers how operations ended.
type node struct {
	api.UnimplementedAgentServer
	api.UnimplementedWitnessServer
	mu       sync.Mutex
	outcomes map[string]api.Outcome
}

func (n *node) Inventory(context.Context, *api.Empty) (*api.InventoryReply, error) {
	return &api.InventoryReply{Images: []*api.Image{{Id: imageID}}}, nil
}

func (n *node) Do(o *api.Order, stream grpc.ServerStreamingServer[api.Event]) error {
	e := &api.Event{Op: o.Op, Done: true, Outcome: api.Outcome_COMMITTED}
	if o.GetCutover() != nil {
		e.Move = &api.Move{SwitchToReleaseMs: 150.5, CheckpointBytes: 1000, VolumeBytes: 24}
	}
	return stream.Send(e)
}

func (n *node) answer(op string) (*api.OutcomeReply, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &api.OutcomeReply{Outcome: n.outcomes[op]}, nil
}

func (n *node) Ask(_ context.Context, r *api.OpRef) (*api.OutcomeReply, error) { return n.answer(r.Op) }
func (n *node) Outcome(_ context.Context, r *api.OpRef) (*api.OutcomeReply, error) {
	return n.answer(r.Op)
}

// join starts a node's agent and helper and announces them. It gives the servers, to be killed by the test.
func (s *site) join(name string) (n *node, agent, helper *grpc.Server) {
	s.t.Helper()
	n = &node{outcomes: map[string]api.Outcome{}}
	agent, agentAddr := s.listen(name, func(r grpc.ServiceRegistrar) { api.RegisterAgentServer(r, n) })
	helper, helperAddr := s.listen(name, func(r grpc.ServiceRegistrar) { api.RegisterWitnessServer(r, n) })
	stream, err := s.client(name, pki.Node).Join(s.t.Context(), &api.Hello{
		Node: name, Address: "10.1.0.1", Agent: agentAddr, Helper: helperAddr, Api: 1, Modes: []string{"live", "cold"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		s.t.Fatal(err)
	}
	return n, agent, helper
}

func (s *site) listen(name string, register func(grpc.ServiceRegistrar)) (*grpc.Server, string) {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(s.identity(name, pki.Node).Server()))
	register(srv)
	go srv.Serve(ln)
	s.t.Cleanup(srv.Stop)
	return srv, ln.Addr().String()
}

const imageConfig = `{"os":"linux","rootfs":{"diff_ids":[]}}`

var imageID = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(imageConfig)))

// load gives the manager the image kms:1.0.
func (s *site) load() {
	s.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	config := strings.TrimPrefix(imageID, "sha256:") + ".json"
	manifest := fmt.Sprintf(`[{"Config":%q,"RepoTags":["kms:1.0"]}]`, config)
	for name, text := range map[string]string{config: imageConfig, "manifest.json": manifest} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			s.t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			s.t.Fatal(err)
		}
	}
	w.Close()
	image, err := s.send(b.Bytes())
	if err != nil || image.Id != imageID || image.Name != "kms:1.0" {
		s.t.Fatalf("load image: %v, %v", image, err)
	}
}

func (s *site) send(tar []byte) (*api.Image, error) {
	stream, err := s.client("alice", pki.Operator).LoadImage(s.t.Context())
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&api.Chunk{Data: tar}); err != nil {
		return nil, err
	}
	return stream.CloseAndRecv()
}

// do reads a stream of events to its end and gives the last one.
func do(t *testing.T, stream grpc.ServerStreamingClient[api.Event], err error) *api.Event {
	t.Helper()
	var last *api.Event
	for err == nil {
		var e *api.Event
		if e, err = stream.Recv(); err == nil {
			last = e
		}
	}
	if err != io.EOF || !last.GetDone() || last.Outcome != api.Outcome_COMMITTED {
		t.Fatalf("ended with %v, %v", last, err)
	}
	return last
}

const kms = "name: kms\nimage: kms:1.0\naddress: 10.20.0.10/24\nsecrets: {TOKEN: hush}\nprobe: {http: \":8080/healthz\"}\n"

func TestMembers(t *testing.T) {
	s := newSite(t, nil)
	leaf1 := s.client("leaf1", pki.Node)
	hello := func(node, addr string) *api.Hello {
		return &api.Hello{Node: node, Address: addr, Agent: addr + ":7302", Helper: addr + ":7303", Api: 1}
	}
	first, err := leaf1.Join(t.Context(), hello("leaf1", "10.1.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	wantMembers(t, first, "epoch 1: leaf1")
	second, err := s.client("leaf2", pki.Node).Join(t.Context(), hello("leaf2", "10.1.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	wantMembers(t, second, "epoch 1: leaf1 leaf2")
	wantMembers(t, first, "epoch 1: leaf1 leaf2")

	for _, c := range []struct {
		hello *api.Hello
		code  codes.Code
		want  string
	}{
		{hello("leaf2", "10.1.0.1"), codes.PermissionDenied, "certificate of leaf1 cannot join as leaf2"},
		{&api.Hello{Node: "leaf1", Agent: "10.1.0.1", Helper: "10.1.0.1:1"}, codes.InvalidArgument, `agent: "10.1.0.1": want host:port`},
		{hello("leaf1", "10.1.0.9"), codes.AlreadyExists, "node leaf1 is here already, at 10.1.0.1"},
	} {
		stream, err := leaf1.Join(t.Context(), c.hello)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v\nwant %v %q", err, c.code, c.want)
		}
	}
	if _, err := s.client("alice", pki.Operator).Outcome(t.Context(), &api.OpRef{Op: "x"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an operator asks for an outcome: %v", err)
	}

	// Members survive a restart of the manager, which begins a new epoch.
	s.stop()
	if _, err := first.Recv(); err == nil {
		t.Error("the stream outlives the manager")
	}
	s.start()
	third, err := s.client("leaf2", pki.Node).Join(t.Context(), hello("leaf2", "10.1.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	wantMembers(t, third, "epoch 2: leaf1 leaf2")
}

func wantMembers(t *testing.T, stream grpc.ServerStreamingClient[api.Members], want string) {
	t.Helper()
	m, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("epoch %d:", m.Epoch)
	for _, h := range m.Members {
		got += " " + h.Node
	}
	if got != want {
		t.Errorf("members %q, want %q", got, want)
	}
}

// TestOutcome: the source's agent knows best, then the journal that its helper reads, then the manager's own record.
func TestOutcome(t *testing.T) {
	s := newSite(t, nil)
	leaf1, agent, helper := s.join("leaf1")
	s.join("leaf2")
	s.load()
	alice, target := s.client("alice", pki.Operator), s.client("leaf2", pki.Node)
	stream, err := alice.Deploy(t.Context(), &api.DeployRequest{Spec: []byte(kms), Node: "leaf1"})
	do(t, stream, err)
	stream, err = alice.Migrate(t.Context(), &api.MigrateRequest{Service: "kms", To: "leaf2"})
	op := do(t, stream, err).Op

	outcome := func(want api.Outcome) {
		t.Helper()
		reply, err := target.Outcome(t.Context(), &api.OpRef{Op: op})
		if err != nil || reply.Outcome != want {
			t.Errorf("outcome %v, %v; want %v", reply, err, want)
		}
	}
	outcome(api.Outcome_COMMITTED) // own record: the agent knows nothing of it
	leaf1.mu.Lock()
	leaf1.outcomes[op] = api.Outcome_ABORTED // not what the manager thinks
	leaf1.mu.Unlock()
	outcome(api.Outcome_ABORTED)
	agent.Stop()
	outcome(api.Outcome_ABORTED)
	helper.Stop()
	outcome(api.Outcome_COMMITTED)
	if reply, err := target.Outcome(t.Context(), &api.OpRef{Op: "never"}); err != nil || reply.Outcome != api.Outcome_UNKNOWN {
		t.Errorf("unknown operation: %v, %v", reply, err)
	}
}

func TestBadInput(t *testing.T) {
	s := newSite(t, nil)
	if _, err := s.send([]byte(strings.Repeat("no tar ", 200))); status.Code(err) != codes.InvalidArgument {
		t.Errorf("load of no image: %v", err)
	}
	stream, err := s.client("alice", pki.Operator).Deploy(t.Context(), &api.DeployRequest{File: "kms.yaml", Spec: []byte("name: kms\nnmae: x\n")})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "kms.yaml:2:1: nmae: unknown field; did you mean name?") {
		t.Errorf("bad spec: %v", err)
	}
	_, err = s.client("leaf2", pki.Node).Services(t.Context(), &api.Empty{})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a node asks for services: %v", err)
	}
}

// TestRows: resour_DB shows what the manager knows, and no secret.
func TestRows(t *testing.T) {
	sw := dbtest.Start(t)
	dbs, err := sonicdb.Open(sw.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer dbs.Close()
	s := newSite(t, dbs)
	s.join("leaf1")
	s.join("leaf2")
	s.load()
	alice := s.client("alice", pki.Operator)
	stream, err := alice.Deploy(t.Context(), &api.DeployRequest{Spec: []byte(kms), Node: "leaf1"})
	do(t, stream, err)
	stream, err = alice.Migrate(t.Context(), &api.MigrateRequest{Service: "kms", To: "leaf2"})
	op := do(t, stream, err).Op

	row := func(key string) string { return sw.Redis(t, "7", "HGETALL", key) }
	for key, fields := range map[string][]string{
		"RESOUR_MANAGER|leader":  {"leaf3", s.addr, `"epoch"`},
		"RESOUR_SERVICE|kms":     {"kms:1.0", imageID, "10.20.0.10/24", "http :8080/healthz"},
		"RESOUR_POLICY|kms|0":    {"leaf2", "operator's order"},
		"RESOUR_MIGRATION|" + op: {"leaf1", "leaf2", "live", "committed", "150.5", `"1024"`, "packets_held", `switch_to_release_ms`},
	} {
		eventually(t, key, func() bool {
			text := row(key)
			for _, f := range fields {
				if !strings.Contains(text, f) {
					return false
				}
			}
			return true
		})
	}
	if text := row("RESOUR_SERVICE|kms"); strings.Contains(text, "hush") {
		t.Errorf("a secret is in the database:\n%s", text)
	}
	stream, err = alice.Remove(t.Context(), &api.RemoveRequest{Service: "kms"})
	do(t, stream, err)
	eventually(t, "rows to go", func() bool {
		return !strings.Contains(row("RESOUR_SERVICE|kms")+row("RESOUR_POLICY|kms|0"), "kms")
	})
}

// TestStopLeavesNothing: Run ends with its context and leaves no goroutine, nor a locked journal.
func TestStopLeavesNothing(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) }) // after all other cleanups
	s := newSite(t, nil)
	if _, err := s.client("bob", pki.Viewer).Services(t.Context(), &api.Empty{}); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.start()
	if list, err := s.client("bob", pki.Viewer).Services(t.Context(), &api.Empty{}); err != nil || list.Epoch != 2 || list.Manager != "leaf3" {
		t.Errorf("after a restart: %v, %v", list, err)
	}
}
