package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
)

// figureFile gets a line for each figure.
const figureFile = "bench.jsonl"

// Figure is one line of bench.jsonl.
type Figure struct {
	Name     string   `json:"name"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Baseline *float64 `json:"baseline"` // what it is held against, measured in the same bench; null: nothing
	Ratio    *float64 `json:"ratio"`    // value / baseline
	Runs     int      `json:"runs"`
	Load     float64  `json:"load"` // average of the machine, median of the runs
}

// against gives a figure its baseline.
func (f Figure) against(baseline float64) Figure {
	f.Baseline = &baseline
	if baseline != 0 {
		ratio := round(f.Value/baseline, 1000)
		f.Ratio = &ratio
	}
	return f
}

// figures of some runs, always in the same order.
func figures(runs []run) []Figure {
	var all []Figure
	group := func(mode string, mb int) []run {
		return slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return r.Mode != mode || r.MB != mb || !r.measured() })
	}
	sizes := sizesOf(runs)
	for _, count := range []struct {
		name string
		of   func(seen) int
	}{
		{"failed_requests", func(s seen) int { return s.Failed }},
		{"broken_connections", func(s seen) int { return s.Broken }},
	} {
		sum := func(name string, modes ...string) (f Figure, ok bool) {
			var of []run
			for _, r := range runs {
				if slices.Contains(modes, r.Mode) && r.Skipped == "" {
					of = append(of, r)
					f.Value += float64(count.of(r.seen))
				}
			}
			f.Name, f.Unit, f.Runs, f.Load = "migrate."+name, "count", len(of), medianLoad(of)
			return f, len(of) > 0
		}
		colds, coldRan := sum("cold_"+count.name, cold)
		if f, ok := sum(count.name, live, plain, lazy); ok {
			if coldRan {
				f = f.against(colds.Value)
			}
			all = append(all, f)
		}
		for _, mode := range []string{lazy, warm} {
			if f, ok := sum(mode+"_"+count.name, mode); ok {
				all = append(all, f)
			}
		}
		if coldRan {
			all = append(all, colds)
		}
	}
	for _, mb := range sizes {
		bares := medianOf(group(bare, mb), run.bareMS)
		for _, mode := range []string{live, plain, lazy, cold, warm} {
			of := group(mode, mb)
			if len(of) == 0 {
				continue
			}
			f := Figure{Name: "migrate." + gapName(mode, mb), Value: medianOf(of, run.gapMS), Unit: "ms", Runs: len(of), Load: medianLoad(of)}
			beside := bares // what CRIU takes; a warm move has none
			if mode == warm {
				beside = medianOf(group(cold, mb), run.gapMS)
			}
			if beside != 0 {
				f = f.against(beside)
			}
			all = append(all, f)
			if mode == live && bares != 0 {
				ratio := Figure{Name: fmt.Sprintf("migrate.gap_ratio_%dmb", mb), Value: *f.Ratio, Unit: "ratio", Runs: len(of), Load: f.Load}
				all = append(all, ratio.against(1))
			}
		}
		if of := group(bare, mb); len(of) > 0 {
			all = append(all, Figure{Name: fmt.Sprintf("migrate.bare_ms_%dmb", mb), Value: bares, Unit: "ms", Runs: len(of), Load: medianLoad(of)})
		}
	}
	return all
}

// gapName is the figure of a mode's gap. Only one size is moved warm.
func gapName(mode string, mb int) string {
	switch mode {
	case live:
		return fmt.Sprintf("gap_ms_%dmb", mb)
	case warm:
		return "warm_gap_ms"
	}
	return fmt.Sprintf("%s_gap_ms_%dmb", mode, mb)
}

// measured says whether a run counts in a median.
func (r run) measured() bool { return r.Skipped == "" && r.Error == "" }

func (r run) gapMS() float64 { return milliseconds(r.seen.Gap.Seconds()) }

func (r run) bareMS() float64 { return round(r.bare.total(), 10) }

func milliseconds(seconds float64) float64 { return round(1000*seconds, 10) }

// round to parts of one.
func round(v, parts float64) float64 { return math.Round(v*parts) / parts }

// sizesOf are the sizes of some runs, small ones first.
func sizesOf(runs []run) []int {
	var sizes []int
	for _, r := range runs {
		sizes = append(sizes, r.MB)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// median of some values; 0 of none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return round((values[(n-1)/2]+values[n/2])/2, 100)
}

func medianOf(runs []run, of func(run) float64) float64 {
	var values []float64
	for _, r := range runs {
		values = append(values, of(r))
	}
	return median(values)
}

func medianLoad(runs []run) float64 {
	return medianOf(runs, func(r run) float64 { return r.Load })
}

// appendFigures adds the figures of a bench to those of earlier ones.
func appendFigures(path string, all []Figure) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	for _, f := range all {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text.Bytes())
	return errors.Join(err, f.Close())
}

// readFigures gives the newest figure of each name. Other areas may have lines of their own between them.
func readFigures(path string) (map[string]Figure, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	newest := map[string]Figure{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		var f Figure
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		newest[f.Name] = f
	}
	return newest, lines.Err()
}

// compare says where written figures differ from computed ones.
func compare(computed []Figure, written map[string]Figure) error {
	var all error
	for _, want := range computed {
		got, ok := written[want.Name]
		if !ok {
			all = errors.Join(all, fmt.Errorf("%s: %s is not there", figureFile, want.Name))
			continue
		}
		a, errA := json.Marshal(want)
		b, errB := json.Marshal(got)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			all = errors.Join(all, errA, errB, fmt.Errorf("%s says %s, the records %s", figureFile, b, a))
		}
	}
	return all
}
