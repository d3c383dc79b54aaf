package bench

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/bt-manager/bt"
)

func btCommand() *cobra.Command {
	var o BTOptions
	c := &cobra.Command{
		Use:   "bt",
		Short: "measure what a tick of a behaviour tree costs, beside a plain walk",
		Long: `Ticks trees of 1000 nodes, a Sequence of Sequences of 8 leaves, and beside them walks the same tree as plain Go does,
without any state: in turn, many short runs each. A figure is the least of its runs, since what else the machine does only adds;
the medians are printed beside it. Exit code 1: a figure is above its limit.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return BT(o, cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.Out, "out", "out", "`folder` that gets bench.jsonl")
	f.IntVar(&o.Runs, "runs", 100, "short runs of each, 10 or more")
	f.DurationVar(&o.Short, "short", 2*time.Millisecond, "`time` of one run")
	return c
}

// BTOptions of `sonic-vs bench bt`.
type BTOptions struct {
	Out   string
	Runs  int
	Short time.Duration
}

// BT measures the engine.
func BT(o BTOptions, out io.Writer) error {
	if o.Runs < 10 || o.Short <= 0 {
		return fmt.Errorf("--runs %d --short %v: want 10 or more runs that take some time", o.Runs, o.Short)
	}
	all, err := btFigures(o)
	if err != nil {
		return err
	}
	return tell(out, o.Out, all)
}

// btFigures does all the work, in turn, and computes the figures.
func btFigures(o BTOptions) ([]bounded, error) {
	now := time.Unix(1, 0)
	var failed error
	instance := func(xml string) *bt.Instance {
		prog, err := compileTree(xml)
		if err != nil {
			failed = errors.Join(failed, err)
			return nil
		}
		in := prog.New(nil)
		if prog.Uses("k") {
			failed = errors.Join(failed, in.Set("k", 1.0, now))
		}
		return in
	}
	ticking := func(in *bt.Instance) *job { return &job{round: func() { in.Tick(now) }} }
	text := wideTree("<Ok/>", "<Ok/>")
	tree := wideWalk()
	walk := &job{round: func() { tree.tick() }}
	full := ticking(instance(text))
	ringed := instance(text)
	resume := ticking(instance(wideTree("<Ok/>", "<Wait/>")))
	read := ticking(instance(wideTree(`<Read in="{k}"/>`, `<Read in="{k}"/>`)))
	script := ticking(instance(wideTree(`<Ok _failureIf="k&gt;9"/>`, `<Ok _failureIf="k&gt;9"/>`)))
	load := &job{round: func() {
		if _, err := compileTree(text); err != nil {
			failed = err
		}
	}}
	parse := &job{round: func() { failed = errors.Join(failed, parseXML(text)) }}
	if failed != nil {
		return nil, failed
	}
	ringed.Attach(bt.NewRing(1000))
	recorded := ticking(ringed)

	var loads []float64
	runtime.GC()
	for range o.Runs {
		for _, j := range []*job{walk, full, recorded, resume, read, script, parse, load} {
			j.run(o.Short)
		}
		l, err := loadAverage()
		if err != nil {
			return nil, err
		}
		loads = append(loads, l)
	}
	if failed != nil {
		return nil, failed
	}

	figure := func(name, unit string, value, middle float64) bounded {
		return bounded{median: round(middle, 100),
			Figure: Figure{Name: "bt." + name, Value: round(value, 100), Unit: unit, Runs: o.Runs, Load: round(median(loads), 100)}}
	}
	plain := walk.least() / treeNodes
	pass := func(name string, j *job, most float64) bounded {
		f := figure(name, "ns/node", j.least()/treeNodes, j.median()/treeNodes)
		f.Figure, f.limit = f.against(round(plain, 100)), limit{"ratio", most}
		return f
	}
	leaf := func(name string, j *job) bounded { // what each of the leaves takes more than one that does nothing
		f := figure(name, "ns", max(0, j.least()-full.least())/treeLeaves, max(0, j.median()-full.median())/treeLeaves)
		f.Figure = f.against(round(plain, 100))
		return f
	}
	list := []bounded{pass("full_pass_1000", full, 3.3), pass("recorded_1000", recorded, 5)}

	f := figure("resume_1000", "ns/tick", resume.least(), resume.median())
	f.Figure = f.against(round(walk.least(), 100))
	list = append(list, f)

	allocs := 0.0
	for _, j := range []*job{full, recorded, resume, read, script} {
		allocs = max(allocs, testing.AllocsPerRun(100, j.round))
	}
	f = figure("allocs", "allocs/pass", allocs, allocs)
	f.limit = limit{"value", 0}
	f.Figure = f.against(testing.AllocsPerRun(100, walk.round))
	list = append(list, f, leaf("port_read", read), leaf("script", script))

	f = figure("load_1000_ms", "ms", load.least()/1e6, load.median()/1e6)
	f.limit = limit{"value", 15}
	f.Figure = f.against(round(parse.least()/1e6, 100)) // encoding/xml alone
	list = append(list, f)

	engine, walks, err := instancesMB()
	if err != nil {
		return nil, err
	}
	f = figure("instances_10000_mb", "MB", engine, engine)
	f.limit, f.Runs = limit{"value", 60}, 1
	f.Figure = f.against(round(walks, 100)) // as many plain trees
	return append(list, f), nil
}

func parseXML(text string) error {
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// instancesMB is the memory of 10,000 instances of a tree of 61 nodes with 20 entries, each ticked once, and of as many
// plain trees.
func instancesMB() (engine, walks float64, err error) {
	const count = 10000
	var x strings.Builder
	for k := range 20 {
		fmt.Fprintf(&x, `<Write out="{k%d}"/><Read in="{k%d}"/><Ok/>`, k, k)
	}
	prog, err := compileTree(`<root BTCPP_format="4"><BehaviorTree ID="M"><Sequence>` + x.String() + `</Sequence></BehaviorTree></root>`)
	if err != nil {
		return 0, 0, err
	}
	instances := make([]*bt.Instance, count)
	engine = heapMB(func() {
		for i := range instances {
			instances[i] = prog.New(nil)
			instances[i].Tick(time.Unix(1, 0))
		}
	})
	runtime.KeepAlive(instances)
	plain := make([]*walkNode, count)
	walks = heapMB(func() {
		for i := range plain {
			plain[i] = walkOf(len(prog.Nodes()) - 1)
		}
	})
	runtime.KeepAlive(plain)
	return engine, walks, nil
}

// heapMB is what lives on the heap after do that did not live before.
func heapMB(do func()) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	do()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / 1e6
}
