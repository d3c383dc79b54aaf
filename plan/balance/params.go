package balance

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sonic-netservices/netmap"
)

// Mode is which rule scores and whether it deletes.
type Mode string

const (
	Product Mode = "product" // head-room, balance and cost in one sum; only ranks
	Paper   Mode = "paper"   // eq. 3-5 and the deletions of algorithm 1, as corrected in docs/papers.md
)

// ParseMode reads a mode as people write it.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case Product, Paper:
		return m, nil
	}
	return "", fmt.Errorf("mode %q: want product or paper", s)
}

// Params are the numbers the seed leaves open, with the values settled for them. Start from Defaults or PaperDefaults.
type Params struct {
	Mode Mode

	// Admission is the utilisation below which every kind of a target must stay with the replica on it. It is lower
	// than the threshold that makes a node overloaded (0.80): a target at the threshold would be the next source.
	Admission float64                 // default 0.70
	Limits    map[netmap.Kind]float64 // admission of single kinds, where it differs

	// TRef turns seconds of transfer into a number beside balances: a copy that takes TRef costs 1.
	TRef time.Duration // default 10 s

	// Bottleneck counts D / min B, the time of a copy streamed through all hops, instead of the paper's sum over hops.
	Bottleneck bool

	// Mode product: gain = (1 - max a') + BalanceWeight (SUB - SUB') - CostWeight cost/TRef. More weight on balance evens
	// out kinds and moves more data; more weight on cost keeps services near.
	BalanceWeight float64 // default 0.3
	CostWeight    float64 // default 0.3

	// Mode paper: gain = Lambda benefit - (1 - Lambda) cost/TRef.
	Lambda       float64       // default 0.7
	Kinds        []netmap.Kind // the kinds eq. 1-3 go over; none = every kind a node has. Admission is for every kind anyway
	DegreeFilter bool          // default off: on a leaf-spine every leaf has less neighbours than the mean
	Patience     int           // after more windows of overload than this, what was deleted is ranked after all; default 3
}

// Defaults are the product's.
func Defaults() Params {
	return Params{Mode: Product, Admission: 0.70, TRef: 10 * time.Second, BalanceWeight: 0.3, CostWeight: 0.3, Lambda: 0.7, Patience: 3}
}

// PaperDefaults are the paper's rule with its four kinds.
func PaperDefaults() Params {
	p := Defaults()
	p.Mode = Paper
	p.Kinds = []netmap.Kind{netmap.Compute, netmap.Storage, netmap.Forwarding, netmap.Security}
	return p
}

// Check names the first field whose value cannot be meant.
func (p Params) Check() error {
	if _, err := ParseMode(string(p.Mode)); err != nil {
		return err
	}
	if !(p.Admission > 0 && p.Admission <= 1) {
		return fmt.Errorf("admission: %v is not in (0, 1]", p.Admission)
	}
	for _, k := range slices.Sorted(maps.Keys(p.Limits)) {
		if !(p.Limits[k] > 0 && p.Limits[k] <= 1) {
			return fmt.Errorf("limits.%s: %v is not in (0, 1]", k, p.Limits[k])
		}
	}
	if p.TRef <= 0 {
		return fmt.Errorf("t_ref: %v is not positive", p.TRef)
	}
	if !measured(p.BalanceWeight) {
		return fmt.Errorf("balance_weight: %v is not a weight", p.BalanceWeight)
	}
	if !measured(p.CostWeight) {
		return fmt.Errorf("cost_weight: %v is not a weight", p.CostWeight)
	}
	if !(p.Lambda >= 0 && p.Lambda <= 1) {
		return fmt.Errorf("lambda: %v is not in [0, 1]", p.Lambda)
	}
	if p.Patience < 0 {
		return fmt.Errorf("patience: %d is negative", p.Patience)
	}
	return nil
}

func (p Params) limit(k netmap.Kind) float64 {
	if l, ok := p.Limits[k]; ok {
		return l
	}
	return p.Admission
}

// counts says whether eq. 1-3 go over a kind.
func (p Params) counts(k netmap.Kind) bool {
	return p.Mode != Paper || len(p.Kinds) == 0 || slices.Contains(p.Kinds, k)
}
