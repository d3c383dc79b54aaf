package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Report is what a folder of loads shows. As JSON it is one object: each part by its name, automatic, holds and verdict of
// watched loads, moves, problems.
type Report struct {
	Parts    []PartReport
	Moves    []MoveReport
	Verdict  []Promise // about watched loads
	Problems []string  // verification failures: with any, no figure is to be trusted
}

// PartReport sums up one load, or several of the same kind: counts are added, of times the worst is kept.
type PartReport struct {
	Name string `json:"-"`
	load string // name of its folder, if it is one load

	Requests    int `json:"requests"`
	Answered    int `json:"answered"`           // verified, within Patience
	Failed      int `json:"failed_requests"`    // all others
	Broken      int `json:"broken_connections"` // ended with a request open, or kept ones between two requests
	BrokenOpen  int `json:"broken_open"`        // of these: by reset or EOF with a request open
	Reconnected int `json:"reconnections"`      // kept connections dialled again

	Lost      *int      `json:"lost_keys"`      // answered to a client, absent from the final volume; null: no volume copy
	Duplicate *int      `json:"duplicate_keys"` // serials answered twice or out of order in the volume; null: no volume copy
	Serials   [2]uint64 `json:"serials"`        // first and last answered
	BootIDs   []string  `json:"boot_ids"`       // in the order of their first answers
	NewBoots  int       `json:"new_boots"`      // moves that brought one: memory was lost

	GapMS        ms  `json:"gap_ms"`          // the worst over the moves; without moves, of the whole part
	GapOutsideMS ms  `json:"gap_outside_ms"`  // the worst outside all moves
	FreezeMS     *ms `json:"freeze_ms"`       // the worst over the moves; without moves, of the whole part; null: not sampled
	SamplingMS   *ms `json:"sampling_gap_ms"` // longest time between two looks at the freezers

	*Automatic // of a load that was watched

	Latency Latency        `json:"latency_ms"`
	Errors  map[string]int `json:"errors,omitempty"` // failed requests by reason

	Truncated bool `json:"truncated,omitempty"` // the records end in a cut: the load or the machine died

	Loads []LoadReport `json:"loads,omitempty"` // of a part with several
}

// LoadReport is one load of a part with several.
type LoadReport struct {
	Load string `json:"load"` // name of its folder
	PartReport
}

// MoveReport is what the clients saw of one move.
type MoveReport struct {
	Load     string  `json:"load"` // name of its folder
	Move     int     `json:"move"`
	Kind     string  `json:"kind"`
	From     string  `json:"from"`
	To       string  `json:"to"`
	BeginMS  ms      `json:"begin_ms"` // since the load began
	TookMS   ms      `json:"took_ms"`  // from order to answer
	GapMS    ms      `json:"gap_ms"`
	FreezeMS *ms     `json:"freeze_ms"`
	Failed   int     `json:"failed_requests"` // open at some time of the move
	Broken   int     `json:"broken_connections"`
	NewBoot  bool    `json:"new_boot"` // answers after it carry a boot id that none before it did
	Before   Latency `json:"latency_before_ms"`
	During   Latency `json:"latency_during_ms"`
	After    Latency `json:"latency_after_ms"`
	Phases   []Phase `json:"phases,omitempty"`
}

// Latency of answers in time, from due to answered, by nearest rank; null without any.
type Latency struct {
	Answers int `json:"answers"`
	Median  *ms `json:"median"`
	P99     *ms `json:"p99"`
	Max     *ms `json:"max"`

	// Of the phases of a watched load (Level.Typical).
	Before     *ms `json:"before,omitempty"`
	Overloaded *ms `json:"overloaded,omitempty"`
	After      *ms `json:"after,omitempty"`
}

// ms is a time in milliseconds, written with three decimals at most: microseconds are what the clock is good for.
type ms time.Duration

func (m ms) MarshalJSON() ([]byte, error) {
	us := time.Duration(m).Round(time.Microsecond).Microseconds()
	return json.Marshal(float64(us) / 1000)
}

func (m *ms) UnmarshalJSON(text []byte) error {
	var f float64
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	*m = ms(f * float64(time.Millisecond))
	return nil
}

// Milliseconds as a number.
func (m ms) Milliseconds() float64 { return float64(m) / float64(time.Millisecond) }

// of finds a load by the name of its folder.
func (r Report) of(load string) PartReport {
	for _, p := range r.Parts {
		if p.load == load {
			return p
		}
		for _, l := range p.Loads {
			if l.Load == load {
				return l.PartReport
			}
		}
	}
	return PartReport{}
}

// Part by name; nil if there is none.
func (r Report) Part(name string) *PartReport {
	for i := range r.Parts {
		if r.Parts[i].Name == name {
			return &r.Parts[i]
		}
	}
	return nil
}

// Automatic says whether nobody ordered the moves of the watched loads; watched: whether there are such loads.
func (r Report) Automatic() (automatic, watched bool) {
	automatic = true
	for _, p := range r.Parts {
		if p.Automatic != nil {
			watched, automatic = true, automatic && p.Automatic.Automatic
		}
	}
	return automatic && watched, watched
}

// Format writes the report as indented JSON. The same records give the same bytes.
func (r Report) Format() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("{")
	member := func(name string, value any) error {
		text, err := json.MarshalIndent(value, "  ", "  ")
		if err != nil {
			return fmt.Errorf("report %s: %w", name, err)
		}
		if b.Len() > 1 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n  %q: %s", name, text)
		return nil
	}
	if automatic, watched := r.Automatic(); watched {
		if err := member("automatic", automatic); err != nil {
			return nil, err
		}
		if err := member("holds", r.broken() == nil); err != nil {
			return nil, err
		}
	}
	for _, p := range r.Parts {
		if err := member(p.Name, p); err != nil {
			return nil, err
		}
	}
	if err := member("moves", append([]MoveReport{}, r.Moves...)); err != nil {
		return nil, err
	}
	if len(r.Verdict) > 0 {
		if err := member("verdict", r.Verdict); err != nil {
			return nil, err
		}
	}
	if len(r.Problems) > 0 {
		if err := member("problems", r.Problems); err != nil {
			return nil, err
		}
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}
