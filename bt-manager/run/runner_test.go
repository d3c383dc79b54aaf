package run

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/plan/balance"
)

var update = flag.Bool("update", false, "record the transcripts anew")

// play is a Runner on a world in memory, and the transcript of what it did.
type play struct {
	*world
	t     *testing.T
	r     *Runner
	start time.Time
	next  time.Time
	woken bool // at next
	out   strings.Builder
	said  map[string]int    // audit entries printed, by service
	paths map[string]string // printed last, by tree
	board map[string]map[string]string
}

func config() Config {
	return Config{Params: decide.Defaults(), Balance: balance.Defaults(), Epoch: 1}
}

// file is a file of trees, none for no text.
func file(text []byte) trees.File {
	if text == nil {
		return trees.File{}
	}
	return trees.File{Name: "manager.xml", Text: string(text)}
}

func start(t *testing.T, w *world, cfg Config) *play {
	t.Helper()
	p := &play{world: w, t: t, start: w.now, next: w.now, said: map[string]int{}, paths: map[string]string{}, board: map[string]map[string]string{}}
	r, err := New(cfg, w, p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.r = r
	return p
}

func (p *play) Blackboard(tree string, entries map[string]string) {
	if p.board[tree] == nil {
		p.board[tree] = map[string]string{}
	}
	maps.Copy(p.board[tree], entries)
}

// run lets time pass. The trees are ticked when they want to be, and the runner is woken when an operation has come further.
func (p *play) run(d time.Duration) {
	p.t.Helper()
	until := p.now.Add(d)
	p.next, p.woken = p.now, true // the test may have changed something
	for !p.next.After(until) {
		p.now = p.next
		p.next = p.r.round(p.now, p.woken)
		if !p.next.After(p.now) {
			p.next = p.now.Add(time.Millisecond)
		}
		p.woken = false
		for _, op := range p.ops {
			if op.stage == decide.Working && op.due.After(p.now) && !op.due.After(p.next) {
				p.next, p.woken = op.due, true
			}
		}
		p.print()
	}
	p.now = until
}

// print adds what was decided in the newest round, and paths that are others than before.
func (p *play) print() {
	at := p.now.Sub(p.start).Seconds()
	for _, name := range p.r.names() {
		if path := p.path(name); path != p.paths[name] {
			p.paths[name] = path
			fmt.Fprintf(&p.out, "%6.1f  %s: %s\n", at, orIntake(name), path)
		}
	}
	for _, service := range append([]string{""}, p.services...) {
		list := p.r.Why(service, keptAudits)
		for _, a := range list[p.said[service]:] {
			fmt.Fprintf(&p.out, "%6.1f  %s %s: %s", at, orIntake(a.Replica), a.What, a.Text)
			if a.Op != "" {
				fmt.Fprintf(&p.out, " [%s]", a.Op)
			}
			p.out.WriteString("\n")
		}
		p.said[service] = len(list)
	}
}

func orIntake(name string) string { // of the transcript
	if name == "" {
		return intakeName
	}
	return name
}

// path is what the leaves of a tree answered in the newest round: + SUCCESS, - FAILURE, * RUNNING.
func (p *play) path(name string) string {
	t := p.r.trees[name]
	answers := map[int]bt.Status{}
	for _, c := range t.newest() {
		if c.To != bt.Idle {
			answers[int(c.UID)] = c.To
		}
	}
	var words []string
	for _, n := range t.run.Program().Nodes() {
		st := answers[n.UID]
		if t.run.Status(n.UID) == bt.Running {
			st = bt.Running
		}
		if n.Class != bt.Action && n.Class != bt.Condition || st == bt.Idle {
			continue
		}
		words = append(words, map[bt.Status]string{bt.Success: "+", bt.Failure: "-", bt.Running: "*"}[st]+n.Name)
	}
	return strings.Join(words, " ")
}

// golden compares the transcript with testdata/NAME.txt.
func (p *play) golden(name string) {
	p.t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(p.out.String()), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), p.out.String()); diff != "" {
		p.t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// on says where a service runs.
func (p *play) on(name, node string) {
	p.t.Helper()
	if r := p.replicas[id(name)]; r == nil || r.Node != node {
		p.t.Fatalf("%s is not on %s: %+v\n%s", name, node, r, p.out.String())
	}
}

// orders are the operations begun so far.
func (p *play) orders(want ...string) {
	p.t.Helper()
	got := []string{}
	for _, op := range p.begun {
		got = append(got, fmt.Sprintf("%s %s to %s", op.Verb, op.Replica, op.To))
	}
	if !slices.Equal(got, append([]string{}, want...)) {
		p.t.Fatalf("ordered %q, want %q\n%s", got, want, p.out.String())
	}
}

// find gives the newest entry of a kind.
func (p *play) find(service, what string) Audit {
	p.t.Helper()
	list := p.r.Why(service, keptAudits)
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].What == what {
			return list[i]
		}
	}
	p.t.Fatalf("nothing %s about %s\n%s", what, service, p.out.String())
	return Audit{}
}

// star connects every leaf with one spine.
func star(leaves ...string) *world {
	w := newWorld(append([]string{"spine1"}, leaves...)...)
	for _, l := range leaves {
		w.connect("spine1", l, 10e9)
	}
	w.nodes["spine1"].base = maps.Clone(w.nodes["spine1"].capacity) // forwards, and has no room for services
	return w
}

func edit(t *testing.T, old, with string) []byte {
	t.Helper()
	if n := bytes.Count(trees.Manager, []byte(old)); n != 1 {
		t.Fatalf("manager.xml has %q %d times", old, n)
	}
	return bytes.Replace(trees.Manager, []byte(old), []byte(with), 1)
}

func TestDeploy(t *testing.T) {
	w := star("leaf1", "leaf2", "leaf3")
	w.nodes["leaf1"].base["compute"] = 1.5
	w.nodes["leaf2"].base["compute"] = 0.2
	w.wanted = []decide.Replica{service("kms", 1), service("dns", 0.5)}
	p := start(t, w, config())
	p.run(10 * time.Second)
	p.on("kms", "leaf2")
	p.on("dns", "leaf3")
	for key, want := range map[string]string{"Service1": "kms: compute 1, memory 256 MiB", "Policy1": "kms-0 on leaf2",
		"Service2": "dns: compute 0.5, memory 256 MiB", "Policy2": "dns-0 on leaf3", "Samples": "5"} {
		if got := p.board["root"][key]; got != want {
			t.Errorf("blackboard %s is %q, want %q", key, got, want)
		}
	}
	if got := p.board["kms-0"]["source"]; got != "leaf2" {
		t.Errorf("the tree of kms-0 has its node as %q", got)
	}
	p.golden("deploy")
}

func TestDeployAgainAfterFailure(t *testing.T) {
	w := star("leaf1")
	w.breaks["leaf1"] = 2
	w.wanted = []decide.Replica{service("kms", 1)}
	p := start(t, w, config())
	p.run(10 * time.Second)
	p.on("kms", "leaf1")
	p.orders("deploy kms-0 to leaf1", "deploy kms-0 to leaf1", "deploy kms-0 to leaf1")
	p.golden("deploy-failed")
}

func TestDeployRefused(t *testing.T) {
	w := star("leaf1", "leaf2")
	w.nodes["leaf2"].base["compute"] = 1
	w.refuses["leaf1"] = "no such runtime"
	w.wanted = []decide.Replica{service("kms", 1)}
	p := start(t, w, config())
	p.run(5 * time.Second)
	p.on("kms", "leaf2")
	p.orders("deploy kms-0 to leaf1", "deploy kms-0 to leaf2")
}

// overloaded is a leaf that kms fills to 95 %, with two to choose from.
func overloaded() *world {
	w := star("leaf1", "leaf2", "leaf3")
	w.nodes["leaf3"].base["compute"] = 0.2 // more room than leaf2
	w.put(service("kms", 0.5), "leaf1")
	return w
}

func TestSpikeMovesNothing(t *testing.T) {
	p := start(t, overloaded(), config())
	p.run(5 * time.Second)
	p.load("kms", 3.4)
	p.run(4 * time.Second)
	p.load("kms", 0.5)
	p.run(60 * time.Second)
	p.orders()
	p.golden("spike")
}

func TestSustainedOverloadMovesOnce(t *testing.T) {
	w := overloaded()
	w.nodes["leaf2"].capacity["compute"], w.nodes["leaf3"].capacity["compute"] = 6, 6
	p := start(t, w, config())
	p.run(5 * time.Second)
	p.load("kms", 3.4)
	p.run(70 * time.Second)
	p.on("kms", "leaf3")
	p.orders("move kms-0 to leaf3")
	if op := p.begun[0]; op.ID != "tree-kms-0-e1-1" || op.Mode != "live" || op.Gain <= 0 || !strings.Contains(op.Reason, "compute of leaf1 above 0.80 for 5 samples") {
		t.Errorf("ordered %+v", op)
	}
	if got := p.board["root"]["Policy1"]; got != "kms-0 on leaf3" {
		t.Errorf("Policy1 is %q", got)
	}
	p.golden("sustained")
}

func TestRefusedThenNextBest(t *testing.T) {
	w := overloaded()
	w.nodes["leaf2"].capacity["compute"], w.nodes["leaf3"].capacity["compute"] = 6, 6
	w.refuses["leaf3"] = "kms-0 is ready here"
	p := start(t, w, config())
	p.load("kms", 3.4)
	p.run(20 * time.Second)
	p.on("kms", "leaf2")
	p.orders("move kms-0 to leaf3", "move kms-0 to leaf2")
	p.golden("refused")
}

func TestFullNetworkMovesNothing(t *testing.T) {
	p := start(t, overloaded(), config()) // 3.4 of 4 cores fit nowhere
	p.load("kms", 3.4)
	p.run(90 * time.Second)
	p.orders()
	full := p.find("kms", "full")
	d := full.Detail.(balance.Decision)
	if len(d.Candidates) != 0 || len(d.Refused) != 4 {
		t.Errorf("%d candidates, %d refused", len(d.Candidates), len(d.Refused))
	}
	for _, s := range d.Refused {
		if s.Node == "leaf2" && (s.SU == 0 || s.SUAfter == 0 || s.SUB == 0 || s.SUBAfter == 0 || s.Benefit == 0 || s.CostSeconds == 0 || s.Gain == 0) {
			t.Errorf("numbers are missing: %+v", s)
		}
	}
	p.golden("full")
}

// inLine is leaf1 - leaf2 - leaf3 - leaf4 - leaf5 with kms on leaf1.
func inLine(bps map[string]float64) *world {
	names := []string{"leaf1", "leaf2", "leaf3", "leaf4", "leaf5"}
	w := newWorld(names...)
	for i := range 4 {
		speed := bps[names[i]+names[i+1]]
		if speed == 0 {
			speed = 1e9
		}
		w.connect(names[i], names[i+1], speed)
	}
	for _, m := range w.nodes {
		m.capacity["compute"] = 8
	}
	w.nodes["leaf1"].capacity["compute"] = 4
	w.put(service("kms", 3.4), "leaf1")
	return w
}

func TestLine(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		bps    map[string]float64
		want   string
	}{
		"nearer wins": {want: "leaf2"},
		"past a full one": {want: "leaf3", change: func(w *world) {
			w.nodes["leaf2"].base["compute"] = 7
		}},
		// 125 MB over 10 Mbit/s are 100 s: what little room leaf2 has is worth more than that.
		"bandwidth decides": {want: "leaf2", bps: map[string]float64{"leaf2leaf3": 10e6}, change: func(w *world) {
			w.nodes["leaf2"].base["compute"] = 1.5
		}},
		"more room is worth a fast hop": {want: "leaf3", bps: map[string]float64{"leaf1leaf2": 100e9, "leaf2leaf3": 100e9}, change: func(w *world) {
			w.nodes["leaf2"].base["compute"] = 1.5
		}},
		"idle": {want: "leaf5", change: func(w *world) {
			clear(w.nodes["leaf5"].base)
			for _, n := range []string{"leaf2", "leaf3", "leaf4"} {
				w.nodes[n].base["compute"] = 7
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := inLine(c.bps)
			if c.change != nil {
				c.change(w)
			}
			p := start(t, w, config())
			p.run(20 * time.Second)
			p.on("kms", c.want)
			p.orders("move kms-0 to " + c.want)
		})
	}
}

// Two overload one node: the one whose absence is enough and that carries less leaves, the other stays, and nothing
// follows.
func TestOneVictim(t *testing.T) {
	w := star("leaf1", "leaf2")
	w.nodes["leaf2"].capacity["compute"] = 8
	w.put(service("kms", 1.5), "leaf1")
	w.put(service("auth", 1.6), "leaf1")
	w.replicas[id("auth")].DataBytes = 1e9
	p := start(t, w, config())
	p.run(60 * time.Second)
	p.orders("move kms-0 to leaf2")
	p.on("auth", "leaf1")
	if note := p.path("auth-0"); !strings.HasSuffix(note, "-ResourceOverloaded") {
		t.Errorf("auth-0: %s", note)
	}
}

func TestDrainedNode(t *testing.T) {
	w := star("leaf1", "leaf2")
	w.put(service("kms", 0.5), "leaf1")
	w.put(service("auth", 0.5), "leaf1")
	p := start(t, w, config())
	p.run(3 * time.Second)
	p.nodes["leaf1"].drained = true
	p.run(2 * time.Second)
	p.orders("move auth-0 to leaf2") // one at a time
	p.run(30 * time.Second)
	p.orders("move auth-0 to leaf2", "move kms-0 to leaf2")
	p.on("auth", "leaf2")
	p.on("kms", "leaf2")
	if why := p.begun[0].Reason; why != "leaf1 is drained" {
		t.Errorf("moved because %s", why)
	}
}

func TestLostNodeIsWaitedFor(t *testing.T) {
	p := start(t, overloaded(), config())
	p.run(3 * time.Second)
	p.nodes["leaf1"].dead = true
	p.run(60 * time.Second)
	p.orders()
	if got, want := p.find("kms", "waits").Text, "leaf1 is dead; on_lost_node is wait"; !strings.HasPrefix(got, want) {
		t.Errorf("said %q", got)
	}
	if n := len(p.r.Why("kms", 100)); n != 1 {
		t.Errorf("said it %d times", n)
	}
	p.nodes["leaf1"].dead = false
	p.run(5 * time.Second)
	p.orders()
	p.on("kms", "leaf1")
}

func TestLostNodeIsReplaced(t *testing.T) {
	w := overloaded()
	w.replicas[id("kms")].Redeploy = true
	p := start(t, w, config())
	p.run(3 * time.Second)
	p.nodes["leaf1"].dead = true
	p.run(20 * time.Second)
	p.orders() // the lease is not over
	p.replicas[id("kms")].LeaseOver = true
	p.run(10 * time.Second)
	p.on("kms", "leaf3")
	p.replicas[id("kms")].LeaseOver = false
	p.nodes["leaf1"].dead = false
	p.run(60 * time.Second)
	p.orders("deploy kms-0 to leaf3")
	if !p.begun[0].Lost {
		t.Error("the order does not say that the node is lost")
	}
	p.golden("redeploy")
}

// roomy is a sustained overload with room elsewhere.
func roomy(t *testing.T, tree []byte) *play {
	w := overloaded()
	w.nodes["leaf2"].capacity["compute"], w.nodes["leaf3"].capacity["compute"] = 6, 6
	cfg := config()
	cfg.File = file(tree)
	p := start(t, w, cfg)
	p.load("kms", 3.4)
	return p
}

// A cut-over whose outcome is in doubt is asked for, and never taken back.
func TestCutoverInDoubt(t *testing.T) {
	for _, end := range []decide.Stage{decide.Committed, decide.Aborted} {
		t.Run(string(end), func(t *testing.T) {
			p := roomy(t, nil)
			p.stuck[decide.Cutover] = true
			p.run(60 * time.Second) // the Timeout is 30 s
			const op = "tree-kms-0-e1-1"
			if path := p.path("kms-0"); path != "*Ask" {
				t.Fatalf("the tree is at %s", path)
			}
			if want := []string{"prewarm " + op, "cutover " + op}; !slices.Equal(p.asked, want) {
				t.Fatalf("asked for %q", p.asked)
			}
			p.ops[op].next, p.ops[op].due = end, p.now
			p.run(5 * time.Second)
			p.orders("move kms-0 to leaf3")
			if end == decide.Committed {
				p.on("kms", "leaf3")
				p.find("kms", "moved")
			} else {
				p.on("kms", "leaf1")
				p.find("kms", "failed")
			}
			if len(p.asked) != 2 {
				t.Errorf("asked for %q", p.asked)
			}
		})
	}
}

// A target that never gets ready: the move is taken back where it rests, cools down, and is tried again.
func TestPrewarmTakesTooLong(t *testing.T) {
	p := roomy(t, nil)
	p.stuck[decide.Prewarm] = true
	p.run(130 * time.Second)
	const op = "tree-kms-0-e1-1"
	if path := p.path("kms-0"); path != "*Rollback" {
		t.Fatalf("the tree is at %s", path)
	}
	p.stuck[decide.Prewarm] = false
	p.ops[op].due = p.now // ready after all
	p.run(2 * time.Second)
	if want := []string{"prewarm " + op, "cancel " + op}; !slices.Equal(p.asked, want) {
		t.Fatalf("asked for %q", p.asked)
	}
	p.on("kms", "leaf1")
	p.run(30 * time.Second)
	p.orders("move kms-0 to leaf3", "move kms-0 to leaf3")
	p.on("kms", "leaf3")
}

// A manager that dies in the middle of a move, at any moment, is followed by one that goes on with it.
func TestRestart(t *testing.T) {
	for after := 5500 * time.Millisecond; after < 8*time.Second; after += 250 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			p := roomy(t, nil)
			p.run(after)
			p.orders("move kms-0 to leaf3")
			cfg := config()
			cfg.Epoch = 2
			heir := start(t, p.world, cfg)
			heir.run(90 * time.Second)
			heir.orders("move kms-0 to leaf3")
			heir.on("kms", "leaf3")
			if got := heir.board["root"]["Policy1"]; got != "kms-0 on leaf3" {
				t.Errorf("Policy1 is %q", got)
			}
		})
	}
}

// An operation of an operator is nobody's business.
func TestOthersAreLeftAlone(t *testing.T) {
	p := roomy(t, nil)
	p.replicas[id("kms")].Op = "abcdefghijkl"
	p.run(20 * time.Second)
	p.orders()
	if path := p.path("kms-0"); path != "+GetReplica +OperationOfOthers" {
		t.Errorf("the tree is at %s", path)
	}
	// When it has ended the replica cools down, and the judgement of its node begins anew.
	p.replicas[id("kms")].Op = ""
	p.run(4 * time.Second)
	p.orders()
	p.run(20 * time.Second)
	p.orders("move kms-0 to leaf3")
}

func TestRemovedService(t *testing.T) {
	p := roomy(t, nil)
	p.run(3 * time.Second)
	if got := p.board["root"]["Policy1"]; got != "kms-0 on leaf1" {
		t.Errorf("Policy1 is %q", got)
	}
	delete(p.replicas, id("kms"))
	p.run(2 * time.Second)
	for _, key := range []string{"Service1", "Policy1"} {
		if got, ok := p.board["root"][key]; got != "" || !ok {
			t.Errorf("%s is still %q", key, got)
		}
	}
	for key, got := range p.board["kms-0"] {
		if got != "" {
			t.Errorf("%s of kms-0 is still %q", key, got)
		}
	}
	if _, err := p.r.Tree("kms-0", false); err == nil {
		t.Error("its tree is still there")
	}
	if got := p.r.Replicas(); len(got) != 0 {
		t.Errorf("trees of %q", got)
	}
}
