// Package relay chooses for every pair of edges the way between them: direct, or by one other edge (the N2N patent).
//
// It reads the measured qualities of ordered pairs and what was chosen before, writes next hops, and is told by
// n2n-supernode's control and the scheduler: no I/O, no clock; a window is a call. The route a node has is by destination
// alone, so a chosen way is only published when following next hops really takes it, or another one that ends.
package relay

import (
	"fmt"
	"math"

	"sonic-netservices/plan"
)

// Quality is what was measured from one edge to another in a window.
type Quality struct {
	RTT       float64 // ms; 0 or +Inf: no answer
	Jitter    float64 // ms
	Loss      float64 // 0..1
	Bandwidth float64 // Mbit/s; 0: not known
}

// Class is what the traffic of a pair is sensitive to.
type Class string

const (
	Delay     Class = "delay"
	Bandwidth Class = "bandwidth"
)

// Params of the choice.
type Params struct {
	JitterWeight float64 // of jitter beside round trip time; default 1
	RTO          float64 // ms lost with a packet that has to come again; default 200
	LoadCost     float64 // what each pair that a relay serves adds to ways over it, ms; default 0

	Better  float64 // a change must bring the weight below this part of the old one; default 0.8
	Gain    float64 // and by this much, ms; default 5
	Windows int     // in so many windows in a row; default 3

	// MaxRTT bounds what class bandwidth accepts for a wider way, as a part of the direct one and in ms. A pair whose direct way
	// is broken takes any.
	MaxRTTFactor float64 // default 2
	MaxRTTAdd    float64 // default 20
}

// Defaults are the product's.
func Defaults() Params {
	return Params{JitterWeight: 1, RTO: 200, Better: 0.8, Gain: 5, Windows: 3, MaxRTTFactor: 2, MaxRTTAdd: 20}
}

// Check names the first field whose value cannot be meant.
func (p Params) Check() error {
	switch {
	case !plan.Amount(p.JitterWeight) || !plan.Amount(p.RTO) || !plan.Amount(p.LoadCost) || !plan.Amount(p.Gain):
		return fmt.Errorf("jitter_weight %v, rto %v, load_cost %v or gain %v is not an amount", p.JitterWeight, p.RTO, p.LoadCost, p.Gain)
	case !(p.Better > 0 && p.Better <= 1):
		return fmt.Errorf("better: %v is not in (0, 1]", p.Better)
	case p.Windows < 1:
		return fmt.Errorf("windows: %d: want 1 or more", p.Windows)
	case !(p.MaxRTTFactor >= 1) || !plan.Amount(p.MaxRTTFactor) || !plan.Amount(p.MaxRTTAdd):
		return fmt.Errorf("max_rtt: factor %v below 1, or %v is not an amount", p.MaxRTTFactor, p.MaxRTTAdd)
	}
	return nil
}

// Weight of a link for class delay: round trip, jitter, and what losses cost. +Inf: broken.
func (p Params) Weight(q Quality) float64 {
	if !(q.RTT > 0) || math.IsInf(q.RTT, 0) || !(q.Loss < 1) {
		return math.Inf(1)
	}
	return q.RTT + p.JitterWeight*q.Jitter + p.RTO*q.Loss/(1-q.Loss)
}

// Direct as a relay: none.
const Direct = int32(-1)

// Table is the choice for all ordered pairs of n edges, and the memory that keeps it calm. It is changed by Window and Row,
// and serves one caller at a time; nothing is allocated after New.
type Table struct {
	N      int
	Params Params

	Relay  []int32 // by from * n + to; Direct: none
	weight []float64
	width  []float64
	streak []int32 // windows in which the best was enough better than what is chosen
	class  []Class // nil: all delay
	load   []int32 // pairs by relay

	relays []int32 // of one row: the best of each destination
	values []float64
}

// New is a table in which all pairs are direct and nothing is measured.
func New(n int, p Params) (*Table, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	if n < 1 {
		return nil, fmt.Errorf("relay: %d edges: want one at least", n)
	}
	t := &Table{N: n, Params: p, Relay: make([]int32, n*n), weight: make([]float64, n*n), width: make([]float64, n*n),
		streak: make([]int32, n*n), load: make([]int32, n),
		relays: make([]int32, n), values: make([]float64, n)}
	for i := range t.Relay {
		t.Relay[i], t.weight[i] = Direct, math.Inf(1)
	}
	for i := range n {
		t.weight[i*n+i] = 0
	}
	return t, nil
}

// Measured takes what was measured between two edges.
func (t *Table) Measured(from, to int32, q Quality) {
	i := int(from)*t.N + int(to)
	t.weight[i], t.width[i] = t.Params.Weight(q), q.Bandwidth
	if math.IsInf(t.weight[i], 1) {
		t.width[i] = 0
	}
}

// SetClass of a pair's traffic; delay where it was never set.
func (t *Table) SetClass(from, to int32, c Class) {
	if t.class == nil {
		t.class = make([]Class, t.N*t.N)
	}
	t.class[int(from)*t.N+int(to)] = c
}

// Best is the best way of a pair with at most one relay, whatever is chosen: the relay and the way's weight (class delay)
// or width (class bandwidth).
func (t *Table) Best(from, to int32) (relay int32, value float64) {
	return t.best(from, to, Direct)
}

// best is Best without one relay; Direct: with all of them.
func (t *Table) best(from, to, without int32) (relay int32, value float64) {
	if t.class != nil && t.class[int(from)*t.N+int(to)] == Bandwidth {
		return t.widest(from, to, without)
	}
	t.row(from)
	if without == Direct || t.relays[to] != without {
		return t.relays[to], t.values[to]
	}
	relay, value = Direct, t.value(from, to, Direct)
	for r := range int32(t.N) {
		if r == from || r == to || r == without {
			continue
		}
		if w := t.value(from, to, r) + t.Params.LoadCost*float64(t.load[r]); w < value {
			relay, value = r, w
		}
	}
	return relay, value
}

// row fills in the best ways of class delay from one edge to all: relay by relay, as their rows lie in memory.
func (t *Table) row(from int32) {
	n := t.N
	row := t.weight[int(from)*n : int(from)*n+n]
	for to := range n {
		t.relays[to], t.values[to] = Direct, row[to]
	}
	for r, first := range row {
		if int32(r) == from || math.IsInf(first, 1) {
			continue
		}
		first += t.Params.LoadCost * float64(t.load[r])
		values := t.values
		for to, second := range t.weight[r*n : r*n+n] {
			if w := first + second; w < values[to] && to != r {
				t.relays[to], values[to] = int32(r), w
			}
		}
	}
}

func (t *Table) widest(from, to, without int32) (relay int32, width float64) {
	n := t.N
	direct := t.weight[int(from)*n+int(to)]
	relay, width = Direct, t.width[int(from)*n+int(to)]
	most, least := direct*t.Params.MaxRTTFactor+t.Params.MaxRTTAdd, direct
	for r := range int32(n) {
		if r == from || r == to || r == without {
			continue
		}
		w := t.weight[int(from)*n+int(r)] + t.weight[int(r)*n+int(to)]
		if math.IsInf(w, 1) || w > most {
			continue
		}
		if wide := min(t.width[int(from)*n+int(r)], t.width[int(r)*n+int(to)]); wide > width || wide == width && w < least {
			relay, width, least = r, wide, w
		}
	}
	return relay, width
}

// Value of the way that is chosen, as Best gives it.
func (t *Table) Value(from, to int32) float64 {
	return t.value(from, to, t.Relay[int(from)*t.N+int(to)])
}

func (t *Table) value(from, to, relay int32) float64 {
	n := t.N
	wide := t.class != nil && t.class[int(from)*n+int(to)] == Bandwidth
	switch {
	case wide && relay == Direct:
		return t.width[int(from)*n+int(to)]
	case wide:
		return min(t.width[int(from)*n+int(relay)], t.width[int(relay)*n+int(to)])
	case relay == Direct:
		return t.weight[int(from)*n+int(to)]
	}
	return t.weight[int(from)*n+int(relay)] + t.weight[int(relay)*n+int(to)]
}

// alive says whether a way works at all.
func (t *Table) alive(from, to, relay int32) bool {
	n := t.N
	if relay == Direct {
		return !math.IsInf(t.weight[int(from)*n+int(to)], 1)
	}
	return !math.IsInf(t.weight[int(from)*n+int(relay)]+t.weight[int(relay)*n+int(to)], 1)
}

// Row looks at all pairs from one edge, in whose reports something may have changed, and changes what has been better for
// long enough; a broken way is left at once. It gives the number of changes.
func (t *Table) Row(from int32) (changes int) {
	t.row(from)
	for to := range int32(t.N) {
		if to != from && t.pair(from, to) {
			changes++
		}
	}
	return changes
}

// Window looks at all pairs once, at the end of a window.
func (t *Table) Window() (changes int) {
	for from := range int32(t.N) {
		changes += t.Row(from)
	}
	return changes
}

func (t *Table) pair(from, to int32) bool {
	i := int(from)*t.N + int(to)
	relay, value := t.relays[to], t.values[to]
	if t.class != nil && t.class[i] == Bandwidth {
		relay, value = t.widest(from, to, Direct)
	}
	now := t.Relay[i]
	if relay == now {
		t.streak[i] = 0
		return false
	}
	if !t.alive(from, to, now) {
		if t.alive(from, to, relay) {
			return t.set(i, relay)
		}
		return false
	}
	old := t.Value(from, to)
	enough := value < t.Params.Better*old && old-value > t.Params.Gain
	if t.class != nil && t.class[i] == Bandwidth {
		enough = old < t.Params.Better*value
	}
	if !enough {
		t.streak[i] = 0
		return false
	}
	if t.streak[i]++; int(t.streak[i]) < t.Params.Windows {
		return false
	}
	return t.set(i, relay)
}

// set changes a pair, unless what follows from it would not arrive.
func (t *Table) set(i int, relay int32) bool {
	from, to, old := int32(i/t.N), int32(i%t.N), t.Relay[i]
	t.Relay[i] = relay
	if !t.arrives(from, to) {
		t.Relay[i] = old
		return false
	}
	if old != Direct {
		t.load[old]--
	}
	if relay != Direct {
		t.load[relay]++
	}
	t.streak[i] = 0
	return true
}

// Walk follows next hops, as packets do: each edge knows the destination only, and sends to its own choice of relay.
// ok is false when they go around.
func (t *Table) Walk(from, to int32) (hops int, ok bool) {
	for at := from; at != to; hops++ {
		if hops > t.N {
			return hops, false
		}
		if r := t.Relay[int(at)*t.N+int(to)]; r != Direct {
			at = r
		} else {
			at = to
		}
	}
	return hops, true
}

// arrives says whether packets of all edges whose way leads over this one still come to the destination: a loop that a
// change makes goes through the changed edge, so its own walk shows it.
func (t *Table) arrives(from, to int32) bool {
	_, ok := t.Walk(from, to)
	return ok
}
