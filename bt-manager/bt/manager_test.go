package bt_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/render"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// world is what the scripted leaves of the manager's tree see and do.
type world struct {
	request    string          // service somebody wants online
	services   []string        // admitted; service i lives on places[i]
	places     []string        // "" = not deployed
	load       map[string]bool // "leaf1/compute" = over its threshold
	candidates []string        // best first
	refuses    map[string]bool
	pending    map[string]bool // leaf types that stay RUNNING until released
	broken     map[string]int  // leaf type -> how often it still fails
	did        []string
}

func (w *world) do(format string, args ...any) { w.did = append(w.did, fmt.Sprintf(format, args...)) }

func (w *world) fails(leaf string) bool {
	if w.broken[leaf] > 0 {
		w.broken[leaf]--
		w.do("%s fails", leaf)
		return true
	}
	return false
}

// step is a leaf that takes until its type is released.
type step struct {
	w    *world
	name string
	end  func(*bt.Ctx) bt.Status
}

func (s *step) OnStart(c *bt.Ctx) bt.Status {
	s.w.do("%s starts", s.name)
	c.SetOp(bt.OpID(fmt.Sprintf("%s/%d", s.name, c.Attempt())))
	c.Say("waits for " + s.name)
	return s.OnRunning(c)
}

func (s *step) OnRunning(c *bt.Ctx) bt.Status {
	switch {
	case s.w.pending[s.name]:
		return bt.Running
	case s.w.fails(s.name):
		return c.Failf("%s: the agent says no", s.name)
	}
	if s.end == nil {
		return bt.Success
	}
	return s.end(c)
}

func (s *step) OnHalted(_ *bt.Ctx, why bt.HaltWhy) { s.w.do("%s halted: %s", s.name, why) }

func (s *step) OnResume(c *bt.Ctx, op bt.OpID) bt.Status {
	s.w.do("%s resumes %s", s.name, op)
	return s.OnRunning(c)
}

// ports declares inputs, and outputs after ">".
func ports(names string) []bt.Port {
	var list []bt.Port
	dir := bt.In
	for _, n := range strings.Fields(names) {
		switch n {
		case ">":
			dir = bt.Out
		case "<>":
			dir = bt.InOut
		default:
			list = append(list, bt.Port{Name: n, Dir: dir})
		}
	}
	return list
}

func (w *world) registry() *bt.Registry {
	reg := bt.NewRegistry()
	check := func(name, p string, f bt.Func) { reg.AddFunc(name, bt.Condition, ports(p), f) }
	act := func(name, p string, f bt.Func) { reg.AddFunc(name, bt.Action, ports(p), f) }
	slow := func(name, p string, end func(*bt.Ctx) bt.Status) {
		reg.Add(name, bt.Action, ports(p), func() bt.Leaf { return &step{w, name, end} })
	}
	yes := func(b bool) bt.Status {
		if b {
			return bt.Success
		}
		return bt.Failure
	}
	check("ServiceOnlineRequested", "> request", func(c *bt.Ctx) bt.Status {
		c.PutText(0, w.request)
		return yes(w.request != "")
	})
	act("AdmitService", "request > index", func(c *bt.Ctx) bt.Status {
		w.services, w.places, w.request = append(w.services, c.Text(0)), append(w.places, ""), ""
		c.PutInt(1, int64(len(w.services)))
		w.do("admit %s", c.Text(0))
		return bt.Success
	})
	check("AllServicesDeployed", "> next_index next_service", func(c *bt.Ctx) bt.Status {
		i := slices.Index(w.places, "")
		if i < 0 {
			return bt.Success
		}
		c.PutInt(0, int64(i+1))
		c.PutText(1, w.services[i])
		return bt.Failure
	})
	act("GetNeededResources", "service > need", func(c *bt.Ctx) bt.Status { c.PutText(1, "1 core"); return bt.Success })
	act("GetNodeStates", "max_age_ms > snapshot", func(c *bt.Ctx) bt.Status { c.PutAny(1, w.load); return bt.Success })
	act("PreselectNodes", "snapshot need thresholds exclude > candidates", func(c *bt.Ctx) bt.Status {
		var left []string
		for _, n := range w.candidates {
			if !slices.Contains(strings.Split(c.Text(3), ","), n) {
				left = append(left, n)
			}
		}
		c.PutAny(4, left)
		return yes(len(left) > 0)
	})
	act("ScoreCandidates", "snapshot need source candidates lambda > scored", func(c *bt.Ctx) bt.Status {
		c.PutAny(5, bt.ReadAs[[]string](c, 3))
		return bt.Success
	})
	act("SelectOptimalNode", "scored > target gain", func(c *bt.Ctx) bt.Status {
		c.PutText(1, bt.ReadAs[[]string](c, 0)[0])
		c.PutFloat(2, 0.5)
		return bt.Success
	})
	slow("IssuePolicy", "index action target > policy", func(c *bt.Ctx) bt.Status {
		w.places[c.Int(0)-1] = c.Text(2)
		w.do("%s service %d on %s", c.Text(1), c.Int(0), c.Text(2))
		return bt.Success
	})
	act("PickServiceToCheck", "snapshot > index service source need", func(c *bt.Ctx) bt.Status {
		for i, p := range w.places {
			if p != "" {
				c.PutInt(1, int64(i+1))
				c.PutText(2, w.services[i])
				c.PutText(3, p)
				c.PutText(4, "1 core")
				return bt.Success
			}
		}
		return bt.Failure
	})
	check("ResourceOverloaded", "snapshot node resource thresholds > which", func(c *bt.Ctx) bt.Status {
		c.PutText(4, c.Text(2))
		return yes(bt.ReadAs[map[string]bool](c, 0)[c.Text(1)+"/"+c.Text(2)])
	})
	slow("SustainedOverload", "node resource thresholds samples period_ms", nil)
	slow("Handshake", "index source target <> refused > token", func(c *bt.Ctx) bt.Status {
		if w.refuses[c.Text(2)] {
			c.PutText(3, c.Text(3)+","+c.Text(2))
			return c.Failf("%s refuses", c.Text(2))
		}
		c.PutText(4, "token-"+c.Text(2))
		w.do("handshake %s > %s", c.Text(1), c.Text(2))
		return bt.Success
	})
	slow("TransferData", "source target service token", nil)
	slow("Prewarm", "target service token", nil)
	slow("Cutover", "index source target token", nil)
	slow("Rollback", "source target service token", nil)
	slow("UnloadSource", "source service token", nil)
	act("RecordPolicy", "index target", func(c *bt.Ctx) bt.Status {
		w.places[c.Int(0)-1] = c.Text(1)
		w.do("service %d now on %s", c.Int(0), c.Text(1))
		return bt.Success
	})
	return reg
}

// manager is the tree under test with its clock.
type manager struct {
	*world
	t    *testing.T
	root *board.Board
	in   *bt.Instance
	now  time.Time
}

func newManager(t *testing.T, w *world) *manager {
	t.Helper()
	prog, faults := xmlv4.Load(os.DirFS("testdata"), "bt_manager.xml", w.registry(), xmlv4.Options{})
	if prog == nil || len(faults.Diags) > 0 {
		t.Fatalf("load:\n%s", faults)
	}
	root := board.New()
	for key, v := range map[string]any{"Thresholds": "0.9", "Lambda": 0.3, "DeployTimeoutMs": 30000, "Samples": 5, "SamplePeriodMs": 1000} {
		if err := root.Set(key, v, 0); err != nil {
			t.Fatal(err)
		}
	}
	return &manager{world: w, t: t, root: root, in: prog.New(root), now: time.Unix(1000, 0)}
}

// tick advances the clock and checks what the leaves did since.
func (m *manager) tick(after time.Duration, want ...string) time.Time {
	m.t.Helper()
	m.now = m.now.Add(after)
	m.did = nil
	st, next := m.in.Tick(m.now)
	if st != bt.Running {
		m.t.Fatalf("the manager's tree ended: %v", st)
	}
	if !slices.Equal(m.did, want) {
		m.t.Fatalf("at %v:\n did %q\nwant %q\n%s", m.now.Unix(), m.did, want, m.text())
	}
	return next
}

func (m *manager) text() string {
	var b bytes.Buffer
	if err := render.Text(&b, m.in, render.Options{}); err != nil {
		m.t.Fatal(err)
	}
	return b.String()
}

func TestManagerDeploysAndMoves(t *testing.T) {
	m := newManager(t, &world{request: "kms", candidates: []string{"leaf1", "leaf2", "leaf3"},
		load: map[string]bool{}, refuses: map[string]bool{"leaf2": true}, pending: map[string]bool{}, broken: map[string]int{}})

	// Figure 3, left: a request is admitted, and the service deployed on the best node. Then nothing more to do.
	m.tick(0, "admit kms", "IssuePolicy starts", "deploy service 1 on leaf1")
	m.tick(time.Second)

	// Figure 3, right: overloaded, confirmed over n samples, the first choice refuses, the second takes it.
	m.load["leaf1/storage"] = true
	m.candidates = []string{"leaf2", "leaf3"}
	m.pending["SustainedOverload"], m.pending["TransferData"] = true, true
	m.tick(time.Second, "SustainedOverload starts")
	m.tick(time.Second)
	m.pending["SustainedOverload"] = false
	next := m.tick(time.Second, "Handshake starts")
	if got := m.note("Handshake"); got != "leaf2 refuses" {
		t.Fatalf("why of the handshake: %q", got)
	}
	if !next.Equal(m.now) {
		t.Fatalf("a refused handshake is tried again %v later", next.Sub(m.now))
	}
	next = m.tick(0, "Handshake starts", "handshake leaf1 > leaf3", "TransferData starts")
	if want := m.now.Add(600 * time.Second); !next.Equal(want) {
		t.Fatalf("next tick at %v, want the transfer's deadline %v", next, want)
	}

	// A deployment goes on beside the move.
	m.request = "dns"
	m.tick(time.Second, "admit dns", "IssuePolicy starts", "deploy service 2 on leaf2")

	// After the cut-over only forward: unloading fails, backs off 2 s, is tried again.
	m.pending["TransferData"] = false
	m.broken["UnloadSource"] = 1
	next = m.tick(time.Second, "Prewarm starts", "Cutover starts", "UnloadSource starts", "UnloadSource fails")
	if got := next.Sub(m.now); got != 2*time.Second {
		t.Fatalf("backs off %v, want 2s", got)
	}
	m.tick(time.Second)
	m.tick(time.Second, "UnloadSource starts", "service 1 now on leaf3")
	m.load["leaf1/storage"] = false
	m.tick(time.Second)
	if got := strings.Join(m.places, " "); got != "leaf3 leaf2" {
		t.Fatalf("services are on %q", got)
	}
}

func (m *manager) uid(leaf string) int {
	for _, n := range m.in.Program().Nodes() {
		if n.Type == leaf {
			return n.UID
		}
	}
	m.t.Fatalf("no %s in the tree", leaf)
	return 0
}

func (m *manager) note(leaf string) string { return m.in.Note(m.uid(leaf)) }

// inTransfer brings a manager to where data moves.
func inTransfer(t *testing.T) *manager {
	t.Helper()
	m := newManager(t, &world{services: []string{"kms"}, places: []string{"leaf1"}, candidates: []string{"leaf2"},
		load: map[string]bool{"leaf1/compute": true}, pending: map[string]bool{"TransferData": true}, broken: map[string]int{}})
	m.tick(0, "SustainedOverload starts", "Handshake starts", "handshake leaf1 > leaf2", "TransferData starts")
	return m
}

func TestManagerUndoesUntilCutover(t *testing.T) {
	for name, c := range map[string]struct {
		event func(m *manager) time.Duration
		did   []string
	}{
		"fails":   {func(m *manager) time.Duration { m.pending, m.broken["TransferData"] = nil, 1; return time.Second }, []string{"TransferData fails", "Rollback starts"}},
		"timeout": {func(m *manager) time.Duration { return 600 * time.Second }, []string{"TransferData halted: timeout", "Rollback starts"}},
		"cutover": {func(m *manager) time.Duration { m.pending, m.broken["Cutover"] = nil, 1; return time.Second }, []string{"Prewarm starts", "Cutover starts", "Cutover fails", "Rollback starts"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := inTransfer(t)
			m.tick(c.event(m), c.did...)
			if m.places[0] != "leaf1" {
				t.Errorf("the service is on %s", m.places[0])
			}
		})
	}
	for why, did := range map[bt.HaltWhy][]string{
		bt.HaltTree:    {"TransferData halted: tree", "Rollback starts"},
		bt.HaltDeposed: {"TransferData halted: deposed"}, // the new leader owns the move
	} {
		m := inTransfer(t)
		m.did = nil
		m.in.Halt(m.now, why)
		if !slices.Equal(m.did, did) {
			t.Errorf("halt %v: did %q, want %q", why, m.did, did)
		}
	}
}

// A manager that dies during a move is replaced by one that knows only the snapshot, through JSON.
func TestManagerResumesFromSnapshot(t *testing.T) {
	m := inTransfer(t)
	text, err := json.Marshal(m.in.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var s bt.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	heir := newManager(t, m.world)
	heir.now = m.now
	if err := heir.in.Restore(s); err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(heir.in.Snapshot()); !bytes.Equal(withoutResume(t, got), withoutResume(t, text)) {
		t.Errorf("the restored run is another:\n got %s\nwant %s", got, text)
	}
	next := heir.tick(time.Second, "TransferData resumes TransferData/1")
	if want := m.now.Add(600 * time.Second); !next.Equal(want) {
		t.Errorf("deadline %v, want that of the first start %v", next, want)
	}
	heir.pending = nil
	heir.tick(time.Second, "Prewarm starts", "Cutover starts", "UnloadSource starts", "service 1 now on leaf2")

	s.Tree++
	if err := newManager(t, m.world).in.Restore(s); err == nil {
		t.Error("a run of another tree was restored")
	}
}

// withoutResume drops the flags, in which a restored run notes what it has to resume.
func withoutResume(t *testing.T, text []byte) []byte {
	t.Helper()
	var s bt.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	for i := range s.Nodes {
		s.Nodes[i].Flags = 0
	}
	out, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
