package plan

import (
	"context"
	"fmt"
)

// Strategy decides one class of problems. Plan is a pure function of its arguments but for one thing: when ctx ends it
// answers with the best it has so far, as it does when its budget is spent.
//
// An error of type *Infeasible says that no decision keeps all constraints, and which relaxation would help; another one
// that the question is wrong, and names the item.
type Strategy interface {
	Name() string
	Plan(ctx context.Context, view *View, problem Problem, budget Budget) (Decision, error)
}

// Problem is what one strategy is asked. Each strategy has its own type.
type Problem interface {
	// Check names the first item that cannot be meant in this view.
	Check(view *View) error
}

// Budget bounds a search. It is counted in work, never in time: a clock would make two runs differ.
type Budget struct {
	Work int    // candidate solutions weighed; 0: the strategy's default
	Seed uint64 // of the search
}

// Or is the work of a budget, or the default.
func (b Budget) Or(work int) int {
	if b.Work > 0 {
		return b.Work
	}
	return work
}

// Wrong is the error for a problem of another strategy.
func Wrong(strategy string, problem Problem) error {
	return fmt.Errorf("%s: cannot plan a %T", strategy, problem)
}

// Infeasible says that constraints contradict each other or the network.
type Infeasible struct {
	What    string `json:"what"`            // the item: request, service, category
	Because string `json:"because"`         // the constraint that no choice keeps
	Relax   string `json:"relax,omitempty"` // the smallest change of one constraint that helps; "": none alone does
}

func (e *Infeasible) Error() string {
	s := fmt.Sprintf("%s: infeasible because %s", e.What, e.Because)
	if e.Relax != "" {
		s += "; feasible with " + e.Relax
	}
	return s
}
