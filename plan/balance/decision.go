package balance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/graph"
)

// Decision is an explained answer: Candidates best first, Refused by name. Every node of the snapshot is in one of them.
type Decision struct {
	Replica   string                  `json:"replica"`
	Source    string                  `json:"source,omitempty"`
	Mode      Mode                    `json:"mode"`
	Demand    netmap.Demand           `json:"demand"`
	DataBytes float64                 `json:"data_bytes"`
	Admission float64                 `json:"admission"`
	Limits    map[netmap.Kind]float64 `json:"limits,omitempty"` // admission of single kinds

	Leaves     *Load   `json:"leaves,omitempty"` // the source before and after; nil without source or without readings
	Candidates []Score `json:"candidates"`
	Refused    []Score `json:"refused"`
	Fallback   string  `json:"fallback,omitempty"` // mode paper: why deleted nodes were ranked
}

// Best is the chosen node, ok false when none fits.
func (d Decision) Best() (Score, bool) {
	if len(d.Candidates) == 0 {
		return Score{}, false
	}
	return d.Candidates[0], true
}

// Score is what one node is worth, and why.
type Score struct {
	Node string `json:"node"`
	Load
	Benefit     float64      `json:"benefit"` // SUB - SUB'; in mode paper eq. 3
	Path        []HopSeconds `json:"path,omitempty"`
	CostSeconds float64      `json:"cost_seconds"` // eq. 4
	Terms       []Term       `json:"terms,omitempty"`
	Gain        float64      `json:"gain"`              // sum of the terms
	Refused     []string     `json:"refused,omitempty"` // why it is no candidate
	Deleted     []string     `json:"deleted,omitempty"` // why mode paper deletes it
}

// Load is a node's utilisation before and after the change that is weighed. SU is eq. 1, SUB eq. 2.
type Load struct {
	Kinds    []Use   `json:"kinds,omitempty"` // by name; none when the readings cannot be true
	Highest  Use     `json:"highest"`         // kind that is fullest after, at its peak
	SU       float64 `json:"su"`
	SUAfter  float64 `json:"su_after"`
	SUB      float64 `json:"sub"`
	SUBAfter float64 `json:"sub_after"`
}

// Use is one kind's utilisation before and after.
type Use struct {
	Kind   netmap.Kind `json:"kind"`
	Before float64     `json:"before"`
	After  float64     `json:"after"`
	Rise   float64     `json:"rise,omitempty"` // how much more the node itself used at its peak than now
}

// peak is what is expected at worst.
func (u Use) peak() float64 { return u.After + u.Rise }

// headRoom is the arithmetic of what is left at worst.
func (u Use) headRoom() string {
	if u.Rise == 0 {
		return strings.TrimSpace(fmt.Sprintf("1 - %.3f %s", u.After, u.Kind))
	}
	return fmt.Sprintf("1 - (%.3f + %.3f) %s, which rises so much within a day", u.After, u.Rise, u.Kind)
}

// HopSeconds is one hop of the path and what the transfer takes there.
type HopSeconds struct {
	graph.Hop
	Seconds float64 `json:"seconds"`
}

// Term is one summand of a gain and its arithmetic in words.
type Term struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	How   string  `json:"how"`
}

// String is the explanation for people, as `nsctl why` shows it.
func (d Decision) String() string {
	var b strings.Builder
	what := "place " + d.Replica
	if d.Source != "" {
		what = "move " + d.Replica + " from " + d.Source
	}
	if best, ok := d.Best(); ok {
		fmt.Fprintf(&b, "%s: to %s, gain %.3f (%s)\n", what, best.Node, best.Gain, d.Mode)
	} else {
		fmt.Fprintf(&b, "%s: no node fits (%s)\n", what, d.Mode)
	}
	fmt.Fprintf(&b, "  needs %s; every kind has to stay below %.2f", needs(d.Demand), d.Admission)
	for _, k := range slices.Sorted(maps.Keys(d.Limits)) {
		fmt.Fprintf(&b, ", %s below %.2f", k, d.Limits[k])
	}
	b.WriteString("\n")
	if d.Source != "" {
		fmt.Fprintf(&b, "  carries %s\n", amount(d.DataBytes, "bytes"))
	}
	if d.Leaves != nil {
		fmt.Fprintf(&b, "  %s without it\n", d.Source)
		d.Leaves.write(&b)
	}
	if d.Fallback != "" {
		fmt.Fprintf(&b, "  %s\n", d.Fallback)
	}
	for i, s := range d.Candidates {
		fmt.Fprintf(&b, "  %d. %s: gain %.3f\n", i+1, s.Node, s.Gain)
		s.write(&b)
	}
	for _, s := range d.Refused {
		fmt.Fprintf(&b, "  refused %s: %s\n", s.Node, strings.Join(append(slices.Clone(s.Refused), s.Deleted...), "; "))
		s.write(&b)
	}
	return b.String()
}

func (s Score) write(b *strings.Builder) {
	s.Load.write(b)
	if len(s.Path) > 0 {
		var hops []string
		for _, h := range s.Path {
			hops = append(hops, fmt.Sprintf("%s>%s %.3g Gbit/s %.3g s", h.From, h.To, h.BPS/1e9, h.Seconds))
		}
		fmt.Fprintf(b, "     path  %s\n", strings.Join(hops, ", "))
	}
	for _, t := range s.Terms {
		fmt.Fprintf(b, "     %+.3f  %s: %s\n", t.Value, t.Name, t.How)
	}
	if len(s.Terms) > 0 {
		fmt.Fprintf(b, "     %+.3f  gain; benefit %.3f, cost %.3g s\n", s.Gain, s.Benefit, s.CostSeconds)
	}
}

func (l Load) write(b *strings.Builder) {
	if len(l.Kinds) == 0 {
		return
	}
	var uses []string
	for _, u := range l.Kinds {
		use := fmt.Sprintf("%s %.3f", u.Kind, u.Before)
		if u.After != u.Before {
			use += fmt.Sprintf(" -> %.3f", u.After)
		}
		uses = append(uses, use)
	}
	fmt.Fprintf(b, "     SU %.3f -> %.3f, SUB %.3f -> %.3f: %s\n", l.SU, l.SUAfter, l.SUB, l.SUBAfter, strings.Join(uses, ", "))
}

func needs(demand netmap.Demand) string {
	units := map[netmap.Kind]string{netmap.Compute: "cores", netmap.Memory: "bytes", netmap.Storage: "bytes"}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(demand)) {
		parts = append(parts, fmt.Sprintf("%s %s", k, amount(demand[k], units[k])))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// amount writes bytes with a binary prefix, anything else as it is.
func amount(x float64, unit string) string {
	if unit != "bytes" {
		return strings.TrimSpace(fmt.Sprintf("%.4g %s", x, unit))
	}
	prefixes := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	i := 0
	for ; x >= 1024 && i < len(prefixes)-1; i++ {
		x /= 1024
	}
	return fmt.Sprintf("%.4g %sB", x, prefixes[i])
}

// above writes a utilisation with as many digits as it takes to show that it is not below the limit.
func above(x, limit float64) string {
	s := fmt.Sprintf("%.2f", x)
	if s == fmt.Sprintf("%.2f", limit) && x != limit {
		return fmt.Sprintf("%.6g", x)
	}
	return s
}
