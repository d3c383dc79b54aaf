package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/xmlv4"
	"sonic-netservices/internal/btlog"
)

// rig ticks trees and has what they do recorded.
type rig struct {
	*Recorder
	t     *testing.T
	log   bytes.Buffer
	trees map[string]*running
	now   time.Time
}

type running struct {
	run  *bt.Instance
	ring *bt.Ring
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "log")
	r := &rig{t: t, trees: map[string]*running{}, now: time.Unix(1_800_000_000, 0)}
	var err error
	if r.Recorder, err = New(cfg, slog.New(slog.NewTextHandler(&r.log, nil))); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) begin(name, xml string) *bt.Instance {
	r.t.Helper()
	prog, faults := xmlv4.Load(fstest.MapFS{"t": {Data: []byte(xml)}}, "t", bt.NewRegistry(), xmlv4.Options{Given: []string{"x"}})
	if prog == nil {
		r.t.Fatalf("load:\n%s", faults)
	}
	one := &running{prog.New(nil), bt.NewRing(64)}
	one.run.Attach(one.ring)
	r.trees[name] = one
	return one.run
}

// round ticks every tree and writes.
func (r *rig) round() {
	r.now = r.now.Add(time.Second)
	for name, one := range r.trees {
		one.run.Tick(r.now)
		r.Ticked(name, one.run, one.ring)
	}
	r.RoundEnded()
	r.flush()
}

// read gives a log as one line a change, and how it ends.
func (r *rig) read(name string, ago int) (string, *btlog.Reader) {
	r.t.Helper()
	f, err := r.Open(name, ago)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	log, err := btlog.NewReader(f)
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for {
		c, err := log.Next()
		if err == io.EOF {
			return b.String(), log
		}
		if err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%v %d %v\n", c.Since, c.Node.UID, c.To)
	}
}

const simple = `<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence><AlwaysSuccess/><AlwaysSuccess _skipIf="x == 1"/></Sequence></BehaviorTree></root>`

// The tree of testdata/run.xml does here what it did in BehaviorTree.CPP, to the last record.
func TestAsTheOriginal(t *testing.T) {
	source, err := os.ReadFile("../../internal/btlog/testdata/run.xml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../internal/btlog/testdata/run.btlog")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{})
	r.begin("", string(source))
	r.round()
	r.round()
	got, err := os.ReadFile(filepath.Join(r.cfg.Dir, "intake.btlog"))
	if err != nil {
		t.Fatal(err)
	}
	if g, w := records(t, got), records(t, want); g != w {
		t.Errorf("recorded\n%swant\n%s", g, w)
	}
}

// records lists what a log has without its times.
func records(t *testing.T, log []byte) string {
	t.Helper()
	r, err := btlog.NewReader(bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for {
		c, err := r.Next()
		if err != nil {
			return b.String()
		}
		fmt.Fprintln(&b, c.Node.UID, c.From, c.To)
	}
}

func TestOnlyWhatIsNew(t *testing.T) {
	r := newRig(t, Config{})
	run := r.begin("kms-0", simple)
	set := func(x int) {
		if err := run.Set("x", x, r.now); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	for range 5 {
		r.round()
	}
	set(1)
	for range 5 {
		r.round()
	}
	got, log := r.read("kms-0", 0)
	if want := `0s 1 RUNNING
0s 2 SUCCESS
0s 3 SUCCESS
0s 2 IDLE
0s 3 IDLE
0s 1 SUCCESS
0s 1 IDLE
5s 1 RUNNING
5s 2 SUCCESS
5s 2 IDLE
5s 1 SUCCESS
5s 1 IDLE
`; got != want {
		t.Errorf("recorded\n%s", got)
	}
	if !log.Began.Equal(time.Unix(1_800_000_001, 0)) || log.Tree.Main != "M" {
		t.Errorf("began %v, tree %s", log.Began, log.Tree.Main)
	}
}

const waiting = `<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence><AlwaysSuccess/><Fallback><AlwaysFailure _skipIf="x == 1"/><Sleep msec="100000"/></Fallback>
	</Sequence></BehaviorTree></root>`

// A new file begins when one is full, when the tree is another, and when the manager begins; each can be read alone.
func TestFilesTurn(t *testing.T) {
	r := newRig(t, Config{FileBytes: 30, Files: 2})
	run := r.begin("kms-0", waiting)
	_ = run.Set("x", 0, r.now)
	r.round() // 5 records: full
	run.Halt(r.now, bt.HaltTree)
	r.round()
	first, _ := r.read("kms-0", 1)
	second, _ := r.read("kms-0", 0)
	if want := "0s 1 RUNNING\n0s 2 SUCCESS\n0s 3 RUNNING\n0s 4 FAILURE\n0s 5 RUNNING\n"; first != want {
		t.Errorf("first\n%s", first)
	}
	if !strings.HasPrefix(second, first) || !strings.Contains(second[len(first):], " 5 IDLE\n") || !strings.HasSuffix(second, " 5 RUNNING\n") {
		t.Errorf("second\n%s", second)
	}

	r.begin("kms-0", simple)
	r.round()
	if third, log := r.read("kms-0", 0); len(log.Tree.Nodes) != 3 || !strings.HasPrefix(third, "0s 1 RUNNING\n") {
		t.Errorf("after a reload\n%s", third)
	}
	again, err := New(r.cfg, r.Recorder.log)
	if err != nil {
		t.Fatal(err)
	}
	r.Recorder = again // a manager that begins
	r.begin("kms-0", simple)
	r.round()
	list, _ := filepath.Glob(filepath.Join(r.cfg.Dir, "*"))
	for i := range list {
		list[i] = filepath.Base(list[i])
	}
	if want := []string{"kms-0.1.btlog", "kms-0.2.btlog", "kms-0.btlog"}; !slices.Equal(list, want) {
		t.Errorf("files %v, want %v", list, want)
	}
	if text, _ := r.read("kms-0", 2); !strings.HasPrefix(text, first) {
		t.Errorf("oldest file\n%s", text)
	}
}

// Trees are ticked when something concerns them, so most are not ticked in most rounds.
func TestTreesAreNotTickedTogether(t *testing.T) {
	r := newRig(t, Config{})
	trees := map[string]*running{}
	for _, name := range []string{"", "kms-0"} {
		r.begin(name, simple)
		trees[name] = r.trees[name]
	}
	for i := range 6 {
		r.trees = map[string]*running{"": trees[""]}
		if i%2 == 0 {
			r.trees = map[string]*running{"kms-0": trees["kms-0"]}
		}
		_ = trees["kms-0"].run.Set("x", i/4, r.now)
		r.round()
	}
	list, _ := filepath.Glob(filepath.Join(r.cfg.Dir, "*"))
	if got, _ := r.read("kms-0", 0); len(list) != 2 || strings.Count(got, " 1 RUNNING") != 2 {
		t.Errorf("files %v, recorded\n%s", list, got)
	}
}

// A tree whose ring has lost changes, and one that was restored, are shown as they are.
func TestStatusesOfTheMoment(t *testing.T) {
	r := newRig(t, Config{})
	run := r.begin("kms-0", waiting)
	_ = run.Set("x", 0, r.now)
	r.round()
	snap := run.Snapshot()
	next := r.begin("kms-0", waiting)
	if err := next.Restore(snap); err != nil {
		t.Fatal(err)
	}
	r.round()
	if got, _ := r.read("kms-0", 0); !strings.Contains(got, "0s 1 RUNNING\n0s 2 SUCCESS\n0s 3 RUNNING\n") {
		t.Errorf("restored\n%s", got)
	}
	for range 100 { // halts the ring is too small for
		next.Halt(r.now, bt.HaltTree)
		next.Tick(r.now)
	}
	r.round()
	if got, _ := r.read("kms-0", 0); got != "0s 1 RUNNING\n0s 2 SUCCESS\n0s 3 RUNNING\n0s 4 FAILURE\n0s 5 RUNNING\n" {
		t.Errorf("lost\n%s", got)
	}
}

func TestBounds(t *testing.T) {
	r := newRig(t, Config{Trees: 2, DirBytes: 40000})
	for i := range 3 {
		r.begin(fmt.Sprintf("kms-%d", i), simple)
	}
	r.round()
	r.round()
	list, _ := filepath.Glob(filepath.Join(r.cfg.Dir, "*"))
	if len(list) != 2 || strings.Count(r.log.String(), "too many trees") != 1 {
		t.Errorf("files %v, log %s", list, r.log.String())
	}
	end := func() {
		for name := range r.trees {
			delete(r.trees, name)
			r.Ended(name)
		}
	}
	for i := range 20 {
		end()
		r.begin(fmt.Sprintf("other-%d", i), simple)
		r.round()
	}
	var all int64
	list, _ = filepath.Glob(filepath.Join(r.cfg.Dir, "*"))
	for _, p := range list {
		if info, err := os.Stat(p); err == nil {
			all += info.Size()
		}
	}
	if all > 40000+20000 || len(list) < 2 {
		t.Errorf("%d bytes in %v", all, list)
	}
	if _, err := r.Open("kms-0", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest is still there: %v", err)
	}
	for _, bad := range []string{"../log/other-19", "/etc/passwd", "other-19/../other-19"} {
		if f, err := r.Open(bad, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opened %s: %v %v", bad, f, err)
		}
	}
	if _, err := r.Open("other-19", 4); err == nil || !strings.Contains(err.Error(), "up to 3 are kept") {
		t.Errorf("file 4: %v", err)
	}
	if err := os.Remove(r.path("other-19", 0)); err != nil {
		t.Fatal(err)
	}
	r.trees["other-19"].run.Halt(r.now, bt.HaltTree)
	_ = r.trees["other-19"].run.Set("x", 1, r.now)
	r.round()
	if _, err := r.Open("other-19", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that somebody removed is back without its head: %v", err)
	}
}

func TestRunWritesWhatIsLeft(t *testing.T) {
	r := newRig(t, Config{})
	r.begin("kms-0", simple)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() { r.Run(ctx); close(ended) }()
	r.now = r.now.Add(time.Second)
	one := r.trees["kms-0"]
	one.run.Tick(r.now)
	r.Ticked("kms-0", one.run, one.ring)
	r.RoundEnded()
	cancel()
	<-ended
	if got, _ := r.read("kms-0", 0); strings.Count(got, "\n") != 7 {
		t.Errorf("recorded\n%s", got)
	}
}
