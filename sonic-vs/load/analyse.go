package load

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"sonic-netservices/examples/kms/keylog"
)

// Part is everything recorded about one load. Loads named N-NAME, of one NAME, are one part of the report.
type Part struct {
	Name      string // of its folder
	About     About
	Records   []Record
	Truncated bool // the request file ended in a cut
	Sampled   bool // there is a freezer file
	Freezes   []Freeze
	Events    []Event
	Public    ed25519.PublicKey // of the volume, if there is one, else as the service told it
	Volume    *Volume           // nil: no copy was made
	Watch     *Watch            // nil: somebody ordered the moves; else the next ones say who did
	Audit     []Audited
	Journals  []Journaled
	Usage     []Usage

	Calibration *Calibration // nil: there is none

	Problems []string // found while reading
}

// Volume is the copy of the service's volume after the load.
type Volume struct {
	Entries []keylog.Entry
}

// Analyse computes the report of parts in the order of their loads. It is pure: the same records, the same report.
func Analyse(parts []Part) Report {
	var report Report
	var sums []*sum
	seen := map[serialOf]bool{}
	for i, p := range parts {
		a := &analysis{Part: p, final: p.Volume, problems: slices.Clone(p.Problems)}
		for _, later := range parts[i+1:] { // the volume moves on: the last copy is the one that counts
			if later.Volume != nil && later.Public.Equal(p.Public) {
				a.final = later.Volume
			}
		}
		a.verify()
		pr := a.report()
		if p.Volume != nil {
			lost, duplicate := a.lost(), a.duplicates(seen)
			pr.Lost, pr.Duplicate = &lost, &duplicate
		}
		report.Verdict = append(report.Verdict, a.verdict(pr)...)
		sums = addLoad(sums, pr, a.latencies(always))
		report.Moves = append(report.Moves, a.moves...)
		report.Problems = append(report.Problems, a.problems...)
	}
	for _, s := range sums {
		report.Parts = append(report.Parts, s.report())
	}
	return report
}

// serialOf tells the serials of one service from those of another.
type serialOf struct {
	public string
	serial uint64
}

// analysis is one part in work.
type analysis struct {
	Part
	final    *Volume         // the last copy of the same volume
	entries  []*keylog.Entry // by record; nil: no verified answer
	end      time.Duration   // of the records
	moves    []MoveReport
	problems []string
}

func (a *analysis) problem(format string, args ...any) {
	a.problems = append(a.problems, a.Name+": "+fmt.Sprintf(format, args...))
}

// verify puts the records in order, checks that they are whole and every signature, and demotes answers that do not
// verify to failures.
func (a *analysis) verify() {
	a.Records = slices.Clone(a.Records)
	slices.SortFunc(a.Records, func(x, y Record) int { return cmp.Compare(x.N, y.N) })
	next := 0
	for _, r := range a.Records {
		switch {
		case r.N < next:
			a.problem("request %d is recorded twice", r.N)
		case r.N > next && !a.Truncated:
			a.problem("requests %d to %d have no record", next, r.N-1)
		}
		next = max(next, r.N+1)
	}
	if want := a.About.Requests; a.About.Ended != 0 && next < want {
		a.problem("requests %d to %d have no record", next, want-1)
	}
	verified := map[keylog.Entry]bool{}
	a.entries = make([]*keylog.Entry, len(a.Records))
	for i := range a.Records {
		r := &a.Records[i]
		a.end = max(a.end, r.Due, r.Sent, r.Answered, r.Failed)
		if r.Answer == nil {
			continue
		}
		e, err := r.Answer.Entry()
		if err == nil && !e.Verify(a.Public) {
			err = fmt.Errorf("signature of serial %d does not verify", e.Serial)
		}
		if err != nil {
			a.problem("request %d: %v", r.N, err)
			r.Failed, r.Answered, r.Latency, r.Error = r.Answered, 0, 0, "answer does not verify"
			continue
		}
		verified[e] = true
		a.entries[i] = &e
	}
	if a.Volume == nil {
		return
	}
	for n, e := range a.Volume.Entries {
		if !verified[e] && !e.Verify(a.Public) {
			a.problem("%s:%d: signature of serial %d does not verify", logFile, n+1, e.Serial)
		}
	}
}

func (a *analysis) report() PartReport {
	p := PartReport{load: a.Name, Requests: len(a.Records), Errors: map[string]int{}, Truncated: a.Truncated}
	var boots []answered
	conns := map[int]map[int]bool{} // of each kept place
	for i, r := range a.Records {
		if inTime(r) {
			p.Answered++
		} else {
			p.Failed++
			p.Errors[failure(r)]++
		}
		if r.Slot > 0 && r.Conn > 0 {
			if conns[r.Slot] == nil {
				conns[r.Slot] = map[int]bool{}
			}
			conns[r.Slot][r.Conn] = true
		}
		if e := a.entries[i]; e != nil {
			boots = append(boots, answered{r.Answered, e.Boot.String()})
			if p.Serials[0] == 0 || e.Serial < p.Serials[0] {
				p.Serials[0] = e.Serial
			}
			p.Serials[1] = max(p.Serials[1], e.Serial)
		}
	}
	for _, c := range conns {
		p.Reconnected += len(c) - 1
	}
	ends := endings(a.Records)
	for _, e := range ends {
		p.Broken++
		if e.open {
			p.BrokenOpen++
		}
	}
	p.BootIDs = firstSeen(boots)
	p.Latency = latency(a.latencies(always))
	if a.Watch != nil {
		p.Automatic = a.judgeAutomatic()
		p.Latency.Before, p.Latency.Overloaded, p.Latency.After = p.Automatic.Phases.typical()
	}
	a.judgeMoves(&p, boots, ends)
	if a.Sampled {
		var longest time.Duration
		for _, f := range a.Freezes {
			longest = max(longest, f.Longest)
		}
		p.SamplingMS = new(ms(longest))
	}
	return p
}

// failure is the reason a request counts as failed.
func failure(r Record) string {
	if r.Error != "" {
		return r.Error
	}
	return errNoAnswer.Error() // it came later
}

// answered is the boot id of an answer.
type answered struct {
	at   time.Duration
	boot string
}

// firstSeen lists boot ids in the order of their first answers.
func firstSeen(boots []answered) []string {
	first := map[string]time.Duration{}
	for _, b := range boots {
		if at, ok := first[b.boot]; !ok || b.at < at {
			first[b.boot] = b.at
		}
	}
	ids := slices.Sorted(maps.Keys(first)) // equal times: by id
	slices.SortStableFunc(ids, func(x, y string) int { return cmp.Compare(first[x], first[y]) })
	return ids
}

// lost counts keys that a client holds, in time or late, and the final volume does not.
func (a *analysis) lost() int {
	own, final := a.Volume.set(), a.final.set()
	n := 0
	for _, e := range a.entries {
		if e != nil && (!own[*e] || !final[*e]) {
			n++
		}
	}
	return n
}

func (v *Volume) set() map[keylog.Entry]bool {
	set := make(map[keylog.Entry]bool, len(v.Entries))
	for _, e := range v.Entries {
		set[e] = true
	}
	return set
}

// duplicates counts serials that were given twice: to clients, in this part or before, or in the volume, where each
// must be greater than all before it.
func (a *analysis) duplicates(seen map[serialOf]bool) int {
	twice := map[uint64]bool{}
	for _, e := range a.entries {
		if e == nil {
			continue
		}
		k := serialOf{string(a.Public), e.Serial}
		if seen[k] {
			twice[e.Serial] = true
		}
		seen[k] = true
	}
	var last uint64
	for _, e := range a.Volume.Entries {
		if e.Serial <= last {
			twice[e.Serial] = true
		}
		last = max(last, e.Serial)
	}
	return len(twice)
}

// always is the span of a whole load.
var always = span{0, math.MaxInt64}

// latencies of the answers to requests due within a span.
func (a *analysis) latencies(within span) []time.Duration {
	var all []time.Duration
	for _, r := range a.Records {
		if inTime(r) && within.from <= r.Due && r.Due < within.to {
			all = append(all, r.Latency)
		}
	}
	return all
}

func latency(all []time.Duration) Latency {
	l := Latency{Answers: len(all)}
	if len(all) == 0 {
		return l
	}
	slices.Sort(all)
	rank := func(percent int) *ms { return new(ms(all[(len(all)*percent+99)/100-1])) }
	l.Median, l.P99, l.Max = rank(50), rank(99), rank(100)
	return l
}
