package decide

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sonic-netservices/netmap"
)

// Limits of one kind, as utilisation.
type Limits struct {
	Threshold float64 // above it a sample is too high; default 0.80
	Clear     float64 // below it the node is relieved; default 0.70. Also what targets are admitted up to
}

// Params are the values the paper leaves open (claim P1-41). Start from Defaults.
type Params struct {
	Limits
	Kinds map[netmap.Kind]Limits // of single kinds, where they differ

	Samples int           // n: samples watched after the one that armed; more waits longer and moves less. Default 5
	Period  time.Duration // between samples; default 1 s

	// Majority wants at least half of the n samples above the threshold as well: the mean alone is beaten by one
	// spike of five times the threshold. Default on.
	Majority bool

	CoolDown int // periods in which a replica that has moved stays; default 6
	Gap      int // a silence of more periods disarms: stale data never moves a service; default 3
}

// Defaults decide 5 s after the first sample above 0.80.
func Defaults() Params {
	return Params{Limits: Limits{Threshold: 0.80, Clear: 0.70}, Samples: 5, Period: time.Second, Majority: true, CoolDown: 6, Gap: 3}
}

// Check names the first field whose value cannot be meant.
func (p Params) Check() error {
	if err := p.Limits.check(""); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(p.Kinds)) {
		if err := p.Kinds[k].check(string(k) + "."); err != nil {
			return err
		}
	}
	switch {
	case p.Samples < 1 || p.Samples > maxSamples:
		return fmt.Errorf("samples: %d is not in 1..%d", p.Samples, maxSamples)
	case p.Period <= 0:
		return fmt.Errorf("period: %v is not positive", p.Period)
	case p.CoolDown < 0:
		return fmt.Errorf("cool_down: %d periods is negative", p.CoolDown)
	case p.Gap < 1:
		return fmt.Errorf("gap: %d periods is not positive", p.Gap)
	}
	return nil
}

const maxSamples = 1000 // a window is kept in memory for every kind of every node

func (l Limits) check(of string) error {
	if !(l.Threshold > 0 && l.Threshold <= 1) {
		return fmt.Errorf("%sthreshold: %v is not in (0, 1]", of, l.Threshold)
	}
	if !(l.Clear > 0 && l.Clear < l.Threshold) {
		return fmt.Errorf("%sclear: %v is not above 0 and below the threshold %v", of, l.Clear, l.Threshold)
	}
	return nil
}

// Of gives the limits of a kind.
func (p Params) Of(k netmap.Kind) Limits {
	if l, ok := p.Kinds[k]; ok {
		return l
	}
	return p.Limits
}

// Over lists the kinds above their thresholds now, by name: the condition of the tree that one sample answers.
func (p Params) Over(use map[netmap.Kind]float64) (over []netmap.Kind) {
	for _, k := range slices.Sorted(maps.Keys(use)) {
		if usable(use[k]) && use[k] > p.Of(k).Threshold {
			over = append(over, k)
		}
	}
	return over
}

// Backoff is how long to wait before the n-th look for a target when n-1 looks found none: 1, 2, 4 .. 60 s.
func Backoff(n int) time.Duration {
	return min(time.Minute, time.Second<<max(0, min(n-1, 6)))
}
