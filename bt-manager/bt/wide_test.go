package bt_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// The trees that `make bench AREA=bt` measures: a Sequence of Sequences of 8 leaves, 1 + 111 * 9 = 1000 nodes, every node ticked.
func wideTree(leaf, last string) string {
	return `<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence>` + strings.Repeat("<Sequence>"+strings.Repeat(leaf, 8)+"</Sequence>", 110) +
		"<Sequence>" + strings.Repeat(leaf, 7) + last + "</Sequence></Sequence></BehaviorTree></root>"
}

// compile loads a tree with leaves that do nothing, read a port, write one, or wait.
func compile(t *testing.T, xml string, given ...string) *bt.Program {
	t.Helper()
	reg := bt.NewRegistry()
	reg.AddFunc("Ok", bt.Condition, nil, func(*bt.Ctx) bt.Status { return bt.Success })
	reg.AddFunc("Read", bt.Condition, []bt.Port{{Name: "in", Type: board.Real}}, func(c *bt.Ctx) bt.Status {
		if c.Float(0) > 1e9 {
			return bt.Failure
		}
		return bt.Success
	})
	reg.AddFunc("Write", bt.Action, []bt.Port{{Name: "out", Dir: bt.Out, Type: board.Real}}, func(c *bt.Ctx) bt.Status {
		c.PutFloat(0, 1)
		return bt.Success
	})
	reg.Add("Wait", bt.Action, nil, func() bt.Leaf { return wait{} })
	prog, faults := xmlv4.Load(fstest.MapFS{"t.xml": {Data: []byte(xml)}}, "t.xml", reg, xmlv4.Options{Given: given})
	if prog == nil {
		t.Fatalf("load:\n%s", faults)
	}
	return prog
}

// wait is a leaf that never ends.
type wait struct{}

func (wait) OnStart(*bt.Ctx) bt.Status    { return bt.Running }
func (wait) OnRunning(*bt.Ctx) bt.Status  { return bt.Running }
func (wait) OnHalted(*bt.Ctx, bt.HaltWhy) {}
