package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// TestViews runs the real nsctl against a real server that shows the network below: the table, the tree and the
// explanation as an operator gets them. Beside testscript's own, a script has the command
//
//	exits CODE CMD...  runs a command that must end with this code
func TestViews(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "sonic-netservices/nsctl").CombinedOutput(); err != nil {
		t.Fatalf("build nsctl: %v\n%s", err, out)
	}
	seen := &site{t: t, ca: newCA(t), dir: t.TempDir(), views: newNetwork(t)}
	seen.start()
	defer seen.stop()
	blind := newSite(t, nil)
	config := func(s *site, name string, role pki.Role) string {
		file := filepath.Join(t.TempDir(), "nsctl.yaml")
		text := fmt.Sprintf("manager: %s\nmanager_name: leaf3\npki: %s\n", s.addr, s.pki(name, role))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	operator, viewer, nothing := config(seen, "alice", pki.Operator), config(seen, "bob", pki.Viewer), config(blind, "alice", pki.Operator)
	for _, s := range []*site{seen, blind} { // both listen
		if _, err := s.client("bob", pki.Viewer).Services(t.Context(), &api.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("scripts", func(t *testing.T) { // ends when its parallel scripts do, before the servers
		testscript.Run(t, testscript.Params{
			Dir: "testdata/script",
			Setup: func(env *testscript.Env) error {
				env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
				env.Setenv("NSCTL_CONFIG", operator)
				env.Setenv("VIEWER", viewer)
				env.Setenv("BLIND", nothing)
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		})
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// network is what a manager may know of an AS: kms-0 on an overloaded leaf1, leaf2 idle and ten times as large, leaf3
// too full, leaf4 lost, and a spine that runs no services.
type network struct {
	decisions []*api.AuditEntry

	mu      sync.Mutex
	drained map[string]bool
	looks   int // at the tree of flap-0, which changes twice and is gone
}

func newNetwork(t *testing.T) *network {
	const mib = 1 << 20
	compute := func(used, capacity float64) []netmap.Resource {
		return []netmap.Resource{{Kind: netmap.Compute, Capacity: capacity, Used: used, Unit: "cores"}, {Kind: netmap.Memory, Capacity: 256 * mib, Used: 31 * mib, Unit: "bytes"}}
	}
	snap := &netmap.Snapshot{
		Nodes: []netmap.Node{
			{Name: "leaf1", Liveness: netmap.Alive, Resources: compute(0.188, 0.2)},
			{Name: "leaf2", Liveness: netmap.Alive, Resources: compute(0.1, 2)},
			{Name: "leaf3", Liveness: netmap.Alive, Resources: compute(0.66, 1)},
			{Name: "leaf4", Liveness: netmap.Dead, Heard: 10 * time.Minute},
			{Name: "spine1", Liveness: netmap.Alive},
		},
		Links: []netmap.Link{
			{From: "leaf1", To: "spine1", SpeedBPS: 10e9}, {From: "leaf2", To: "spine1", SpeedBPS: 10e9}, {From: "leaf3", To: "spine1", SpeedBPS: 25e9},
			{From: "spine1", To: "leaf1", SpeedBPS: 10e9}, {From: "spine1", To: "leaf2", SpeedBPS: 10e9}, {From: "spine1", To: "leaf3", SpeedBPS: 25e9},
		},
	}
	choice, err := balance.Decide(snap, balance.Problem{
		Replica: netmap.ReplicaID{Service: "kms"}, Source: "leaf1", Demand: netmap.Demand{netmap.Compute: 0.18}, DataBytes: 64 * mib,
	}, balance.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	detail, err := json.Marshal(choice)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).UnixMilli()
	return &network{
		drained: map[string]bool{},
		decisions: []*api.AuditEntry{
			{AtUnixMs: at, What: "admitted", Text: "kms is taken on, 1 replica"},
			{AtUnixMs: at + 36_250, Replica: "kms-0", What: "confirmed", Text: "leaf1: compute mean of 5 samples 0.94 is above 0.80, 5 of them",
				Path: "guard/SustainedOverload::40", Reads: map[string]string{"node": "leaf1", "samples": "5"}},
			{AtUnixMs: at + 36_300, Replica: "kms-0", What: "chosen", Text: "to leaf2", Detail: detail, DetailText: choice.String()},
		},
	}
}

func (n *network) Nodes(context.Context) *api.NodeList {
	n.mu.Lock()
	defer n.mu.Unlock()
	const mib = 1 << 20
	resources := func(used, reserved, capacity float64, verdict string) []*api.ResourceView {
		return []*api.ResourceView{
			{Kind: "compute", Capacity: capacity, Used: used, Reserved: reserved, Unit: "cores", Threshold: 0.8, Verdict: verdict},
			{Kind: "memory", Capacity: 256 * mib, Used: 31 * mib, Unit: "bytes", Threshold: 0.8, Verdict: "idle"},
		}
	}
	up := func(speed float64) []*api.NeighborView {
		return []*api.NeighborView{{Node: "spine1", SpeedBps: speed}}
	}
	list := &api.NodeList{Nodes: []*api.NodeView{
		{Name: "leaf1", Address: "10.1.0.1", Tier: "access", Liveness: "alive", HeardMs: 412, Replicas: []string{"kms-0"}, Neighbors: up(10e9),
			Resources: resources(0.188, 0, 0.2, "confirmed")},
		{Name: "leaf2", Address: "10.1.0.2", Tier: "access", Liveness: "alive", HeardMs: 980, Neighbors: up(10e9),
			Resources: resources(0.1, 0.18, 2, "idle")},
		{Name: "leaf3", Address: "10.1.0.3", Tier: "access", Liveness: "stale", HeardMs: 14_000, Replicas: []string{"ntp-0", "ntp-1"}, Neighbors: up(25e9),
			Resources: append(resources(0.66, 0, 1, "idle"), &api.ResourceView{Kind: "storage", Capacity: 1 << 40, Used: 1 << 39, Unit: "bytes", Threshold: 0.8})},
		{Name: "leaf4", Address: "10.1.0.4", Tier: "access", Liveness: "dead", HeardMs: 600_000},
		{Name: "spine1", Address: "10.1.0.9", Liveness: "alive", HeardMs: 0, Problem: `row RESOUR_NODE|spine1|compute: used "much" is no number`,
			Neighbors: []*api.NeighborView{{Node: "leaf1", SpeedBps: 10e9}, {Node: "leaf2", SpeedBps: 10e9}}},
	}}
	for _, node := range list.Nodes {
		node.Drained = n.drained[node.Name]
	}
	return list
}

func (n *network) Tree(replica string, onlyActive bool) (*api.TreeView, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch replica {
	case "":
		return &api.TreeView{Name: "intake", Text: "[-] Intake [*]\n"}, nil
	case "kms", "kms-0":
		text := "[-] Replica [*]\n    --> IsOverloaded [✓]\n    --> Migrate [*] -- cutover"
		if onlyActive {
			text = "[-] Replica [*]\n    --> Migrate [*] -- cutover"
		}
		return &api.TreeView{
			Name: "kms-0", Text: text, Dot: "digraph tree {\n}\n",
			Mermaid: "flowchart TD\n", Json: []byte(`{"nodes":[{"uid":1,"status":"RUNNING"}]}`),
			Blackboard: map[string]string{"@Service1": "kms", "@Policy1": "leaf1", "target": "leaf2"},
			Entries: []*api.BoardEntry{{Name: "@Policy1", Value: "leaf1", Kind: "string", AtUnixMs: 1795262400000}, {Name: "@Service1", Value: "kms", Kind: "string"},
				{Name: "target", Value: "leaf2", Kind: "string", Writer: "guard/move/choose/SelectOptimalNode::51", AtUnixMs: 1795262401000}},
		}, nil
	case "flap-0":
		n.looks++
		if n.looks <= 3 {
			return &api.TreeView{Name: replica, Text: fmt.Sprintf("look %d\n", (n.looks+1)/2)}, nil // 1 1 2
		}
	case "stuck-0":
		return nil, errors.New("tree has no root")
	}
	return nil, status.Errorf(codes.NotFound, "no tree %s; trees are kms-0", replica)
}

func (n *network) Why(service string, most int) (*api.WhyReply, error) {
	switch service {
	case "kms":
		return &api.WhyReply{Entries: n.decisions[max(0, len(n.decisions)-most):]}, nil
	case "ntp":
		return &api.WhyReply{}, nil
	}
	return nil, status.Errorf(codes.NotFound, "no service %s; services are kms, ntp", service)
}

func (n *network) Drain(node string, end bool) error {
	if !slices.Contains(strings.Fields("leaf1 leaf2 leaf3 leaf4 spine1"), node) {
		return status.Errorf(codes.NotFound, "no node %s", node)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drained[node] = !end
	return nil
}

func (n *network) Monitor(by, replica string, write, end bool) (*api.MonitorReply, error) {
	switch {
	case end:
		return &api.MonitorReply{Node: "leaf3"}, nil
	case replica == "kms":
		return &api.MonitorReply{Name: "kms-0", Node: "leaf3", Rep: "127.0.0.1:1667", Pub: "127.0.0.1:1668", Write: write}, nil
	}
	return nil, status.Errorf(codes.NotFound, "no tree of %q: no such replica is desired", replica)
}

func (n *network) Recording(replica string, ago int) (io.ReadCloser, error) {
	if replica != "kms" || ago > 1 {
		return nil, status.Errorf(codes.NotFound, "no log of %s", replica)
	}
	text, err := os.ReadFile("../../internal/btlog/testdata/run.btlog")
	return io.NopCloser(bytes.NewReader(text[:len(text)-ago])), err // the older one is cut off
}

func (n *network) Trees() *api.TreesStatus {
	return &api.TreesStatus{File: "/etc/mine.xml", Hash: "00ab", SinceUnixMs: 1795262400000,
		Waiting: []*api.WaitingTree{{Name: "kms-0", Why: "in a cut-over, at migrate/Cutover::7"}},
		Problem: "tree file:\n/etc/mine.xml:3:5: unknown node <Foo>", ProblemUnixMs: 1795262401000}
}

func (n *network) ReloadTrees(by string, force bool) (*api.TreesStatus, error) {
	if !force {
		return nil, status.Error(codes.InvalidArgument, "tree file:\n/etc/mine.xml:3:5: unknown node <Foo>\n    <Foo/>\n     ^")
	}
	return &api.TreesStatus{File: "/etc/mine.xml", Hash: "00cd by " + by, SinceUnixMs: 1795262402000}, nil
}

func (n *network) Steer(by string, req *api.SteerRequest) (*api.SteerReply, error) {
	if req.Act == api.Act_HALT {
		return nil, status.Error(codes.FailedPrecondition, "refused: kms-0 is in a cut-over, at migrate/Cutover::7")
	}
	text := fmt.Sprintf("%s %s %s %s %s %t", by, req.Act, req.Replica, req.Node, req.Status, req.Once)
	return &api.SteerReply{Text: text, Holds: []string{"paused by alice"}}, nil
}

// TestViewsRefuse: requests that no nsctl sends.
func TestViewsRefuse(t *testing.T) {
	s := &site{t: t, ca: newCA(t), dir: t.TempDir(), views: newNetwork(t)}
	s.start()
	defer s.stop()
	alice, leaf1 := s.client("alice", pki.Operator), s.client("leaf1", pki.Node)
	_, none := alice.Why(t.Context(), &api.WhyRequest{})
	_, negative := alice.Why(t.Context(), &api.WhyRequest{Service: "kms", Most: -1})
	_, nowhere := alice.Drain(t.Context(), &api.DrainRequest{})
	_, inside := alice.Tree(t.Context(), &api.TreeRef{Replica: "stuck-0"})
	_, node := leaf1.Nodes(t.Context(), &api.Empty{})
	for _, c := range []struct {
		err  error
		code codes.Code
		want string
	}{
		{none, codes.InvalidArgument, "service: missing"},
		{negative, codes.InvalidArgument, "most: -1 is negative"},
		{nowhere, codes.InvalidArgument, "node: missing"},
		{inside, codes.Internal, "tree has no root"},
		{node, codes.PermissionDenied, "certificate of leaf1 has role node; Nodes needs operator"},
	} {
		if status.Code(c.err) != c.code || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got %v\nwant %v %q", c.err, c.code, c.want)
		}
	}
	reply, err := alice.Why(t.Context(), &api.WhyRequest{Service: "kms"})
	if err != nil || len(reply.Entries) != 3 {
		t.Errorf("decisions when no number is wanted: %v, %v", reply, err)
	}
}
