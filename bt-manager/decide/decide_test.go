package decide

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sonic-netservices/netmap"
)

// Whatever the samples: a window confirms only on n samples in a row, none of them below clear, no gap between them,
// whose mean and majority are over the threshold, after one more that is over it.
func TestConfirmsOnlyAShortage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Defaults()
		p.Samples = rapid.IntRange(1, 5).Draw(t, "n")
		j, err := NewJudge(p)
		if err != nil {
			t.Fatal(err)
		}
		type reading struct {
			at  time.Duration
			use float64
		}
		var counted []reading
		windows := 0
		at := time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(t, "samples") {
			step := rapid.SampledFrom([]time.Duration{0, 300, 900, 1000, 1000, 1000, 1100, 3000, 3001}).Draw(t, "step") * time.Millisecond
			at += step
			use := rapid.SampledFrom([]float64{0.5, 0.69, 0.75, 0.80, 0.81, 0.9, 0.95, 4}).Draw(t, "use")
			if len(counted) == 0 || at-counted[len(counted)-1].at >= p.Period/2 {
				counted = append(counted, reading{at, use})
			}
			v := j.Feed(Sample{at, map[netmap.Kind]float64{netmap.Compute: use}})
			if v.Windows > windows {
				if len(counted) < p.Samples+1 {
					t.Fatalf("confirmed after %d samples", len(counted))
				}
				window := counted[len(counted)-p.Samples-1:]
				sum, over := 0.0, 0
				for i, r := range window[1:] {
					sum += r.use
					if r.use > 0.80 {
						over++
					}
					if r.use < 0.70 || r.at-window[i].at > 3*time.Second {
						t.Fatalf("confirmed over a gap or relief: %v", window)
					}
				}
				if sum/float64(p.Samples) <= 0.80 || 2*over < p.Samples {
					t.Fatalf("confirmed without shortage: %v", window)
				}
				if windows == 0 && window[0].use <= 0.80 {
					t.Fatalf("nothing armed: %v", window)
				}
			}
			windows = v.Windows
		}
	})
}

// And it does confirm: n + 1 samples over the threshold in a row always do, whatever came before.
func TestConfirmsEveryLastingShortage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j, err := NewJudge(Defaults())
		if err != nil {
			t.Fatal(err)
		}
		at := time.Duration(0)
		feed := func(use float64) (v Verdict) {
			at += time.Second
			v, _ = j.Feed(Sample{at, map[netmap.Kind]float64{netmap.Compute: use}}).Of(netmap.Compute)
			return v
		}
		for range rapid.IntRange(0, 12).Draw(t, "before") {
			feed(rapid.Float64Range(0, 1.5).Draw(t, "use"))
		}
		feed(0.1) // what was armed before is not
		for range 5 {
			if v := feed(rapid.Float64Range(0.801, 1.5).Draw(t, "over")); v.State != Armed {
				t.Fatalf("too soon: %+v", v)
			}
		}
		if v := feed(0.9); v.State != Confirmed {
			t.Fatalf("six samples over the threshold: %+v", v)
		}
	})
}

func TestOver(t *testing.T) {
	p := Defaults()
	p.Kinds = map[netmap.Kind]Limits{netmap.Memory: {0.95, 0.9}}
	use := map[netmap.Kind]float64{netmap.Storage: 0.9, netmap.Compute: 0.81, netmap.Memory: 0.93, "acl": 0.8, "bad": math.NaN(), "worse": math.Inf(1)}
	if got, want := p.Over(use), []netmap.Kind{netmap.Compute, netmap.Storage}; !slices.Equal(got, want) {
		t.Errorf("over their thresholds are %v, want %v", got, want)
	}
}

func TestPeriodIsChecked(t *testing.T) {
	p := Defaults()
	p.Period = 0
	if err := p.Check(); err == nil || err.Error() != "period: 0s is not positive" {
		t.Errorf("error %v", err)
	}
}

// P1-51: instead of while(true), a look for a target is repeated after 1, 2, 4 .. 60 s.
func TestBackoff(t *testing.T) {
	for n, want := range map[int]time.Duration{-1: 1, 0: 1, 1: 1, 2: 2, 3: 4, 6: 32, 7: 60, 8: 60, 1000: 60} {
		if got := Backoff(n); got != want*time.Second {
			t.Errorf("before look %d: %v, want %v", n, got, want*time.Second)
		}
	}
}
