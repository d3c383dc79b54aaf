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
const rows, leavesPerRow = 111, 8

func wideTree(leaf, last string) string {
	var b strings.Builder
	b.WriteString(`<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence>`)
	for r := range rows {
		b.WriteString("<Sequence>")
		for k := range leavesPerRow {
			if r == rows-1 && k == leavesPerRow-1 {
				b.WriteString(last)
			} else {
				b.WriteString(leaf)
			}
		}
		b.WriteString("</Sequence>")
	}
	b.WriteString(`</Sequence></BehaviorTree></root>`)
	return b.String()
}

func benchRegistry() *bt.Registry {
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
	return reg
}

// wait is a leaf that never ends.
type wait struct{}

func (wait) OnStart(*bt.Ctx) bt.Status    { return bt.Running }
func (wait) OnRunning(*bt.Ctx) bt.Status  { return bt.Running }
func (wait) OnHalted(*bt.Ctx, bt.HaltWhy) {}

func compile(tb testing.TB, xml string, given ...string) *bt.Program {
	tb.Helper()
	prog, faults := xmlv4.Load(fstest.MapFS{"t.xml": {Data: []byte(xml)}}, "t.xml", benchRegistry(), xmlv4.Options{Given: given})
	if prog == nil {
		tb.Fatalf("load:\n%s", faults)
	}
	return prog
}
