package run

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
)

// disk is a Store that holds JSON, as the journal does.
type disk struct {
	t      *testing.T
	runs   map[string]bt.Snapshot
	files  []trees.File
	holds  map[string]decide.Hold
	writes []string // what each record said: "kms-0 +TransferData" (runs now), "kms-0 gone"
}

func newDisk(t *testing.T) *disk {
	return &disk{t: t, runs: map[string]bt.Snapshot{}, holds: map[string]decide.Hold{}}
}

func (d *disk) copy(s bt.Snapshot) (c bt.Snapshot) {
	text, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

func (d *disk) Runs() map[string]bt.Snapshot {
	all := map[string]bt.Snapshot{}
	for name, s := range d.runs {
		all[name] = d.copy(s)
	}
	return all
}

func (d *disk) KeepRun(tree string, delta *bt.Snapshot) error {
	if delta == nil {
		delete(d.runs, tree)
		d.writes = append(d.writes, tree+" gone")
		return nil
	}
	s := d.runs[tree]
	s.Apply(d.copy(*delta))
	d.runs[tree] = s
	d.writes = append(d.writes, fmt.Sprintf("%s %d nodes, %d entries", tree, len(delta.Nodes), len(delta.Entries)))
	return nil
}

func (d *disk) Files() []trees.File { return slices.Clone(d.files) }

func (d *disk) KeepFile(f trees.File) error { d.files = append(d.files, f); return nil }

func (d *disk) Holds() map[string]decide.Hold { return maps.Clone(d.holds) }

func (d *disk) KeepHold(tree string, h decide.Hold) error {
	if d.holds[tree] = h; h.Paused == "" && len(h.Forced) == 0 {
		delete(d.holds, tree)
	}
	return nil
}

// of counts the records of a tree.
func (d *disk) of(tree string) (n int) {
	for _, w := range d.writes {
		if strings.HasPrefix(w, tree+" ") {
			n++
		}
	}
	return n
}

// durable is roomy with a disk.
func durable(t *testing.T, tree []byte) (*play, *disk) {
	p := roomy(t, nil)
	d := newDisk(t)
	cfg := config()
	cfg.File, cfg.Store = file(tree), d
	return start(t, p.world, cfg), d
}

// heir is the manager after one that was killed.
func heir(t *testing.T, p *play, d *disk, change ...func(*Config)) *play {
	cfg := config()
	cfg.Epoch, cfg.Store = 2, d
	for _, f := range change {
		f(&cfg)
	}
	return start(t, p.world, cfg)
}

// A healthy replica writes nothing after its first round, however often it is ticked. An overload writes when it begins,
// when it is confirmed, and when something else comes of it, not at each sample.
func TestNothingChangedWritesNothing(t *testing.T) {
	d := newDisk(t)
	cfg := config()
	cfg.Store = d
	p := start(t, overloaded(), cfg)
	p.run(500 * time.Millisecond)
	began := len(d.writes)
	for range 600 {
		p.run(100 * time.Millisecond)
		p.r.round(p.now, true) // woken
	}
	if got := d.writes[began:]; len(got) > 0 {
		t.Errorf("idle for a minute, and wrote %d records: %q", len(got), got)
	}
	p.load("kms", 3.4) // fits nowhere
	all := d.of("kms-0")
	for second := range 30 {
		before := d.of("kms-0")
		for range 10 {
			p.run(100 * time.Millisecond)
			p.r.round(p.now, true)
		}
		if n := d.of("kms-0") - before; second > 0 && n > 1 { // in the first one it is seen, and the count begins
			t.Errorf("%d records in a second: %q", n, d.writes)
		}
	}
	if n := d.of("kms-0") - all; n > 12 {
		t.Errorf("%d records in 30 s of an overload that nothing can be done about: %q", n, d.writes)
	}
}

// Killed at any moment of a move, the manager is followed by one whose tree stands where the other's stood.
func TestKilledAndResumed(t *testing.T) {
	at := map[string]bool{}
	for after := 4 * time.Second; after < 9*time.Second; after += 50 * time.Millisecond {
		p, d := durable(t, nil)
		p.run(after)
		path := p.path("kms-0")
		next := heir(t, p, d)
		if i := strings.Index(path, "*"); i >= 0 {
			leaf := path[i+1:]
			next.run(0)
			at[leaf] = true
			if leaf != "SustainedOverload" { // whose samples may be enough by now
				said := next.find("kms", "resumed")
				if !strings.HasSuffix(strings.SplitN(said.Text, "::", 2)[0], "/"+leaf) || said.Op != "tree-kms-0-e1-1" {
					t.Errorf("killed in %s after %v: %+v", leaf, after, said)
				}
			}
		}
		next.run(90 * time.Second)
		next.on("kms", "leaf3")
		next.orders("move kms-0 to leaf3")
		if leaf := path[strings.Index(path, "*")+1:]; at[leaf] && leaf != "SustainedOverload" {
			if moved := next.find("kms", "moved").Text; !strings.Contains(moved, "compute of leaf1 above 0.80 for 5 samples") {
				t.Errorf("killed in %s: the reason is lost: %s", leaf, moved)
			}
		}
		if got := next.board["root"]["Policy1"]; got != "kms-0 on leaf3" {
			t.Errorf("after %v: Policy1 is %q", after, got)
		}
	}
	for _, leaf := range []string{"SustainedOverload", "TransferData", "Prewarm", "Cutover"} {
		if !at[leaf] {
			t.Errorf("never killed in %s", leaf)
		}
	}
}

// A refusal that comes after the restart is heard by a run that can still ask the next node.
func TestRefusedAfterRestart(t *testing.T) {
	p, d := durable(t, nil)
	p.refuses["leaf3"] = "kms-0 is ready here"
	p.run(5050 * time.Millisecond)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "*TransferData") {
		t.Fatalf("path %s", got)
	}
	next := heir(t, p, d)
	next.run(20 * time.Second)
	next.on("kms", "leaf2")
	next.orders("move kms-0 to leaf3", "move kms-0 to leaf2")
	if got := next.find("kms", "moved").Text; !strings.Contains(got, "compute of leaf1 above") {
		t.Errorf("%s", got)
	}
}

// A deployment in flight is followed to its end by the next manager, and refused by its node goes on to another.
func TestDeploymentIsResumed(t *testing.T) {
	for name, why := range map[string]string{"committed": "", "refused": "no such runtime"} {
		t.Run(name, func(t *testing.T) {
			w := star("leaf1", "leaf2")
			w.nodes["leaf2"].base["compute"] = 1
			w.wanted = []decide.Replica{service("kms", 1)}
			if why != "" {
				w.refuses["leaf1"] = why
			}
			d := newDisk(t)
			cfg := config()
			cfg.Store = d
			p := start(t, w, cfg)
			p.run(50 * time.Millisecond)
			next := heir(t, p, d)
			next.run(5 * time.Second)
			if why != "" {
				next.on("kms", "leaf2")
				return
			}
			next.on("kms", "leaf1")
			next.find("kms", "deployed")
			next.orders("deploy kms-0 to leaf1")
		})
	}
}

// Deadlines go on: two minutes of Prewarm are two minutes, whoever was manager when. A clock that was set back makes them
// no longer than from now; one that was set forward ends them, and what can be taken back is.
func TestDeadlinesOverARestart(t *testing.T) {
	for name, c := range map[string]struct {
		step time.Duration
		left time.Duration // until the Timeout of Prewarm, from the restart on
	}{
		"same clock":  {0, 70 * time.Second},
		"set back":    {-time.Hour, 120 * time.Second},
		"set forward": {time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, d := durable(t, nil)
			p.stuck[decide.Prewarm] = true
			p.run(6 * time.Second) // Prewarm begins
			p.run(50 * time.Second)
			if got := p.path("kms-0"); got != "*Prewarm" {
				t.Fatalf("path %s", got)
			}
			for _, op := range p.ops {
				op.due = op.due.Add(c.step) // the work in the world does not follow the manager's clock
			}
			p.now = p.now.Add(c.step)
			next := heir(t, p, d)
			if c.left > 0 {
				next.run(c.left - time.Second)
				if got := next.path("kms-0"); got != "*Prewarm" {
					t.Fatalf("%v after the restart: path %s", c.left-time.Second, got)
				}
			}
			next.run(2 * time.Second)
			if got := next.path("kms-0"); got != "*Rollback" {
				t.Errorf("path %s", got)
			}
			next.on("kms", "leaf1")
		})
	}
}

// A cut-over in doubt stays in doubt over restarts and steps of the clock: it is asked for, and nothing is taken back.
func TestDoubtOverARestart(t *testing.T) {
	p, d := durable(t, nil)
	p.stuck[decide.Cutover] = true
	p.run(10 * time.Second)
	if got := p.path("kms-0"); got != "*Cutover" {
		t.Fatalf("path %s", got)
	}
	p.now = p.now.Add(30 * time.Minute) // not yet the hour that it is stuck for
	next := heir(t, p, d)
	next.run(5 * time.Second)
	if got := next.path("kms-0"); got != "*Ask" {
		t.Errorf("path %s", got)
	}
	next.run(40 * time.Minute)
	next.on("kms", "leaf3")
	const op = "tree-kms-0-e1-1"
	if want := []string{"prewarm " + op, "cutover " + op}; !slices.Equal(p.asked, want) {
		t.Errorf("asked for %q", p.asked)
	}
}

// Another file of trees: what runs goes on in it where it has the same nodes; else the tree begins anew, and finds its
// operation in the world.
func TestRestartWithAnotherFile(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		resumed  bool
		at       string
	}{
		"a threshold":          {`<LeavesFirst snapshot="{net}"`, `<AlwaysSuccess/><LeavesFirst snapshot="{net}"`, true, "*Prewarm"},
		"the Timeout it is in": {`<Timeout msec="120000"><Prewarm`, `<Timeout msec="130000"><Prewarm`, false, "*TransferData"},
	} {
		t.Run(name, func(t *testing.T) {
			p, d := durable(t, nil)
			p.stuck[decide.Prewarm] = true
			p.run(8 * time.Second)
			next := heir(t, p, d, func(c2 *Config) { c2.File = file(edit(t, c.old, c.new)) })
			next.run(time.Second)
			if got := next.path("kms-0"); !strings.HasSuffix(got, c.at) {
				t.Fatalf("path %s", got)
			}
			list := next.r.Why("kms", 100)
			if resumed := len(list) > 0 && list[0].What == "resumed"; resumed != c.resumed {
				t.Errorf("resumed: %v, said %+v", resumed, list)
			}
			p.ops["tree-kms-0-e1-1"].due = next.now
			third := heir(t, next, d, func(c3 *Config) { c3.Epoch, c3.File = 3, file(edit(t, c.old, c.new)) })
			third.run(30 * time.Second)
			third.on("kms", "leaf3")
			third.orders("move kms-0 to leaf3")
		})
	}
}

// Files nobody has any more, a run that no version wrote: the manager starts all the same.
func TestUnusableRun(t *testing.T) {
	p, d := durable(t, nil)
	p.run(5500 * time.Millisecond)
	for _, damage := range []func(){
		func() { d.files = nil; s := d.runs["kms-0"]; s.Tree++; d.runs["kms-0"] = s },
		func() { s := d.runs["kms-0"]; s.Nodes[0].UID = 5000; d.runs["kms-0"] = s },
	} {
		damage()
		next := heir(t, p, d)
		next.run(50 * time.Millisecond)
		if got := next.path("kms-0"); !strings.HasSuffix(got, "*TransferData") {
			t.Errorf("path %s", got)
		}
		if s := d.runs["kms-0"]; s.Tree != next.r.programs.replica.Hash() || len(s.Nodes) == 0 {
			t.Errorf("kept %+v", s)
		}
	}
}

// Who lost the leadership lets go: no order goes out, nothing is taken back, and what was kept stays.
func TestLetGo(t *testing.T) {
	p, d := durable(t, nil)
	p.run(6200 * time.Millisecond)
	kept, asked := len(d.writes), len(p.asked)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if len(d.writes) != kept || len(p.asked) != asked {
		t.Errorf("wrote %q, asked for %q", d.writes[kept:], p.asked[asked:])
	}
	next := heir(t, p, d)
	next.run(20 * time.Second)
	next.on("kms", "leaf3")
	next.orders("move kms-0 to leaf3")
}

func TestEndedTreeIsForgotten(t *testing.T) {
	p, d := durable(t, nil)
	p.run(6 * time.Second)
	delete(p.replicas, id("kms"))
	clear(p.ops)
	next := heir(t, p, d) // that happened while no manager ran
	next.run(time.Second)
	if _, kept := d.runs["kms-0"]; kept || d.writes[len(d.writes)-1] != "kms-0 gone" {
		t.Errorf("writes %q", d.writes)
	}
}

// A service that failed rests as long as it would have.
func TestRestsOverARestart(t *testing.T) {
	d := newDisk(t)
	cfg := config()
	cfg.Store = d
	p := start(t, overloaded(), cfg)
	p.load("kms", 3.4) // fits nowhere
	p.run(21 * time.Second)
	if got := p.find("kms", "rests").Text; got != "try 5 failed; again in 16s" {
		t.Fatal(got)
	}
	next := heir(t, p, d)
	next.run(14 * time.Second)
	for _, e := range next.r.Why("kms", 100) {
		if e.What == "rests" {
			t.Fatalf("tried again: %+v", e)
		}
	}
	next.run(10 * time.Second)
	if got := next.find("kms", "rests").Text; got != "try 6 failed; again in 32s" {
		t.Error(got)
	}
}
