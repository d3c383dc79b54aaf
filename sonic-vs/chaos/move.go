package chaos

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"sonic-netservices/mig-agent/journal"
)

// Move is what came of one case: a line of out/chaos.jsonl. Every figure was computed from raw records: the requests of
// the load, the journals, the volume.
type Move struct {
	N     int          `json:"n"`
	Seed  uint64       `json:"seed"`
	Fault string       `json:"fault"`
	Step  journal.Step `json:"step"`
	Op    string       `json:"op"`
	From  string       `json:"from"`
	To    string       `json:"to"`

	Struck  bool   `json:"struck"`  // the step came, and the fault with it
	Outcome string `json:"outcome"` // committed, aborted
	Owner   string `json:"owner"`
	Owners  int    `json:"owners"` // nodes on which the replica runs once all is settled

	Requests   int `json:"requests"`
	Failed     int `json:"failed_requests"`
	Broken     int `json:"broken_connections"`
	Repeated   int `json:"repeated_serials"`
	LostWrites int `json:"lost_writes"`
	Leftovers  int `json:"leftovers"`

	GapMS  float64 `json:"gap_ms"`  // the longest time without an answer
	TookMS int64   `json:"took_ms"` // from the order until all was settled
	Note   string  `json:"note"`    // what was found, for people

	Spoils bool `json:"spoils,omitempty"` // requests may fail: the only running copy died with what broke
}

// Violations lists what must not be.
func (m Move) Violations() (list []string) {
	wrong := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if m.Owners != 1 {
		wrong("%d owners", m.Owners)
	}
	if m.Repeated != 0 {
		wrong("%d repeated serials", m.Repeated)
	}
	if m.LostWrites != 0 {
		wrong("%d lost writes", m.LostWrites)
	}
	if m.Leftovers != 0 {
		wrong("%d leftovers", m.Leftovers)
	}
	if m.Failed != 0 && !m.Spoils {
		wrong("%d failed requests", m.Failed)
	}
	switch {
	case m.Outcome == string(journal.Committed) && m.Owner == m.From:
		wrong("committed, but it runs on the source")
	case m.Outcome == string(journal.Aborted) && m.Owner == m.To:
		wrong("aborted, but it runs on the target")
	case m.Outcome != string(journal.Committed) && m.Outcome != string(journal.Aborted):
		wrong("the source's journal does not say how it ended")
	}
	return list
}

// Table sums moves up, one line a fault.
func Table(moves []Move) string {
	type sum struct {
		moves, struck, committed, failed, violations int
		gap                                          float64
		took                                         int64
	}
	sums := map[string]*sum{}
	for _, m := range moves {
		s := sums[m.Fault]
		if s == nil {
			s = &sum{}
			sums[m.Fault] = s
		}
		s.moves++
		if m.Struck {
			s.struck++
		}
		if m.Outcome == string(journal.Committed) {
			s.committed++
		}
		s.failed += m.Failed
		s.violations += min(1, len(m.Violations()))
		s.gap, s.took = max(s.gap, m.GapMS), s.took+m.TookMS
	}
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tMOVES\tSTRUCK\tCOMMITTED\tABORTED\tFAILED\tMAX-GAP-MS\tMEAN-MS\tVIOLATED")
	order := slices.SortedFunc(maps.Keys(sums), func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	for _, name := range order {
		s := sums[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%.0f\t%d\t%d\n",
			name, s.moves, s.struck, s.committed, s.moves-s.committed, s.failed, s.gap, s.took/int64(s.moves), s.violations)
	}
	w.Flush() // into memory: cannot fail
	return text.String()
}

func place(fault string) int {
	return slices.IndexFunc(Faults, func(f Fault) bool { return f.Name == fault })
}
