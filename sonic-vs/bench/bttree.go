package bench

import (
	"fmt"
	"strings"
	"testing/fstest"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// The trees that are measured: a Sequence of 111 Sequences of 8 leaves.
const (
	treeRows   = 111
	leavesEach = 8
	treeLeaves = treeRows * leavesEach
	treeNodes  = 1 + treeRows*(1+leavesEach)
)

// wideTree is such a tree of equal leaves but the last.
func wideTree(leaf, last string) string {
	leaves := strings.Repeat(leaf, leavesEach)
	return `<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence>` +
		strings.Repeat("<Sequence>"+leaves+"</Sequence>", treeRows-1) +
		"<Sequence>" + strings.Repeat(leaf, leavesEach-1) + last + "</Sequence></Sequence></BehaviorTree></root>"
}

// compileTree loads a tree of the leaves that are measured: Ok does nothing, Read reads a port, Write writes one, Wait never
// ends.
func compileTree(xml string) (*bt.Program, error) {
	reg := bt.NewRegistry()
	reg.AddFunc("Ok", bt.Condition, nil, ok)
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
	prog, faults := xmlv4.Load(fstest.MapFS{"t.xml": {Data: []byte(xml)}}, "t.xml", reg, xmlv4.Options{Given: []string{"k"}})
	if prog == nil {
		return nil, fmt.Errorf("load a tree to measure:\n%s", faults.String())
	}
	return prog, nil
}

func ok(*bt.Ctx) bt.Status { return bt.Success }

type wait struct{}

func (wait) OnStart(*bt.Ctx) bt.Status    { return bt.Running }
func (wait) OnRunning(*bt.Ctx) bt.Status  { return bt.Running }
func (wait) OnHalted(*bt.Ctx, bt.HaltWhy) {}

// walkNode is a node of the plain recursive walk: no status, no memory, no ports.
type walkNode struct {
	kids []*walkNode
	leaf func(*bt.Ctx) bt.Status
}

func (w *walkNode) tick() bt.Status {
	if w.leaf != nil {
		return w.leaf(nil)
	}
	for _, k := range w.kids {
		if st := k.tick(); st != bt.Success {
			return st
		}
	}
	return bt.Success
}

// walkOf is a node over that many leaves.
func walkOf(leaves int) *walkNode {
	w := &walkNode{kids: make([]*walkNode, leaves)}
	for i := range w.kids {
		w.kids[i] = &walkNode{leaf: ok}
	}
	return w
}

func wideWalk() *walkNode {
	root := &walkNode{}
	for range treeRows {
		root.kids = append(root.kids, walkOf(leavesEach))
	}
	return root
}
