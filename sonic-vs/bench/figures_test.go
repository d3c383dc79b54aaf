package bench

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sonic-netservices/sonic-vs/suite"
)

var update = flag.Bool("update", false, "write testdata anew")

// some runs of two sizes, one of each kind of end.
func someRuns() []run {
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	trace := func(drain, dump float64) *suite.Move {
		return &suite.Move{HeldMS: drain + dump, Phases: []suite.Phase{{Name: "drain", TookMS: drain}, {Name: "dump", TookMS: dump}}}
	}
	quiet := func(gap float64) seen { return seen{Requests: 1200, Gap: ms(gap), Boots: 1} }
	return []run{
		{Mode: live, MB: 10, N: 1, From: "leaf1", To: "leaf2", Load: 0.5, seen: quiet(260), trace: trace(10, 100)},
		{Mode: bare, MB: 10, N: 1, Load: 0.6, bare: bareRun{CheckpointMS: 110, FreezingMS: 2.5, RestoreMS: 90}},
		{Mode: cold, MB: 10, N: 1, From: "leaf2", To: "leaf1", Load: 0.7, seen: seen{Requests: 1200, Failed: 40, Broken: 2, Gap: ms(400), Boots: 2}, trace: trace(0, 0)},
		{Mode: warm, MB: 10, N: 1, Load: 0.7, Skipped: "--mode \"warm\": want live or cold"},
		{Mode: live, MB: 10, N: 2, From: "leaf1", To: "leaf2", Load: 0.9, seen: quiet(240.04), trace: trace(12, 90)},
		{Mode: bare, MB: 10, N: 2, Load: 0.8, bare: bareRun{CheckpointMS: 100, FreezingMS: 2, RestoreMS: 80}},
		{Mode: live, MB: 10, N: 3, From: "leaf1", To: "leaf2", Load: 1.4, seen: quiet(900), trace: trace(11, 700)},
		{Mode: live, MB: 500, N: 1, From: "leaf1", To: "leaf2", Load: 1, seen: quiet(1000), trace: trace(10, 400)},
		{Mode: lazy, MB: 500, N: 1, From: "leaf1", To: "leaf2", Load: 1, seen: quiet(390), trace: trace(10, 90)},
		{Mode: live, MB: 500, N: 2, From: "leaf1", To: "leaf2", Load: 1, Error: "nsctl migrate: exit code 1", seen: seen{Requests: 1200, Failed: 1, Boots: 1, First: "raw 7: EOF"}},
	}
}

func TestFigures(t *testing.T) {
	all := map[string]Figure{}
	for _, f := range figures(someRuns()) {
		if _, twice := all[f.Name]; twice {
			t.Errorf("%s comes twice", f.Name)
		}
		all[f.Name] = f
	}
	for name, want := range map[string]struct {
		value, baseline, ratio float64
		runs                   int
	}{
		"migrate.gap_ms_10mb":             {260, 190, 1.368, 3},
		"migrate.gap_ratio_10mb":          {1.368, 1, 1.368, 3},
		"migrate.bare_ms_10mb":            {190, -1, -1, 2},
		"migrate.cold_gap_ms_10mb":        {400, 190, 2.105, 1},
		"migrate.gap_ms_500mb":            {1000, -1, -1, 1}, // the failed move is no measure
		"migrate.lazy_gap_ms_500mb":       {390, -1, -1, 1},
		"migrate.failed_requests":         {1, 40, 0.025, 6}, // but its failures count
		"migrate.broken_connections":      {0, 2, 0, 6},
		"migrate.lazy_failed_requests":    {0, -1, -1, 1},
		"migrate.cold_failed_requests":    {40, -1, -1, 1},
		"migrate.cold_broken_connections": {2, -1, -1, 1},
	} {
		f, ok := all[name]
		if !ok {
			t.Errorf("no %s", name)
			continue
		}
		value := func(p *float64) float64 {
			if p == nil {
				return -1
			}
			return *p
		}
		if f.Value != want.value || value(f.Baseline) != want.baseline || value(f.Ratio) != want.ratio || f.Runs != want.runs {
			t.Errorf("%s: %v, baseline %v, ratio %v, %d runs; want %+v", name, f.Value, value(f.Baseline), value(f.Ratio), f.Runs, want)
		}
	}
	if f, ok := all["migrate.warm_gap_ms"]; ok {
		t.Errorf("a mode that was skipped has a figure: %+v", f)
	}
	if f := all["migrate.gap_ms_10mb"]; f.Load != 0.9 || f.Unit != "ms" {
		t.Errorf("%+v", f)
	}
}

func TestFaults(t *testing.T) {
	runs := someRuns()
	err := faults(runs)
	if err == nil || err.Error() != "500mb-2-live: nsctl migrate: exit code 1\n500mb-2-live: 1 failed requests, 0 broken connections; the first: raw 7: EOF" {
		t.Errorf("%v", err)
	}
	good := runs[:9]
	if err := faults(good); err != nil {
		t.Errorf("a cold move fails requests, that is no fault: %v", err)
	}
	for name, spoil := range map[string]func(*seen){
		"broken":       func(s *seen) { s.Broken = 1 },
		"two process":  func(s *seen) { s.Boots = 2 },
		"none":         func(s *seen) { s.Boots = 0 },
		"came twice":   func(s *seen) { s.Repeated = 1 },
		"lost answers": func(s *seen) { s.Lost = 3 },
	} {
		runs := someRuns()[:1]
		spoil(&runs[0].seen)
		if faults(runs) == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median of %v: %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestReport(t *testing.T) {
	runs := someRuns()
	var out bytes.Buffer
	report(&out, runs, figures(runs))
	golden := filepath.Join("testdata", "report.txt")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%swant\n%s", out.Bytes(), want)
	}
}

// The newest lines count, and whatever they say otherwise is found.
func TestCompare(t *testing.T) {
	path := filepath.Join(t.TempDir(), figureFile)
	all := figures(someRuns())
	old := []Figure{{Name: "other.area", Value: 1, Unit: "s"}, {Name: all[0].Name, Value: 99, Unit: "count"}}
	for _, figures := range [][]Figure{old, all} {
		if err := appendFigures(path, figures); err != nil {
			t.Fatal(err)
		}
	}
	written, err := readFigures(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(all, written); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoiled := range map[string]string{
		"a value":    strings.Replace(string(text), `"value":260,`, `"value":250,`, 1),
		"a baseline": strings.Replace(string(text), `"baseline":190,`, `"baseline":250,`, 1),
		"a name":     strings.ReplaceAll(string(text), "gap_ratio_10mb", "gap_ratio_11mb"),
	} {
		if err := os.WriteFile(path, []byte(spoiled), 0o644); err != nil {
			t.Fatal(err)
		}
		written, err := readFigures(path)
		if err != nil {
			t.Fatal(err)
		}
		if compare(all, written) == nil {
			t.Errorf("%s was changed and not found", name)
		}
	}
	if err := os.WriteFile(path, []byte("{}\nx\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readFigures(path); err == nil || !strings.Contains(err.Error(), "bench.jsonl:2:") {
		t.Errorf("%v", err)
	}
}

func TestRunsOnDisk(t *testing.T) {
	dir := t.TempDir()
	for i, r := range someRuns()[:4] {
		r.Begun = time.Unix(int64(100-i), 0).UTC()
		folder := filepath.Join(dir, r.name())
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := r.write(folder); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case r.Skipped != "":
		case r.Mode == bare:
			err = writeJSON(filepath.Join(folder, bareFile), r.bare)
		default:
			if err = writeRecords(folder, answered(rawClient, 1, 1, 0, second)); err == nil {
				err = writeJSON(filepath.Join(folder, traceFile), r.trace)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	runs, err := readRuns(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range runs {
		names = append(names, r.name())
	}
	if got := strings.Join(names, " "); got != "10mb-1-warm 10mb-1-cold 10mb-1-bare 10mb-1-live" {
		t.Errorf("%s", got)
	}
	if last := runs[3]; last.seen.Requests != 100 || runs[2].bare.total() != 200 {
		t.Errorf("%+v", runs)
	}
	if err := os.Remove(filepath.Join(dir, "10mb-1-live", requestFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := readRuns(dir); err == nil {
		t.Error("missing records were not missed")
	}
	if err := clearRuns(dir); err != nil {
		t.Errorf("a bench's own folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := clearRuns(dir); err == nil {
		t.Error("somebody's file was removed")
	}
}
