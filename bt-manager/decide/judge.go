// Package decide judges whether a node is overloaded (section 2.3 and figure 5 of the behaviour-tree paper) and whether
// a replica may move now.
//
// It reads samples of utilisation with the time they were taken, writes verdicts, and is told by the leaves of the
// tree. Both parts are value machines: time is a value of the caller's monotonic clock, from any origin.
package decide

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sonic-netservices/netmap"
)

// State of the judgement on one kind.
//
//	       sample over the threshold         n samples: mean over, majority over
//	idle ------------------------------> armed --------------------------------> confirmed --+
//	 ^                                     |                                       |   ^     | each n samples more:
//	 | next sample                         | sample below clear, gap, n samples    |   +-----+ one window more
//	 +---------------- disarmed <----------+ without shortage, a move              |
//	                      ^--------------------------------------------------------+
//
// A momentary value never moves anything: it arms. Disarmed is said once, with its reason.
type State string

const (
	Idle      State = "idle"
	Armed     State = "armed"
	Confirmed State = "confirmed"
	Disarmed  State = "disarmed"
)

// Sample is one reading of a node.
type Sample struct {
	At  time.Duration
	Use map[netmap.Kind]float64 // utilisation by kind; may be above 1
}

// Verdict on one kind.
type Verdict struct {
	State   State       `json:"state"`
	Kind    netmap.Kind `json:"kind,omitempty"`
	Seen    int         `json:"seen"`              // samples of the window that runs
	Over    int         `json:"over"`              // of them above the threshold
	Mean    float64     `json:"mean"`              // of them; of the window that confirmed when none has been seen since
	Windows int         `json:"windows,omitempty"` // confirmed one after the other
	Reason  string      `json:"reason"`
}

// Judgement is what a sample comes to: the most urgent verdict, and all by kind.
type Judgement struct {
	Verdict
	Kinds []Verdict `json:"kinds"`
}

// Of finds the verdict on a kind.
func (j Judgement) Of(kind netmap.Kind) (Verdict, bool) {
	for _, v := range j.Kinds {
		if v.Kind == kind {
			return v, true
		}
	}
	return Verdict{}, false
}

// String says it for people, one kind a line.
func (j Judgement) String() string {
	var b strings.Builder
	for _, v := range j.Kinds {
		fmt.Fprintf(&b, "%s: %s\n", v.State, v.Reason)
	}
	return b.String()
}

// Judge watches one node.
type Judge struct {
	params Params
	last   time.Duration // of the newest sample that counted
	begun  bool
	kinds  map[netmap.Kind]*watch
}

// watch is the judgement on one kind.
type watch struct {
	Verdict
	sum float64 // of the samples seen
	use float64 // newest
}

// NewJudge checks the parameters.
func NewJudge(p Params) (*Judge, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	return &Judge{params: p, kinds: map[netmap.Kind]*watch{}}, nil
}

// Feed takes a sample. One that repeats, comes out of order or sooner than half a period after the last is not counted:
// n samples have to be n periods.
func (j *Judge) Feed(s Sample) Judgement {
	if j.begun && s.At-j.last < j.params.Period/2 {
		return j.judgement()
	}
	j.settle()
	silent := j.silence(s.At)
	j.last, j.begun = s.At, true
	for k, w := range j.kinds {
		x, ok := s.Use[k]
		switch {
		case ok && usable(x):
		case w.active():
			w.disarm(fmt.Sprintf("%s has no reading", k))
		default:
			delete(j.kinds, k)
		}
	}
	for k, x := range s.Use {
		if !usable(x) {
			continue
		}
		w := j.kinds[k]
		if w == nil {
			w = &watch{Verdict: Verdict{State: Idle, Kind: k}}
			j.kinds[k] = w
		}
		w.take(x, j.params, silent)
	}
	return j.judgement()
}

// At is the judgement at a later time without a sample: silence disarms.
func (j *Judge) At(now time.Duration) Judgement {
	if silent := j.silence(now); silent != "" {
		j.Disarm(silent)
	}
	return j.judgement()
}

// Disarm begins anew, as after a move to or from the node.
func (j *Judge) Disarm(reason string) {
	for _, w := range j.kinds {
		if w.active() {
			w.disarm(reason)
		}
	}
}

// silence says that nothing was heard for too long before a time.
func (j *Judge) silence(at time.Duration) string {
	if limit := time.Duration(j.params.Gap) * j.params.Period; j.begun && at-j.last > limit {
		return fmt.Sprintf("no sample for %v, more than %v", at-j.last, limit)
	}
	return ""
}

// settle turns what was said once into idle.
func (j *Judge) settle() {
	for _, w := range j.kinds {
		if w.State == Disarmed {
			w.State, w.Windows = Idle, 0
		}
	}
}

func (j *Judge) judgement() Judgement {
	var all Judgement
	for _, k := range slices.Sorted(maps.Keys(j.kinds)) {
		all.Kinds = append(all.Kinds, j.kinds[k].Verdict)
	}
	if len(all.Kinds) == 0 {
		all.Verdict = Verdict{State: Idle, Reason: "no usable reading"}
		return all
	}
	// Most urgent: the state, then how far above its threshold, then the name.
	all.Verdict = slices.MinFunc(all.Kinds, func(a, b Verdict) int {
		above := func(v Verdict) float64 { return j.kinds[v.Kind].level() - j.params.Of(v.Kind).Threshold }
		return cmp.Or(cmp.Compare(urgency(b.State), urgency(a.State)), cmp.Compare(above(b), above(a)), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

func urgency(s State) int { return slices.Index([]State{Idle, Disarmed, Armed, Confirmed}, s) }

func (w *watch) active() bool { return w.State == Armed || w.State == Confirmed }

// level is what the verdict rests on: the mean of what was seen, or the newest sample.
func (w *watch) level() float64 {
	if w.active() && w.Mean > 0 {
		return w.Mean
	}
	return w.use
}

func (w *watch) disarm(reason string) {
	*w = watch{Verdict: Verdict{State: Disarmed, Kind: w.Kind, Reason: reason}, use: w.use}
}

// take is one step of the machine. Silent says that the sample comes after a gap.
func (w *watch) take(x float64, p Params, silent string) {
	w.use = x
	limits := p.Of(w.Kind)
	again := ""
	if w.active() && silent != "" {
		again = silent + ", begins anew: "
		w.State = Idle
	}
	switch {
	case !w.active() && x > limits.Threshold:
		*w = watch{Verdict: Verdict{State: Armed, Kind: w.Kind}, use: x}
		w.Reason = fmt.Sprintf("%s%s %.2f is above %.2f; watching %d samples", again, w.Kind, x, limits.Threshold, p.Samples)
		return
	case !w.active() && again != "":
		w.disarm(silent)
		return
	case !w.active():
		*w = watch{Verdict: Verdict{State: Idle, Kind: w.Kind}, use: x}
		w.Reason = fmt.Sprintf("%s %.2f is not above %.2f", w.Kind, x, limits.Threshold)
		return
	case x < limits.Clear:
		w.disarm(fmt.Sprintf("%s %.2f is below %.2f", w.Kind, x, limits.Clear))
		return
	}
	w.Seen++
	w.sum += x
	w.Mean = w.sum / float64(w.Seen)
	if x > limits.Threshold {
		w.Over++
	}
	if w.Seen < p.Samples {
		w.Reason = fmt.Sprintf("%s %d of %d samples: mean %.2f, %d above %.2f", w.Kind, w.Seen, p.Samples, w.Mean, w.Over, limits.Threshold)
		if w.State == Confirmed {
			w.Reason = fmt.Sprintf("%s; %d confirmed before", w.Reason, w.Windows)
		}
		return
	}
	w.close(p, limits.Threshold)
}

// close judges a full window.
func (w *watch) close(p Params, threshold float64) {
	seen := fmt.Sprintf("%s mean of %d samples %.2f", w.Kind, w.Seen, w.Mean)
	majority := (p.Samples + 1) / 2
	switch {
	case w.Mean <= threshold:
		w.disarm(fmt.Sprintf("%s is not above %.2f", seen, threshold))
	case p.Majority && w.Over < majority:
		w.disarm(fmt.Sprintf("%s, but only %d above %.2f, not %d", seen, w.Over, threshold, majority))
	default:
		w.State, w.Windows = Confirmed, w.Windows+1
		w.Reason = fmt.Sprintf("%s is above %.2f, %d of them", seen, threshold, w.Over)
		w.Seen, w.Over, w.sum = 0, 0, 0
	}
}

func usable(x float64) bool { return x >= 0 && !math.IsInf(x, 0) }
