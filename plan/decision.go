package plan

import (
	"fmt"
	"slices"
	"strings"

	"sonic-netservices/netmap"
)

// Decision is an explained answer. It dies when a precondition of one of its actions no longer holds.
type Decision struct {
	Strategy   string       `json:"strategy"`
	View       string       `json:"view"` // hash of the snapshot
	Seed       uint64       `json:"seed"`
	Work       int          `json:"work"`    // of the budget, spent
	Actions    []Action     `json:"actions"` // in the order to do them
	Score      float64      `json:"score"`   // what Measure says
	Measure    string       `json:"measure"` // "gain, larger is better", "cost + penalties, smaller is better"
	Alternates []Alternate  `json:"alternates,omitempty"`
	Refused    []Infeasible `json:"refused,omitempty"` // parts of the problem that get nothing, and why
	Why        []string     `json:"why"`
	Bound      *float64     `json:"bound,omitempty"` // no decision scores better, where that is known
}

// Alternate is another decision that was weighed: what to do when the first is refused.
type Alternate struct {
	What    string   `json:"what"`
	Actions []Action `json:"actions,omitempty"`
	Score   float64  `json:"score"`
	Why     string   `json:"why,omitempty"`
}

// ActionKind is what an action does.
type ActionKind string

// The actions. Each has an inverse of a kind in this list.
const (
	Place       ActionKind = "place"        // Subject on To, which gives Amount
	Remove      ActionKind = "remove"       // Subject from From, which gets Amount back
	Migrate     ActionKind = "migrate"      // Subject from From to To, with Amount
	Resize      ActionKind = "resize"       // Subject on To, from Before to Amount
	OverlayUp   ActionKind = "overlay-up"   // carrying network Subject over Path, with Rate of its bandwidth
	OverlayDown ActionKind = "overlay-down" //
	Route       ActionKind = "route"        // Share of Subject takes Path, with Rate; it took PathBefore, if any
)

// Action is one step of a decision.
type Action struct {
	Kind       ActionKind    `json:"kind"`
	Subject    string        `json:"subject"` // replica, request, overlay link, pair
	From       string        `json:"from,omitempty"`
	To         string        `json:"to,omitempty"`
	Amount     netmap.Demand `json:"amount,omitempty"`
	Before     netmap.Demand `json:"before,omitempty"`
	Path       []string      `json:"path,omitempty"` // nodes; none: the subject has no route
	PathBefore []string      `json:"path_before,omitempty"`
	Hosts      []string      `json:"hosts,omitempty"` // of a chain's steps along Path
	Rate       float64       `json:"rate,omitempty"`  // Mbit/s
	Share      float64       `json:"share,omitempty"` // of the subject's flows, 0..1; 0: all
	Needs      []Need        `json:"needs,omitempty"` // what must still be true
}

// Inverse takes an action back.
func (a Action) Inverse() Action {
	b := a
	b.From, b.To, b.Before, b.Amount = a.To, a.From, a.Amount, a.Before
	b.Path, b.PathBefore = a.Path, a.PathBefore
	b.Needs = nil
	switch a.Kind {
	case Place:
		b.Kind, b.Amount, b.Before = Remove, a.Amount, nil
	case Remove:
		b.Kind, b.Amount, b.Before = Place, a.Amount, nil
	case Migrate:
		b.Amount, b.Before = a.Amount, nil
	case Resize:
		b.From, b.To = a.From, a.To
	case OverlayUp:
		b.Kind, b.Amount, b.Before = OverlayDown, a.Amount, nil
		b.From, b.To = a.From, a.To
	case OverlayDown:
		b.Kind, b.Amount, b.Before = OverlayUp, a.Amount, nil
		b.From, b.To = a.From, a.To
	case Route:
		b.Path, b.PathBefore = a.PathBefore, a.Path
		b.From, b.To, b.Amount, b.Before = a.From, a.To, a.Amount, a.Before
	}
	return b
}

// Inverse takes a decision back: the inverse of each action, last first.
func (d Decision) Inverse() []Action {
	back := make([]Action, len(d.Actions))
	for i, a := range d.Actions {
		back[len(back)-1-i] = a.Inverse()
	}
	return back
}

// Need is a precondition: so much of a kind is free on a node, or so much bandwidth on a link.
type Need struct {
	Node   string      `json:"node,omitempty"`
	Kind   netmap.Kind `json:"kind,omitempty"`
	LinkA  string      `json:"link_a,omitempty"`
	LinkB  string      `json:"link_b,omitempty"`
	Amount float64     `json:"amount"`
}

// tolerance of sums: amounts that differ by less are equal.
const tolerance = 1e-9

// Check says what of an action's preconditions a view no longer meets. Needs of one item add up.
func (d Decision) Check(view *View) error {
	type item struct {
		a, b string
		kind netmap.Kind
	}
	sum := map[item]float64{}
	for _, a := range d.Actions {
		for _, n := range a.Needs {
			at := item{n.Node, "", n.Kind}
			free := 0.0
			if n.Node != "" {
				i, ok := view.Index(n.Node)
				if !ok {
					return fmt.Errorf("%s %s: node %s is gone", a.Kind, a.Subject, n.Node)
				}
				free = view.Nodes[i].Free(n.Kind)
			} else {
				at = item{min(n.LinkA, n.LinkB), max(n.LinkA, n.LinkB), ""}
				i := slices.IndexFunc(view.Links, func(l Link) bool { return l.A == at.a && l.B == at.b })
				if i < 0 {
					return fmt.Errorf("%s %s: link %s-%s is gone", a.Kind, a.Subject, at.a, at.b)
				}
				free = view.Links[i].Free()
			}
			if sum[at] += n.Amount; sum[at] > free+tolerance*max(1, free) {
				return fmt.Errorf("%s %s: needs %.6g of %s%s, free is %.6g", a.Kind, a.Subject, sum[at], n.Node, strings.TrimPrefix(at.a+"-"+at.b, n.Node+"-"), free)
			}
		}
	}
	return nil
}

// String is the decision for people.
func (d Decision) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d actions, %s: %.6g\n", d.Strategy, len(d.Actions), d.Measure, d.Score)
	if d.Bound != nil {
		fmt.Fprintf(&b, "  no decision is better than %.6g\n", *d.Bound)
	}
	for _, w := range d.Why {
		fmt.Fprintf(&b, "  %s\n", w)
	}
	for i, a := range d.Actions {
		fmt.Fprintf(&b, "  %d. %s\n", i+1, a)
	}
	for _, r := range d.Refused {
		fmt.Fprintf(&b, "  refused %s\n", r.Error())
	}
	for _, a := range d.Alternates {
		fmt.Fprintf(&b, "  or %s: %.6g", a.What, a.Score)
		if a.Why != "" {
			fmt.Fprintf(&b, " (%s)", a.Why)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "  snapshot %s, seed %d, %d solutions weighed\n", d.View, d.Seed, d.Work)
	return b.String()
}

// String is the action for people.
func (a Action) String() string {
	s := fmt.Sprintf("%s %s", a.Kind, a.Subject)
	if a.From != "" {
		s += " from " + a.From
	}
	if a.To != "" {
		s += " to " + a.To
	}
	if a.Share > 0 {
		s += fmt.Sprintf(", %.0f %% of its flows", 100*a.Share)
	}
	if len(a.Path) > 0 {
		s += " over " + strings.Join(a.Path, " > ")
	}
	if len(a.Hosts) > 0 {
		s += ", steps at " + strings.Join(a.Hosts, ", ")
	}
	if a.Rate > 0 {
		s += fmt.Sprintf(", %.4g Mbit/s", a.Rate)
	}
	for i, k := range sortedKinds(a.Amount) {
		if i == 0 {
			s += ","
		}
		s += fmt.Sprintf(" %s %.4g", k, a.Amount[k])
	}
	return s
}

func sortedKinds(d netmap.Demand) []netmap.Kind {
	var kinds []netmap.Kind
	for k := range d {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}
