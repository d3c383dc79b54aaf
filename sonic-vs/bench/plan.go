package bench

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/plan/chance"
)

func planCommand() *cobra.Command {
	var o PlanOptions
	c := &cobra.Command{
		Use:   "plan",
		Short: "measure how long decisions take, beside gonum or brute force",
		Long: `Times the decisions of plan on large networks, one goroutine, and beside each the same decision by gonum's graphs or by trying
everything; a chain problem beside the search of its paper. In turn, several runs each. A figure is the least of its runs, since
what else the machine does only adds; the medians are printed beside it. Both must find the same.
Exit code 1: a figure is above its limit, or two answers differ.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return Plan(o, cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.Out, "out", "out", "`folder` that gets bench.jsonl")
	f.IntVar(&o.Runs, "runs", 10, "runs of each, 2 or more")
	return c
}

// PlanOptions of `sonic-vs bench plan`.
type PlanOptions struct {
	Out  string
	Runs int
}

// planShort is how long a run takes at least.
const planShort = 20 * time.Millisecond

// contest is a decision that is made in two ways.
type contest struct {
	name   string // of its figure
	goal   float64
	ours   *job
	beside *job
	allocs string       // of the figure that says ours allocates nothing; "" when it may
	same   func() error // after a round of both: they found the same
}

// planContests make a contest each, on a network that is so many times smaller.
var planContests = []func(r *chance.Rand, scale int) (contest, error){optimumNode, layeredPath, labelSlot, chainSearch, relayRow}

// Plan measures decisions.
func Plan(o PlanOptions, out io.Writer) error {
	if o.Runs < 2 {
		return fmt.Errorf("--runs %d: want 2 or more", o.Runs)
	}
	all, err := planFigures(o.Runs, 1)
	if err != nil {
		return err
	}
	return tell(out, o.Out, all)
}

// planFigures measures all decisions, on networks that are so many times smaller.
func planFigures(runs, scale int) ([]bounded, error) {
	var contests []contest
	for i, prepare := range planContests {
		c, err := prepare(chance.New(uint64(i), "plan"), scale)
		if err != nil {
			return nil, err
		}
		c.ours.round()
		c.beside.round()
		if err := c.same(); err != nil {
			return nil, fmt.Errorf("%s: two answers: %w", c.name, err)
		}
		contests = append(contests, c)
	}
	var loads []float64
	for range runs {
		for _, c := range contests {
			runtime.GC() // of what the one before left
			c.ours.run(planShort)
			c.beside.run(planShort)
		}
		l, err := loadAverage()
		if err != nil {
			return nil, err
		}
		loads = append(loads, l)
	}
	figure := func(name, unit string, value, middle, baseline, most float64) bounded {
		f := Figure{Name: "plan." + name, Value: round(value, 1000), Unit: unit, Runs: runs, Load: round(median(loads), 100)}
		return bounded{median: round(middle, 1000), limit: limit{"value", most}, Figure: f.against(round(baseline, 1000))}
	}
	var times, allocs []bounded
	var wrong error
	for _, c := range contests {
		times = append(times, figure(c.name, "ms", c.ours.least()/1e6, c.ours.median()/1e6, c.beside.least()/1e6, c.goal))
		if c.allocs != "" {
			n := testing.AllocsPerRun(10, c.ours.round)
			allocs = append(allocs, figure(c.allocs, "allocs", n, n, testing.AllocsPerRun(1, c.beside.round), 0))
		}
		wrong = errors.Join(wrong, c.same())
	}
	return append(times, allocs...), wrong
}
