package experiment

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"sonic-netservices/plan/chance"
)

// Of 95 % intervals, 95 % hold the true mean.
func TestIntervalsCover(t *testing.T) {
	for _, n := range []int{3, 20, 40} {
		r, hit := chance.New(uint64(n)), 0
		const trials = 4000
		for range trials {
			values := make([]float64, n)
			for i := range values {
				values[i] = 7 + 3*r.Normal()
			}
			if i := intervalOf(values); math.Abs(i.Mean-7) <= i.Half {
				hit++
			}
		}
		if share := float64(hit) / trials; math.Abs(share-0.95) > 0.012 {
			t.Errorf("%d runs: %v of the intervals hold the mean", n, share)
		}
	}
}

func TestRatioOfPairs(t *testing.T) {
	// Twice as much in every run: no doubt about +100 %, however much the runs differ.
	if r := ratioOf([]float64{2, 20, 8}, []float64{1, 10, 4}); math.Abs(r.Mean-100) > 1e-9 || r.Half > 1e-9 {
		t.Errorf("%+v", r)
	}
	if d := differenceOf([]float64{0.9, 0.8}, []float64{0.8, 0.7}, 100); math.Abs(d.Mean-10) > 1e-9 || d.Half > 1e-9 {
		t.Errorf("%+v", d)
	}
}

func TestEachKeepsOrderAndEndsAtErrors(t *testing.T) {
	got, err := each(context.Background(), 50, nil, func(_ context.Context, i int) (int, error) { return i * i, nil })
	if err != nil || !slices.IsSorted(got) || got[49] != 49*49 {
		t.Errorf("%v, %v", got, err)
	}
	broken := errors.New("broken")
	_, err = each(context.Background(), 50, nil, func(_ context.Context, i int) (int, error) {
		if i == 7 {
			return 0, broken
		}
		return i, nil
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "run 7") {
		t.Errorf("%v", err)
	}
	ended, stop := context.WithCancel(context.Background())
	stop()
	if _, err := each(ended, 5, nil, func(context.Context, int) (int, error) { return 0, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestTables(t *testing.T) {
	table := Table{Name: "x", Title: "a title", Columns: []Column{{"what", 0}, {"value", 2}, {"n", 0}}}
	table.Add("first", Interval{1.234, 0.5, 3}, 3)
	table.Add("second, longer", Interval{10, math.NaN(), 1}, nil)
	var text, csv bytes.Buffer
	table.Text(&text)
	want := "a title\n  what                 value  n\n  first           1.23 ±0.50  3\n  second, longer       10.00\n"
	if text.String() != want {
		t.Errorf("%q, want %q", text.String(), want)
	}
	if err := table.CSV(&csv); err != nil {
		t.Fatal(err)
	}
	if want := "what,value,value ci95,n\nfirst,1.234,0.5,3\n\"second, longer\",10,,\n"; csv.String() != want {
		t.Errorf("%q, want %q", csv.String(), want)
	}
}

func TestGates(t *testing.T) {
	r := Report{Claims: []Claim{
		{What: "ours", Got: Interval{3, 1, 5}, Low: 4, High: math.Inf(1), Gate: true, Unit: "points"},
		{ID: "P9-1", What: "theirs", Got: Interval{3, 1, 5}, Low: 4, High: 9, Reason: "because"},
		{What: "held", Got: Interval{5, 1, 5}, Low: 4, High: math.Inf(1), Gate: true},
	}}
	err := r.Failed()
	if err == nil || !strings.Contains(err.Error(), "ours") || strings.Contains(err.Error(), "theirs") || strings.Contains(err.Error(), "held") {
		t.Errorf("%v", err)
	}
	var text bytes.Buffer
	r.Text(&text)
	for _, want := range []string{"DOES NOT HOLD  ours", "DOES NOT HOLD  P9-1 theirs", "P9-1 theirs: because"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}

// A sum that is 1 but for rounding is written as 1.
func TestFiguresAreRounded(t *testing.T) {
	f := Figure{Value: 1.0000000000000002}.Against(2.9540408556768963).rounded()
	if f.Value != 1 || *f.Baseline != 2.954041 || *f.Ratio != 0.338519 {
		t.Errorf("%v, %v, %v", f.Value, *f.Baseline, *f.Ratio)
	}
	if f = (Figure{Value: 2}).rounded(); f.Value != 2 || f.Baseline != nil || f.Ratio != nil {
		t.Errorf("%+v", f)
	}
}
