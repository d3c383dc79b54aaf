package xmlv4

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
)

var update = flag.Bool("update", false, "record the errors of testdata/bad")

// move is a leaf that takes time.
type move struct{}

func (move) OnStart(*bt.Ctx) bt.Status    { return bt.Running }
func (move) OnRunning(*bt.Ctx) bt.Status  { return bt.Success }
func (move) OnHalted(*bt.Ctx, bt.HaltWhy) {}

func registry() *bt.Registry {
	reg := bt.NewRegistry()
	ok := func(*bt.Ctx) bt.Status { return bt.Success }
	reg.AddFunc("Overloaded", bt.Condition, []bt.Port{{Name: "node", Type: board.Text},
		{Name: "limit", Type: board.Real, Min: 0, Max: 1}}, ok)
	reg.AddFunc("Measure", bt.Action, []bt.Port{{Name: "load", Dir: bt.Out, Type: board.Real}}, ok)
	reg.AddFunc("Choose", bt.Action, []bt.Port{{Name: "net", Type: board.Opaque}}, ok)
	reg.Add("Move", bt.Action, []bt.Port{{Name: "target", Type: board.Text}}, func() bt.Leaf { return move{} })
	return reg
}

// Every file in testdata/bad gives exactly the text under "want": all its faults, each with place, line and caret.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d bad files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			disk := fstest.MapFS{}
			last := len(a.Files) - 1
			for _, f := range a.Files[:last] {
				disk[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			prog, faults := Load(disk, "tree.xml", registry(), Options{})
			got := faults.String()
			if *update {
				a.Files[last].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(a.Files[last].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if got == "" || (prog == nil) != faults.Failed() {
				t.Errorf("a program: %v, faults: %d", prog != nil, len(faults.Diags))
			}
		})
	}
}

// Every class of fault that the loader is to find has a file in testdata/bad that shows it.
func TestEveryClassHasABadFile(t *testing.T) {
	var all strings.Builder
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(a.Files[len(a.Files)-1].Data)
	}
	for class, says := range map[string]string{
		"not well-formed":                 `</BehaviorTree> closes <AlwaysSuccess> of line 3`,
		"wrong format":                    `format "5"; this engine reads format 4`,
		"no format":                       `<root> lacks BTCPP_format="4"`,
		"unknown node":                    `unknown node <Overlaoded>; did you mean <Overloaded>?`,
		"unknown port":                    `<Overloaded> has no port "nod"; did you mean node?`,
		"unknown attribute":               `unknown attribute "_skipif"; did you mean _skipIf?`,
		"duplicate attribute":             `attribute "name" twice; the first is at tree.xml:3:20`,
		"duplicate tree":                  `a second tree "A"; the first is at tree.xml:2:3`,
		"second root":                     `a second root element <root>; the first is at tree.xml:1:1`,
		"child count":                     `<Inverter> has exactly 1 child, not 2`,
		"port missing":                    `<Overloaded> lacks its port "limit"`,
		"literal of the wrong type":       `port "msec": "soon" is no int`,
		"literal out of range":            `port "limit": 1.5 is out of range 0 to 1`,
		"type clash":                      `entry "x" is string here but real at tree.xml:4:22`,
		"read, never written":             `entry "where" is read here but nothing writes it`,
		"script: syntax":                  `tree.xml:4:32: script: want ')', got the end`,
		"script: unknown name":            `entry "cuont" is read here but nothing writes it; did you mean count?`,
		"unknown subtree":                 `no tree "Migrat"; did you mean Migrate?`,
		"recursion":                       `tree "A" contains itself: A > B > C > A`,
		"circular include":                `files include each other: tree.xml > sub/a.xml > sub/b.xml > tree.xml`,
		"missing include":                 `gone.xml: no such file`,
		"unreachable after AlwaysFailure": `never reached: <AlwaysFailure> before it always ends <Sequence>`,
		"unreachable after AlwaysSuccess": `never reached: <AlwaysSuccess> before it always ends <Fallback>`,
		"two stateful children":           `<ReactiveSequence> has 2 children that take time; each halts the others`,
		"endless and instant":             `num_attempts="-1" over nodes that all answer at once only burns time`,
		"timeout longer than its parent":  `longer than the Timeout of 1000 ms around it, at tree.xml:3:5`,
	} { // size limits: TestSizeLimits, whose files are too big to keep
		if !strings.Contains(all.String(), says) {
			t.Errorf("%s: no bad file whose faults say %q", class, says)
		}
	}
}

func load(t *testing.T, xml string, opt Options) *bt.Program {
	t.Helper()
	prog, faults := Load(fstest.MapFS{"tree.xml": {Data: []byte(xml)}}, "tree.xml", registry(), opt)
	if prog == nil || len(faults.Diags) > 0 {
		t.Fatalf("load:\n%s", faults)
	}
	return prog
}

// The explicit form is accepted everywhere, where v4 refuses it below a ReactiveSequence.
func TestExplicitForm(t *testing.T) {
	prog := load(t, `<root BTCPP_format="4"><BehaviorTree ID="M"><Control ID="ReactiveSequence">
		<Condition ID="Overloaded" node="a" limit="0.5"/><Decorator ID="Inverter"><Action ID="Measure"/></Decorator>
		</Control></BehaviorTree></root>`, Options{})
	if st, _ := prog.New(nil).Tick(time.Unix(1, 0)); st != bt.Failure {
		t.Errorf("ticked to %v", st)
	}
}

// Lint accepts leaves that are only declared; running them fails and says so.
func TestLint(t *testing.T) {
	const xml = `<root BTCPP_format="4"><BehaviorTree ID="M"><Later x="1"/></BehaviorTree>
		<TreeNodesModel><Action ID="Later"><input_port name="x" type="int"/></Action></TreeNodesModel></root>`
	if prog, _ := Load(fstest.MapFS{"t": {Data: []byte(xml)}}, "t", registry(), Options{}); prog != nil {
		t.Error("a node nobody implements was loaded to run")
	}
	in := load(t, xml, Options{Lint: true}).New(nil)
	if st, _ := in.Tick(time.Unix(1, 0)); st != bt.Failure || in.Note(1) != "Later has no implementation" {
		t.Errorf("%v, %q", st, in.Note(1))
	}
}

func TestInclude(t *testing.T) {
	disk := fstest.MapFS{
		"tree.xml":  {Data: []byte(`<root BTCPP_format="4" main_tree_to_execute="M"><include path="sub/a.xml"/><include path="sub/b.xml"/><BehaviorTree ID="M"><SubTree ID="A"/></BehaviorTree></root>`)},
		"sub/a.xml": {Data: []byte(`<root BTCPP_format="4"><include path="b.xml"/><BehaviorTree ID="A"><SubTree ID="B"/></BehaviorTree></root>`)},
		"sub/b.xml": {Data: []byte(`<root BTCPP_format="4"><BehaviorTree ID="B"><AlwaysSuccess/></BehaviorTree></root>`)},
	}
	prog, faults := Load(disk, "tree.xml", registry(), Options{})
	if prog == nil {
		t.Fatalf("load:\n%s", faults)
	}
	if n := prog.Nodes()[2]; n.Path != "A::1/B::2/AlwaysSuccess::3" {
		t.Errorf("path %s", n.Path)
	}
}

// FuzzLoad: whatever the file, loading ends, and what loads also runs.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(a.Files[0].Data))
	}
	for _, name := range []string{"../testdata/bt_manager.xml", "../../trees/manager.xml", "../../trees/paper.xml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence><Script code="a := 0x1F; a += 2"/><LoopInt queue="1;2" value="{q}"><Repeat num_cycles="3"><Sleep msec="5"/></Repeat></LoopInt></Sequence></BehaviorTree></root>`)
	reg := registry()
	f.Fuzz(func(t *testing.T, xml string) {
		prog, faults := Load(fstest.MapFS{"tree.xml": {Data: []byte(xml)}}, "tree.xml", reg, Options{Given: []string{"a", "b"}})
		if (prog == nil) != faults.Failed() {
			t.Fatalf("a program: %v, faults: %s", prog != nil, faults)
		}
		for _, d := range faults.Diags {
			if d.Pos.Line < 1 || d.Pos.Col < 1 || d.Msg == "" {
				t.Fatalf("fault without a place: %+v", d)
			}
		}
		_ = faults.String()
		if prog == nil {
			return
		}
		in := prog.New(nil)
		now := time.Unix(1, 0)
		for range 5 {
			in.Tick(now)
			now = now.Add(time.Second)
		}
		s := in.Snapshot()
		if err := prog.New(nil).Restore(s); err != nil {
			t.Fatalf("restore: %v", err)
		}
		in.Halt(now, bt.HaltTree)
		if in.Panics() > 0 {
			t.Fatal("a leaf panicked")
		}
	})
}

// What is too big is refused before it costs much: also a few lines that would unfold to 2^40 nodes.
func TestSizeLimits(t *testing.T) {
	doubling := `<root BTCPP_format="4" main_tree_to_execute="T0">`
	for i := range 40 {
		doubling += fmt.Sprintf(`<BehaviorTree ID="T%d"><Sequence><SubTree ID="T%d"/><SubTree ID="T%d"/></Sequence></BehaviorTree>`, i, i+1, i+1)
	}
	doubling += `<BehaviorTree ID="T40"><AlwaysSuccess/></BehaviorTree></root>`
	nested := func(depth int) string {
		return `<root BTCPP_format="4"><BehaviorTree ID="M">` + strings.Repeat("<Inverter>", depth) + "<AlwaysSuccess/>" +
			strings.Repeat("</Inverter>", depth) + `</BehaviorTree></root>`
	}
	for name, c := range map[string]struct{ xml, want string }{
		"size":       {`<root BTCPP_format="4">` + strings.Repeat(" ", MaxFile) + `</root>`, "a tree file has up to 1048576"},
		"doubling":   {doubling, "more than 65535 nodes"},
		"depth":      {nested(258), "deeper than 256"},
		"much depth": {nested(10000), "elements inside each other"},
		"not UTF-8":  {"<root \xff/>", "not UTF-8"},
	} {
		_, faults := Load(fstest.MapFS{"t": {Data: []byte(c.xml)}}, "t", registry(), Options{})
		if len(faults.Diags) != 1 || !strings.Contains(faults.Diags[0].Msg, c.want) {
			t.Errorf("%s: %d faults, want one with %q: %.300s", name, len(faults.Diags), c.want, faults.Error())
		}
	}
	load(t, nested(255), Options{})
}
