package load

import (
	"cmp"
	"slices"
	"time"
)

// span is a time between two moments of a load, end not included.
type span struct{ from, to time.Duration }

func (s span) length() time.Duration { return s.to - s.from }

func (s span) overlaps(o span) bool { return s.from < o.to && o.from < s.to }

// longest of some spans; the zero span if there is none.
func longest(spans []span) span {
	var best span
	for _, s := range spans {
		if s.length() > best.length() {
			best = s
		}
	}
	return best
}

// gaps are the spans in which a request was due and no answer came, to any client.
//
// A request is due from its moment in the schedule until its answer. One that failed is due until the next answer to
// anyone, no longer than Patience: that a client was refused at once does not make the interruption shorter. Where
// nothing is due nobody waits, and there is no gap. The records end at end; nothing is known about the time behind it.
func gaps(records []Record, end time.Duration) []span {
	var answers []time.Duration
	for _, r := range records {
		if inTime(r) {
			answers = append(answers, r.Answered)
		}
	}
	slices.Sort(answers)
	var waits []span
	for _, r := range records {
		to := r.Answered
		if !inTime(r) {
			to = min(r.Due+Patience, end)
			if i, _ := slices.BinarySearch(answers, max(r.Due, r.Failed)); i < len(answers) {
				to = min(to, answers[i])
			}
		}
		if r.Due < to {
			waits = append(waits, span{r.Due, to})
		}
	}
	slices.SortFunc(waits, func(a, b span) int { return cmp.Compare(a.from, b.from) })

	var all []span
	cut := func(s span) { // at each answer inside
		i, _ := slices.BinarySearch(answers, s.from)
		for ; i < len(answers) && answers[i] < s.to; i++ {
			if answers[i] > s.from {
				all = append(all, span{s.from, answers[i]})
				s.from = answers[i]
			}
		}
		all = append(all, s)
	}
	var open span // waits that touch, joined
	for _, w := range waits {
		if open.to == 0 || w.from > open.to {
			if open.to != 0 {
				cut(open)
			}
			open = w
		}
		open.to = max(open.to, w.to)
	}
	if open.to != 0 {
		cut(open)
	}
	return all
}

// LongestGap is the longest time in which a request was due and no answer came, to any client; both zero without one.
func LongestGap(records []Record, end time.Duration) (from, to time.Duration) {
	s := longest(gaps(records, end))
	return s.from, s.to
}

// inTime says whether a request was answered before its client gave up.
func inTime(r Record) bool { return r.Answered != 0 && r.Latency <= Patience }

// freezes are the spans in which a container was frozen or about to be, from the samples. One that lasts to the end of
// the samples ends there.
func freezes(lines []Freeze) []span {
	type id struct{ node, container string }
	since := map[id]time.Duration{}
	var order []id // of those frozen now: the output does not depend on the map
	var all []span
	var end time.Duration
	for _, f := range lines {
		end = max(end, f.T)
		if f.State == "" {
			continue
		}
		k := id{f.Node, f.Container}
		from, was := since[k]
		is := f.State == frozen || f.State == freezing
		switch {
		case is && !was:
			since[k] = f.T
			order = append(order, k)
		case !is && was:
			all = append(all, span{from, f.T})
			delete(since, k)
			order = slices.DeleteFunc(order, func(o id) bool { return o == k })
		}
	}
	for _, k := range order {
		all = append(all, span{since[k], end})
	}
	return all
}

// Bin is the mean latency of the answers that came within one step of time.
type Bin struct {
	From    time.Duration
	Mean    time.Duration // 0 without an answer
	Answers int
	Due     bool // somebody waited
}

// bins follow each other from the beginning to end, step long each.
func bins(records []Record, end, step time.Duration) []Bin {
	all := make([]Bin, (end+step-1)/step)
	for i := range all {
		all[i].From = time.Duration(i) * step
	}
	for _, r := range records {
		if inTime(r) {
			if i := int(r.Answered / step); i < len(all) {
				all[i].Mean += r.Latency
				all[i].Answers++
			}
		}
	}
	for i := range all {
		if all[i].Answers > 0 {
			all[i].Mean /= time.Duration(all[i].Answers)
		}
	}
	for _, gap := range gaps(records, end) {
		for i := gap.from / step; i < time.Duration(len(all)) && i*step < gap.to; i++ {
			all[i].Due = true
		}
	}
	return all
}
