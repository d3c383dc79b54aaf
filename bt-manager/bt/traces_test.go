package bt_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// trace is one generated tree and what BehaviorTree.CPP 4.10 did with it.
type trace struct {
	Halt  int    `json:"halt"` // this tick is a halt of the tree; -1 = none
	MS    int    `json:"ms"`   // between ticks; 0 = 1
	XML   string `json:"xml"`
	Ticks []struct {
		Root string   `json:"r"`
		V    float64  `json:"v"`
		T    [][3]int `json:"t"` // UID, from, to
	} `json:"ticks"`
	ErrorAt *int   `json:"error_at"` // at this tick it threw instead
	Error   string `json:"error"`
}

// player is the leaf of the generated trees: it plays its string in a circle over its whole life.
type player struct{ at int }

func (p *player) next(c *bt.Ctx) bt.Status {
	s := c.Text(0)
	p.at++
	switch s[(p.at-1)%len(s)] {
	case 'R':
		return bt.Running
	case 'S':
		return bt.Success
	}
	return bt.Failure
}

func (p *player) OnStart(c *bt.Ctx) bt.Status   { return p.next(c) }
func (p *player) OnRunning(c *bt.Ctx) bt.Status { return p.next(c) }
func (p *player) OnHalted(*bt.Ctx, bt.HaltWhy)  {}

type condition struct{ player }

func (p *condition) Tick(c *bt.Ctx) bt.Status { return p.next(c) }

// traceRegistry has the leaves of the generated trees. The engine has a shorter way for Func leaves, so the traces run
// with conditions of both kinds.
func traceRegistry(plain bool) *bt.Registry {
	reg := bt.NewRegistry()
	play := []bt.Port{{Name: "s", Type: board.Text}}
	reg.Add("L", bt.Action, play, func() bt.Leaf { return &player{} })
	reg.Add("C", bt.Condition, play, func() bt.Leaf {
		c := &condition{}
		if plain {
			return bt.Func(c.Tick)
		}
		return onlySync{c}
	})
	return reg
}

// onlySync hides that a condition here could also be started.
type onlySync struct{ bt.Sync }

// TestTraces runs every tree of a trace file and compares every status change, answer and value of v with what
// BehaviorTree.CPP 4.10 did. BT_TRACES names another file than those in testdata.
//
// Where ours differs on purpose the comparison ends, and only there: each tree must show by itself that a row of
// docs/decisions/0010 is why. For a file with a list beside it, NAME.rulings, the list must name just those trees.
func TestTraces(t *testing.T) {
	files := []string{"testdata/bt-traces.jsonl.gz", "testdata/bt-traces-more.jsonl.gz"}
	if own := os.Getenv("BT_TRACES"); own != "" {
		if _, err := os.Stat(own); err != nil && !filepath.IsAbs(own) {
			own = filepath.Join("..", "..", own) // a test runs in its package's folder, who names the file sits in the root
		}
		files = []string{own}
	}
	for _, file := range files {
		t.Run(strings.SplitN(filepath.Base(file), ".", 2)[0], func(t *testing.T) { testTraces(t, file) })
	}
}

func testTraces(t *testing.T, file string) {
	list, listed := readTraces(t, file), readRulings(t, file)
	equal, ticks, changes := 0, 0, 0
	rulings := map[string]int{}
	for number, tr := range list {
		n, m, ruled, err := play(traceRegistry(false), tr)
		if err == nil {
			_, _, _, err = play(traceRegistry(true), tr)
		}
		if err != nil {
			t.Fatalf("%s, tree %d: %v\n%s", file, number, err, tr.XML)
		}
		if listed != nil && listed[number] != ruled {
			t.Errorf("%s, tree %d: ruling %q, the list of rulings says %q", file, number, ruled, listed[number])
		}
		if ruled != "" {
			rulings[ruled]++
		} else {
			equal++
		}
		ticks += n
		changes += m
	}
	if equal == 0 {
		t.Fatalf("%s: of %d trees none is equal to the end", file, len(list))
	}
	t.Logf("%s: %d of %d trees equal to the end; %d ticks and %d transitions equal in all", file, equal, len(list), ticks, changes)
	for _, r := range slices.Sorted(maps.Keys(rulings)) {
		t.Logf("  %d trees equal up to a ruling: %s", rulings[r], r)
	}
}

// Rows of docs/decisions/0010 that traces can meet.
const (
	ruledIf      = "IfThenElse with a skipped condition is SKIPPED"
	ruledWhile   = "WhileDoElse with a skipped condition is SKIPPED"
	ruledSettled = "Parallel with all children settled is not RUNNING"
	ruledTimeout = "Timeout halts its child in its own tick"
)

// thrown names the row by which ours goes on where v4 threw, "" when it did not.
func thrown(tr trace) (string, error) {
	switch {
	case tr.ErrorAt == nil:
		return "", nil
	case strings.Contains(tr.Error, "unexpected happened in IfThenElse"):
		return ruledIf, nil
	case strings.Contains(tr.Error, "[WhileDoElse]: you are not allowed to set manually the status to IDLE"):
		return ruledWhile, nil
	}
	return "", fmt.Errorf("v4 threw at tick %d, and no ruling covers it: %s", *tr.ErrorAt, tr.Error)
}

// differs names the row that is why a tick's transitions differ, "" when none is.
func differs(in *bt.Instance, got, want [][3]int) string {
	k := 0
	for k < len(got) && k < len(want) && got[k] == want[k] {
		k++
	}
	nodes := in.Program().Nodes()
	above := func(uid int, typ string) (found int) { // nearest first
		for ; uid > 0; uid = nodes[uid-1].Parent {
			if nodes[uid-1].Type == typ {
				return uid
			}
		}
		return 0
	}
	if k < len(want) && want[k][2] == int(bt.Idle) && above(want[k][0], "Timeout") > 0 && sameInAnyOrder(got, want) {
		return ruledTimeout
	}
	if k == len(got) {
		return ""
	}
	// Ours ended a Parallel of which v4 heard no answer.
	for uid := above(got[k][0], "Parallel"); uid > 0; uid = above(nodes[uid-1].Parent, "Parallel") {
		answered := slices.ContainsFunc(want[k:], func(c [3]int) bool { return c[0] == uid && bt.Status(c[2]).Done() })
		if in.Note(uid) == bt.SettledNote && !answered {
			return ruledSettled
		}
	}
	return ""
}

func sameInAnyOrder(a, b [][3]int) bool {
	order := func(x, y [3]int) int { return slices.Compare(x[:], y[:]) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

// play runs one tree. It gives how much was equal, and the ruling that ended the comparison, "" when all was equal.
func play(reg *bt.Registry, tr trace) (ticks, changes int, ruled string, err error) {
	prog, faults := xmlv4.Load(fstest.MapFS{"t.xml": {Data: []byte(tr.XML)}}, "t.xml", reg, xmlv4.Options{Given: []string{"v", "w"}})
	if prog == nil {
		return 0, 0, "", fmt.Errorf("load: %v", faults)
	}
	ruled, err = thrown(tr)
	if err != nil {
		return 0, 0, "", err
	}
	in := prog.New(nil)
	now := time.Unix(0, 0)
	step := time.Duration(max(tr.MS, 1)) * time.Millisecond
	set := func(key string, v any) {
		if prog.Uses(key) {
			if err := in.Set(key, v, now); err != nil {
				panic(err)
			}
		}
	}
	set("v", 0.0)
	for k, want := range tr.Ticks {
		now = now.Add(step)
		ring := bt.NewRing(1 << 12)
		in.Attach(ring)
		set("w", fmt.Sprint(k%2))
		root := "HALT"
		if k == tr.Halt {
			in.Halt(now, bt.HaltTree)
		} else {
			st, _ := in.Tick(now)
			root = st.String()
		}
		var got [][3]int
		for _, c := range ring.Changes() {
			got = append(got, [3]int{int(c.UID), int(c.From), int(c.To)})
		}
		if !slices.Equal(got, want.T) {
			if why := differs(in, got, want.T); why != "" {
				return ticks, changes, why, nil
			}
			return ticks, changes, "", fmt.Errorf("tick %d:\n got %v %s\nwant %v %s", k, got, root, want.T, want.Root)
		}
		if root != want.Root {
			return ticks, changes, "", fmt.Errorf("tick %d: root %s, want %s; both moved %v", k, root, want.Root, got)
		}
		if v := in.Get("v"); prog.Uses("v") && v.Float() != want.V {
			return ticks, changes, "", fmt.Errorf("tick %d: v = %v, want %v; both moved %v", k, v, want.V, got)
		}
		ticks++
		changes += len(got)
	}
	if tr.ErrorAt != nil { // where v4 threw, ours answers
		if *tr.ErrorAt != len(tr.Ticks) {
			return ticks, changes, "", fmt.Errorf("v4 threw at tick %d but %d ticks are recorded", *tr.ErrorAt, len(tr.Ticks))
		}
		set("w", fmt.Sprint(len(tr.Ticks)%2))
		if st, _ := in.Tick(now.Add(step)); st == bt.Idle {
			return ticks, changes, "", fmt.Errorf("tick %d: no answer", *tr.ErrorAt)
		}
	}
	return ticks, changes, ruled, nil
}

func readTraces(t *testing.T, file string) []trace {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = bufio.NewReader(f)
	if magic, err := r.(*bufio.Reader).Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	var list []trace
	for dec := json.NewDecoder(r); ; {
		var tr trace
		if err := dec.Decode(&tr); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatalf("%s, tree %d: %v", file, len(list)+1, err)
		}
		list = append(list, tr)
	}
}

// readRulings reads the list beside a trace file of the trees that end in a ruling, nil without one.
func readRulings(t *testing.T, file string) map[int]string {
	t.Helper()
	name := strings.TrimSuffix(strings.TrimSuffix(file, ".gz"), ".jsonl") + ".rulings"
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	list := map[int]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var n int
		if _, err := fmt.Sscan(line, &n); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		_, list[n], _ = strings.Cut(line, " ")
	}
	return list
}
