package load

import (
	"maps"
	"regexp"
	"slices"
	"time"
)

// sum is a part of the report in work: one load, or several with one name.
type sum struct {
	name      string
	loads     []LoadReport
	latencies []time.Duration
}

var numbered = regexp.MustCompile(`^[0-9]+-(.+)$`)

// partName is the part a load belongs to.
func partName(load string) string {
	if m := numbered.FindStringSubmatch(load); m != nil {
		return m[1]
	}
	return load
}

// addLoad puts a load into the part it belongs to. Parts keep the order of their first loads.
func addLoad(sums []*sum, p PartReport, latencies []time.Duration) []*sum {
	name := partName(p.load)
	i := slices.IndexFunc(sums, func(s *sum) bool { return s.name == name })
	if i < 0 {
		i, sums = len(sums), append(sums, &sum{name: name})
	}
	sums[i].loads = append(sums[i].loads, LoadReport{p.load, p})
	sums[i].latencies = append(sums[i].latencies, latencies...)
	return sums
}

// report adds up what can be counted and keeps the worst of what can be measured.
func (s *sum) report() PartReport {
	total := s.loads[0].PartReport
	total.Name = s.name
	if len(s.loads) == 1 {
		return total
	}
	total.load, total.Loads, total.Automatic = "", s.loads, nil
	total.Errors = maps.Clone(total.Errors)
	total.BootIDs = slices.Clone(total.BootIDs)
	for _, l := range s.loads[1:] {
		total.Requests += l.Requests
		total.Answered += l.Answered
		total.Failed += l.Failed
		total.Broken += l.Broken
		total.BrokenOpen += l.BrokenOpen
		total.Reconnected += l.Reconnected
		total.NewBoots += l.NewBoots
		total.Lost = both(total.Lost, l.Lost, func(a, b int) int { return a + b })
		total.Duplicate = both(total.Duplicate, l.Duplicate, func(a, b int) int { return a + b })
		if total.Serials[0] == 0 || l.Serials[0] != 0 && l.Serials[0] < total.Serials[0] {
			total.Serials[0] = l.Serials[0]
		}
		total.Serials[1] = max(total.Serials[1], l.Serials[1])
		for _, id := range l.BootIDs {
			if !slices.Contains(total.BootIDs, id) {
				total.BootIDs = append(total.BootIDs, id)
			}
		}
		total.GapMS = max(total.GapMS, l.GapMS)
		total.GapOutsideMS = max(total.GapOutsideMS, l.GapOutsideMS)
		total.FreezeMS = both(total.FreezeMS, l.FreezeMS, later)
		total.SamplingMS = both(total.SamplingMS, l.SamplingMS, later)
		for reason, n := range l.Errors {
			total.Errors[reason] += n
		}
		total.Truncated = total.Truncated || l.Truncated
	}
	total.Latency = latency(s.latencies)
	return total
}

func later(a, b ms) ms { return max(a, b) }

// both joins two figures; without one of them nothing is known of the whole.
func both[T any](a, b *T, join func(a, b T) T) *T {
	if a == nil || b == nil {
		return nil
	}
	return new(join(*a, *b))
}
