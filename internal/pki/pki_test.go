package pki

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
)

// as makes a CA in a fresh folder.
func as(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := Init(dir, "65100"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// member issues a certificate and loads it as its holder would.
func member(t *testing.T, ca, name string, roles ...Role) *Identity {
	t.Helper()
	dir := t.TempDir()
	if err := Issue(ca, dir, name, roles); err != nil {
		t.Fatal(err)
	}
	id, err := Load(dir, roles[0])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// manager answers Services with the caller's name, and Outcome with nothing.
type manager struct{ api.UnimplementedManagerServer }

func (manager) Services(ctx context.Context, _ *api.Empty) (*api.ServiceList, error) {
	name, _, _ := Caller(ctx)
	return &api.ServiceList{Manager: name}, nil
}

func (manager) Deploy(_ *api.DeployRequest, stream grpc.ServerStreamingServer[api.Event]) error {
	return stream.Send(&api.Event{Done: true})
}

func serve(t *testing.T, id *Identity) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts := Guard(map[string][]Role{
		api.Manager_Services_FullMethodName: {Operator, Viewer},
		api.Manager_Deploy_FullMethodName:   {Operator},
	})
	srv := grpc.NewServer(append(opts, grpc.Creds(id.Server()))...)
	api.RegisterManagerServer(srv, manager{})
	go srv.Serve(ln)
	t.Cleanup(srv.Stop)
	return ln.Addr().String()
}

func dial(t *testing.T, addr string, id *Identity, server string, role Role) api.ManagerClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(id.Client(server, role)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return api.NewManagerClient(conn)
}

func TestCallerIsKnown(t *testing.T) {
	ca := as(t)
	addr := serve(t, member(t, ca, "leaf3", Manager, Node))
	client := dial(t, addr, member(t, ca, "alice", Viewer), "leaf3", Manager)
	list, err := client.Services(t.Context(), &api.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if list.Manager != "alice" {
		t.Errorf("caller %q, want alice", list.Manager)
	}
}

func TestGuard(t *testing.T) {
	ca := as(t)
	addr := serve(t, member(t, ca, "leaf3", Manager))
	leaf2 := dial(t, addr, member(t, ca, "leaf2", Node), "leaf3", Manager)
	alice := dial(t, addr, member(t, ca, "alice", Operator), "leaf3", Manager)

	deploy := func(c api.ManagerClient) error {
		stream, err := c.Deploy(t.Context(), &api.DeployRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	if err := deploy(alice); err != nil {
		t.Errorf("operator deploys: %v", err)
	}
	wantStatus(t, deploy(leaf2), codes.PermissionDenied, "certificate of leaf2 has role node; Deploy needs operator")
	_, err := leaf2.Services(t.Context(), &api.Empty{})
	wantStatus(t, err, codes.PermissionDenied, "certificate of leaf2 has role node; Services needs operator or viewer")
	_, err = alice.Outcome(t.Context(), &api.OpRef{})
	wantStatus(t, err, codes.PermissionDenied, "Outcome has no rule")
}

func TestServerIsChecked(t *testing.T) {
	ca := as(t)
	alice := member(t, ca, "alice", Operator)
	for _, c := range []struct {
		what, want string
		server     *Identity
	}{
		{"name", "certificate is valid for leaf2, not leaf3", member(t, ca, "leaf2", Manager)},
		{"role", "certificate of leaf3 has role node; the server must have role manager", member(t, ca, "leaf3", Node)},
		{"CA", "certificate signed by unknown authority", member(t, as(t), "leaf3", Manager)},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := dial(t, serve(t, c.server), alice, "leaf3", Manager).Services(t.Context(), &api.Empty{})
			wantStatus(t, err, codes.Unavailable, c.want)
		})
	}
}

func TestClientIsChecked(t *testing.T) {
	ca := as(t)
	addr := serve(t, member(t, ca, "leaf3", Manager))

	// A client of another AS: it trusts our CA (so that it gets as far as the server's answer) but shows its own certificate.
	stranger := member(t, as(t), "alice", Operator)
	stranger.ca = member(t, ca, "alice", Operator).ca
	if _, err := dial(t, addr, stranger, "leaf3", Manager).Services(t.Context(), &api.Empty{}); status.Code(err) != codes.Unavailable {
		t.Errorf("client of another CA: %v", err)
	}

	// A client whose certificate ran out while it was running.
	old := member(t, ca, "alice", Operator)
	old.cert.NotAfter = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	_, err := dial(t, addr, old, "leaf3", Manager).Services(t.Context(), &api.Empty{})
	wantStatus(t, err, codes.Unavailable, "operator.crt: expired on 2020-01-02T03:04:05Z")
}

func TestLoadRefuses(t *testing.T) {
	ca, now := as(t), time.Now()
	for _, c := range []struct {
		what, want string
		prepare    func(t *testing.T, dir string)
		role       Role
	}{
		{"expired", "node.crt: expired on 2021-02-03T00:00:00Z", func(t *testing.T, dir string) {
			end := time.Date(2021, 2, 3, 0, 0, 0, 0, time.UTC)
			must(t, issue(ca, dir, "leaf1", []Role{Node}, end.Add(-leafLife), end))
		}, Node},
		{"not yet valid", "node.crt: not valid before 2", func(t *testing.T, dir string) {
			must(t, issue(ca, dir, "leaf1", []Role{Node}, now.Add(leafLife), now.Add(2*leafLife)))
		}, Node},
		{"no file", "read CERTIFICATE: open", func(t *testing.T, dir string) {}, Node},
		{"other role", "certificate of leaf1 has role node, want manager", func(t *testing.T, dir string) {
			must(t, Issue(ca, dir, "leaf1", []Role{Node}))
			must(t, os.Rename(filepath.Join(dir, "node.crt"), filepath.Join(dir, "manager.crt")))
			must(t, os.Rename(filepath.Join(dir, "node.key"), filepath.Join(dir, "manager.key")))
		}, Manager},
		{"other CA", "node.crt: not signed by ca.crt beside it", func(t *testing.T, dir string) {
			must(t, Issue(ca, dir, "leaf1", []Role{Node}))
			other := t.TempDir()
			must(t, Init(other, "65200"))
			must(t, os.Rename(filepath.Join(other, "ca.crt"), filepath.Join(dir, "ca.crt")))
		}, Node},
		{"other key", "the key in node.key belongs to another certificate", func(t *testing.T, dir string) {
			must(t, Issue(ca, dir, "leaf1", []Role{Node, Manager}))
			must(t, os.Rename(filepath.Join(dir, "node.crt"), filepath.Join(dir, "keep")))
			must(t, Issue(ca, dir, "leaf1", []Role{Node}))
			must(t, os.Rename(filepath.Join(dir, "keep"), filepath.Join(dir, "node.crt")))
		}, Node},
		{"no PEM", "node.key: no PEM block of type PRIVATE KEY", func(t *testing.T, dir string) {
			must(t, Issue(ca, dir, "leaf1", []Role{Node}))
			must(t, os.WriteFile(filepath.Join(dir, "node.key"), []byte("hello\n"), 0o600))
		}, Node},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			_, err := Load(dir, c.role)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q in it", err, c.want)
			}
		})
	}
}

func TestInitKeepsACA(t *testing.T) {
	dir := as(t)
	before, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	must(t, err)
	if err := Init(dir, "65100"); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("second init: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	must(t, err)
	if string(before) != string(after) {
		t.Error("the CA's key changed")
	}
}

func TestIssueRefuses(t *testing.T) {
	ca := as(t)
	for _, c := range []struct {
		name  string
		roles []Role
		want  string
	}{
		{"", []Role{Node}, "a name holds letters"},
		{"leaf 1", []Role{Node}, "a name holds letters"},
		{"*.net", []Role{Node}, "a name holds letters"},
		{"leaf1", nil, "no role given"},
		{"leaf1", []Role{"king"}, `role "king": want node`},
		{"leaf1", []Role{Node, Node}, "role node given twice"},
	} {
		err := Issue(ca, t.TempDir(), c.name, c.roles)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("issue %q %v: got %v, want %q in it", c.name, c.roles, err, c.want)
		}
	}
}

func TestFilesAndRoles(t *testing.T) {
	ca, dir := as(t), t.TempDir()
	must(t, Issue(ca, dir, "leaf3.example", []Role{Manager, Node}))
	id, err := Load(dir, Manager)
	must(t, err)
	if id.Name != "leaf3.example" || !slices.Equal(id.Roles, []Role{Manager, Node}) {
		t.Errorf("loaded %s %v", id.Name, id.Roles)
	}
	for _, file := range []string{filepath.Join(dir, "manager.key"), filepath.Join(ca, "ca.key")} {
		info, err := os.Stat(file)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", file, info.Mode().Perm())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v\nwant code %v and %q", err, code, text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
