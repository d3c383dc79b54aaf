package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

var update = flag.Bool("update", false, "record what is shown")

// transfer is a leaf that waits for an agent.
type transfer struct{}

func (transfer) OnStart(c *bt.Ctx) bt.Status {
	c.SetOp("kms/1/transfer/1")
	c.Say("waits for mig-agent leaf2")
	return bt.Running
}
func (transfer) OnRunning(*bt.Ctx) bt.Status  { return bt.Running }
func (transfer) OnHalted(*bt.Ctx, bt.HaltWhy) {}

const tree = `<root BTCPP_format="4" main_tree_to_execute="Main">
<BehaviorTree ID="Main"><Parallel name="root">
	<Fallback name="healthy &quot;or&quot; move"><Inverter><Overloaded node="leaf1"/></Inverter>
		<SubTree ID="Move" name="move" target="leaf2" limit="{@Limit}"/></Fallback>
	<SequenceWithMemory _while="go == 1"><AlwaysSuccess/><AlwaysSuccess _skipIf="true"/><ScriptCondition code="gone == 2"/></SequenceWithMemory>
</Parallel></BehaviorTree>
<BehaviorTree ID="Move"><Timeout msec="600000"><Transfer target="{target}"/></Timeout></BehaviorTree></root>`

func shown(t *testing.T) (*bt.Instance, Options) {
	t.Helper()
	reg := bt.NewRegistry()
	reg.AddFunc("Overloaded", bt.Condition, []bt.Port{{Name: "node", Type: board.Text}}, func(*bt.Ctx) bt.Status { return bt.Success })
	reg.Add("Transfer", bt.Action, []bt.Port{{Name: "target", Type: board.Text}}, func() bt.Leaf { return transfer{} })
	prog, faults := xmlv4.Load(fstest.MapFS{"t": {Data: []byte(tree)}}, "t", reg, xmlv4.Options{Given: []string{"go", "gone"}})
	if prog == nil {
		t.Fatalf("load:\n%s", faults)
	}
	root := board.New()
	if err := root.Set("Limit", 0.9, 0); err != nil {
		t.Fatal(err)
	}
	in := prog.New(root)
	now := time.Unix(1_800_000_000, 0)
	if err := in.Set("go", 1, now); err != nil {
		t.Fatal(err)
	}
	ring := bt.NewRing(100)
	in.Attach(ring)
	in.Tick(now)
	// The parallel fails at once, for its second child; tick again with that one satisfied, and the move stays.
	if err := in.Set("gone", 2, now); err != nil {
		t.Fatal(err)
	}
	before := ring.Total()
	in.Tick(now.Add(time.Second))
	return in, Options{Last: Answers(in, ring.Since(before)), Blackboard: true}
}

func TestShow(t *testing.T) {
	in, o := shown(t)
	active := o
	active.OnlyActive, active.Blackboard, active.Last = true, false, nil
	for file, write := range map[string]func(*bytes.Buffer) error{
		"tree.txt":   func(b *bytes.Buffer) error { return Text(b, in, o) },
		"active.txt": func(b *bytes.Buffer) error { return Text(b, in, active) },
		"tree.dot":   func(b *bytes.Buffer) error { return Dot(b, in, o) },
		"tree.mmd":   func(b *bytes.Buffer) error { return Mermaid(b, in, o) },
		"tree.json":  func(b *bytes.Buffer) error { return JSON(b, in, o) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		if file == "tree.json" && !json.Valid(got.Bytes()) {
			t.Errorf("%s is no JSON", file)
		}
		if *update {
			if err := os.WriteFile("testdata/"+file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
	}
}
