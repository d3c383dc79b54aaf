package bt_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
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
// BehaviorTree.CPP 4.10 did. BT_TRACES names another file than the one in testdata.
func TestTraces(t *testing.T) {
	file := os.Getenv("BT_TRACES")
	own := file == ""
	if own {
		file = "testdata/bt-traces.jsonl.gz"
	}
	trees, ticks, changes := 0, 0, 0
	rulings := map[string]int{}
	listed := exceptions(t)
	for number, tr := range readTraces(t, file) {
		n, m, ruled, err := play(traceRegistry(false), tr)
		if err == nil {
			_, _, _, err = play(traceRegistry(true), tr)
		}
		if err != nil {
			t.Fatalf("tree %d: %v\n%s", number, err, tr.XML)
		}
		if own && listed[number] != ruled {
			t.Errorf("tree %d: ruling %q, testdata/bt-traces.rulings says %q", number, ruled, listed[number])
		}
		if ruled != "" {
			rulings[ruled]++
		} else {
			trees++
		}
		ticks += n
		changes += m
	}
	if trees == 0 {
		t.Fatal("no tree in the file")
	}
	t.Logf("%d trees equal to the end, %d ticks and %d transitions equal in all; equal up to a ruling:", trees, ticks, changes)
	for r, n := range rulings {
		t.Logf("  %d trees: %s", n, r)
	}
}

// settled is the ruling on a Parallel whose children have all ended or were skipped.
const settled = "Parallel with all children settled is not RUNNING"

// ruling names the row of docs/decisions/0010 by which ours goes on where v4 threw.
func ruling(tr trace) string {
	switch {
	case tr.ErrorAt == nil:
		return ""
	case strings.Contains(tr.Error, "unexpected happened in IfThenElse"):
		return "IfThenElse with a skipped condition is SKIPPED"
	case strings.Contains(tr.Error, "[WhileDoElse]: you are not allowed to set manually the status to IDLE"):
		return "WhileDoElse with a skipped condition is SKIPPED"
	}
	return "unknown: " + tr.Error
}

// play runs one tree. It gives how much was equal, and the ruling that ended the comparison, "" when all was equal.
func play(reg *bt.Registry, tr trace) (ticks, changes int, ruled string, err error) {
	prog, faults := xmlv4.Load(fstest.MapFS{"t.xml": {Data: []byte(tr.XML)}}, "t.xml", reg, xmlv4.Options{Given: []string{"v", "w"}})
	if prog == nil {
		return ticks, changes, "", fmt.Errorf("load: %v", faults)
	}
	if strings.HasPrefix(ruling(tr), "unknown") {
		return ticks, changes, "", fmt.Errorf("v4 threw at tick %d, and no ruling covers it: %s", *tr.ErrorAt, tr.Error)
	}
	in := prog.New(nil)
	now := time.Unix(0, 0)
	set := func(key string, v any) {
		if prog.Uses(key) {
			if err := in.Set(key, v, now); err != nil {
				panic(err)
			}
		}
	}
	set("v", 0.0)
	for k, want := range tr.Ticks {
		now = now.Add(time.Millisecond)
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
		if fmt.Sprint(got) != fmt.Sprint(want.T) {
			if settledAt(in, firstDifference(got, want.T)) {
				return ticks, changes, settled, nil
			}
			return ticks, changes, "", fmt.Errorf("tick %d:\n got %v %s\nwant %v %s", k, got, root, want.T, want.Root)
		}
		if root != want.Root {
			return ticks, changes, "", fmt.Errorf("tick %d: root %s, want %s", k, root, want.Root)
		}
		if v := in.Get("v"); prog.Uses("v") && v.Float() != want.V {
			return ticks, changes, "", fmt.Errorf("tick %d: v = %v, want %v", k, v, want.V)
		}
		ticks++
		changes += len(got)
	}
	if tr.ErrorAt != nil { // where v4 threw, ours answers
		if *tr.ErrorAt != len(tr.Ticks) {
			return ticks, changes, "", fmt.Errorf("v4 threw at tick %d but %d ticks are recorded", *tr.ErrorAt, len(tr.Ticks))
		}
		set("w", fmt.Sprint(len(tr.Ticks)%2))
		if st, _ := in.Tick(now.Add(time.Millisecond)); st == bt.Idle {
			return ticks, changes, "", fmt.Errorf("tick %d: no answer", *tr.ErrorAt)
		}
	}
	return ticks, changes, ruling(tr), nil
}

// settledAt says whether a node is, or lies below, a Parallel that answered by our ruling. Its first such answer always
// differs from v4's RUNNING.
func settledAt(in *bt.Instance, uid int) bool {
	for nodes := in.Program().Nodes(); uid > 0; uid = nodes[uid-1].Parent {
		if nodes[uid-1].Type == "Parallel" && in.Note(uid) == bt.SettledNote {
			return true
		}
	}
	return false
}

// firstDifference gives the node that moved in ours but not, or not so, in v4; 0 when ours only moved less.
func firstDifference(got, want [][3]int) int {
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			return got[i][0]
		}
	}
	return 0
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

// exceptions reads the list of trees in the default file that end where v4 threw.
func exceptions(t *testing.T) map[int]string {
	t.Helper()
	text, err := os.ReadFile("testdata/bt-traces.rulings")
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
			t.Fatalf("bt-traces.rulings: %q: %v", line, err)
		}
		_, list[n], _ = strings.Cut(line, " ")
	}
	return list
}
