package load

import (
	"slices"
	"time"
)

// around is how much of the time before and after a move its latency is compared with.
const around = 5 * time.Second

// judgeMoves reports each move, and the worst of them in p.
func (a *analysis) judgeMoves(p *PartReport, boots []answered, ends []ending) {
	events := slices.Clone(a.Events)
	slices.SortStableFunc(events, func(x, y Event) int { return x.Begin.Compare(y.Begin) })
	windows := make([]span, len(events))
	for i, e := range events {
		windows[i] = span{e.Begin.Sub(a.About.Start), e.End.Sub(a.About.Start)}
	}
	silences, stops := gaps(a.Records, a.end), freezes(a.Freezes)
	for i, e := range events {
		w := windows[i]
		m := MoveReport{
			Load: a.Name, Move: e.Move, Kind: e.Kind, From: e.From, To: e.To, Phases: e.Phases,
			BeginMS: ms(w.from), TookMS: ms(w.length()),
			GapMS: ms(longest(within(silences, w)).length()),
		}
		if a.Sampled {
			m.FreezeMS = new(ms(longest(within(stops, w)).length()))
		}
		for _, r := range a.Records {
			if !inTime(r) && w.overlaps(span{r.Due, max(r.Failed, r.Answered)}) {
				m.Failed++
			}
		}
		for _, e := range ends {
			if w.overlaps(e.when) {
				m.Broken++
			}
		}
		if m.NewBoot = newBoot(boots, w); m.NewBoot {
			p.NewBoots++
		}
		before, after := span{w.from - around, w.from}, span{w.to, w.to + around}
		if i > 0 {
			before.from = max(before.from, windows[i-1].to)
		}
		if i+1 < len(windows) {
			after.to = min(after.to, windows[i+1].from)
		}
		m.Before, m.During, m.After = latency(a.latencies(before)), latency(a.latencies(w)), latency(a.latencies(after))
		a.moves = append(a.moves, m)
	}

	outside := slices.DeleteFunc(slices.Clone(silences), func(s span) bool { return slices.ContainsFunc(windows, s.overlaps) })
	p.GapOutsideMS = ms(longest(outside).length())
	p.GapMS = p.GapOutsideMS
	if a.Sampled {
		p.FreezeMS = new(ms(longest(stops).length()))
	}
	for i, m := range a.moves {
		if i == 0 {
			p.GapMS, p.FreezeMS = m.GapMS, m.FreezeMS
			continue
		}
		p.GapMS = max(p.GapMS, m.GapMS)
		if a.Sampled {
			p.FreezeMS = new(max(*p.FreezeMS, *m.FreezeMS))
		}
	}
}

// within are the spans that touch a window, each in its full length.
func within(spans []span, w span) []span {
	var all []span
	for _, s := range spans {
		if s.overlaps(w) {
			all = append(all, s)
		}
	}
	return all
}

// newBoot says whether a boot id begins to answer within or after a window that did not answer before it, and does so
// before any later move could have brought it: it is the first boot id seen after the window.
func newBoot(boots []answered, w span) bool {
	old := map[string]bool{}
	var next answered
	for _, b := range boots {
		if b.at < w.from {
			old[b.boot] = true
		} else if b.at >= w.to && (next.boot == "" || b.at < next.at) {
			next = b
		}
	}
	return next.boot != "" && !old[next.boot]
}
