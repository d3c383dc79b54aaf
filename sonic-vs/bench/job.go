package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// job is something that is done again and again.
type job struct {
	round  func()
	rounds int       // in a short run
	ns     []float64 // of a round, by run
}

func (j *job) least() float64  { return slices.Min(j.ns) }
func (j *job) median() float64 { return median(j.ns) }

// run does it for about that time.
func (j *job) run(short time.Duration) {
	if j.rounds == 0 {
		for j.rounds = 1; ; j.rounds *= 2 {
			if took := j.took(); took >= short/2 {
				j.rounds = max(1, int(float64(j.rounds)*float64(short)/float64(took)))
				break
			}
		}
	}
	j.ns = append(j.ns, float64(j.took().Nanoseconds())/float64(j.rounds))
}

func (j *job) took() time.Duration {
	start := time.Now()
	for range j.rounds {
		j.round()
	}
	return time.Since(start)
}

// bounded is a figure, its median, and what it may be at most.
type bounded struct {
	Figure
	median float64
	limit  limit
}

// limit bounds a value, or its ratio to the baseline. The zero limit allows anything.
type limit struct {
	of   string // "value" or "ratio"
	most float64
}

func (l limit) String() string {
	if l.of == "" {
		return "-"
	}
	return fmt.Sprintf("%s %v", l.of, l.most)
}

// check says where a figure is above its limit.
func (f bounded) check() error {
	is := f.Value
	if f.limit.of == "ratio" {
		is = *f.Ratio
	}
	if f.limit.of != "" && is > f.limit.most {
		return fmt.Errorf("%s: %s %v, at most %v", f.Name, f.limit.of, is, f.limit.most)
	}
	return nil
}

// tell prints figures, adds them to bench.jsonl in a folder, and says which are above their limits.
func tell(out io.Writer, folder string, all []bounded) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tVALUE\tUNIT\tMEDIAN\tBASELINE\tRATIO\tLIMIT\tRUNS\tLOAD")
	var plain []Figure
	var above error
	for _, f := range all {
		above = errors.Join(above, f.check())
		fmt.Fprintf(table, "%s\t%v\t%s\t%v\t%s\t%s\t%v\t%d\t%.2f\n", f.Name, f.Value, f.Unit, f.median,
			optional(f.Baseline), optional(f.Ratio), f.limit, f.Runs, f.Load)
		plain = append(plain, f.Figure)
	}
	table.Flush()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return errors.Join(above, appendFigures(filepath.Join(folder, figureFile), plain))
}
