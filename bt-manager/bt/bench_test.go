package bt_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// The trees of these benchmarks: a Sequence of Sequences of 8 leaves, 1 + 111 * 9 = 1000 nodes, every node ticked.
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

// walkNode is the plain recursive walk without any state the engine is measured against.
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

func BenchmarkPlainWalk1000(b *testing.B) {
	leaf := func(*bt.Ctx) bt.Status { return bt.Success }
	root := &walkNode{}
	for range rows {
		row := &walkNode{}
		for range leavesPerRow {
			row.kids = append(row.kids, &walkNode{leaf: leaf})
		}
		root.kids = append(root.kids, row)
	}
	for b.Loop() {
		root.tick()
	}
	perNode(b, 1000)
}

func perNode(b *testing.B, nodes int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(nodes), "ns/node")
}

func benchmarkPass(b *testing.B, in *bt.Instance) {
	now := time.Unix(1, 0)
	b.ReportAllocs()
	for b.Loop() {
		in.Tick(now)
	}
	perNode(b, 1000)
}

func BenchmarkFullPass1000(b *testing.B) {
	benchmarkPass(b, compile(b, wideTree("<Ok/>", "<Ok/>")).New(nil))
}

func BenchmarkRecorded1000(b *testing.B) {
	in := compile(b, wideTree("<Ok/>", "<Ok/>")).New(nil)
	in.Attach(bt.NewRing(1000))
	benchmarkPass(b, in)
}

func BenchmarkResume1000(b *testing.B) {
	benchmarkPass(b, compile(b, wideTree("<Ok/>", "<Wait/>")).New(nil))
}

func benchmarkLeaf(b *testing.B, leaf string) {
	in := compile(b, wideTree(leaf, leaf), "k").New(nil)
	if err := in.Set("k", 1.0, time.Unix(1, 0)); err != nil {
		b.Fatal(err)
	}
	benchmarkPass(b, in)
}

func BenchmarkPortRead1000(b *testing.B)  { benchmarkLeaf(b, `<Read in="{k}"/>`) }
func BenchmarkPortWrite1000(b *testing.B) { benchmarkLeaf(b, `<Write out="{k}"/>`) }
func BenchmarkScript1000(b *testing.B)    { benchmarkLeaf(b, `<Ok _failureIf="k&gt;9"/>`) }

func BenchmarkLoad1000(b *testing.B) {
	xml := wideTree("<Ok/>", "<Ok/>")
	for b.Loop() {
		compile(b, xml)
	}
}

// BenchmarkInstances10000 reports the memory of 10,000 instances of a tree of 60 nodes with 20 entries.
func BenchmarkInstances10000(b *testing.B) {
	var x strings.Builder
	x.WriteString(`<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence>`)
	for k := range 20 {
		fmt.Fprintf(&x, `<Write out="{k%d}"/><Read in="{k%d}"/><Ok/>`, k, k)
	}
	x.WriteString(`</Sequence></BehaviorTree></root>`)
	prog := compile(b, x.String())
	now := time.Unix(1, 0)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		all := make([]*bt.Instance, 10000)
		for i := range all {
			all[i] = prog.New(nil)
			all[i].Tick(now)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		runtime.KeepAlive(all)
	}
}
