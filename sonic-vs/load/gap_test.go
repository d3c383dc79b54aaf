package load

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// slowGap finds the longest gap by looking at each unit of time: somebody waits, and no answer comes at its ends.
func slowGap(records []Record, end time.Duration) time.Duration {
	answeredAt := map[time.Duration]bool{}
	for _, r := range records {
		if inTime(r) {
			answeredAt[r.Answered] = true
		}
	}
	waits := func(r Record, t time.Duration) bool { // through t to t+1
		if t < r.Due || t >= end || t >= r.Due+Patience {
			return false
		}
		if inTime(r) {
			return t < r.Answered
		}
		for at := max(r.Due, r.Failed); at <= t; at++ {
			if answeredAt[at] {
				return false
			}
		}
		return true
	}
	var best, now time.Duration
	for t := time.Duration(0); t < end; t++ {
		if answeredAt[t] {
			now = 0
		}
		if slices.ContainsFunc(records, func(r Record) bool { return waits(r, t) }) {
			now++
		} else {
			now = 0
		}
		best = max(best, now)
	}
	return best
}

func TestGapsAgreeWithASlowCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []Record
		var end time.Duration
		for range rapid.IntRange(0, 12).Draw(t, "requests") {
			r := Record{Due: time.Duration(rapid.IntRange(0, 60).Draw(t, "due"))}
			took := time.Duration(rapid.IntRange(1, 20).Draw(t, "took"))
			if rapid.Bool().Draw(t, "answered") {
				r.Answered, r.Latency = r.Due+took, took
			} else {
				r.Failed = r.Due + took
			}
			end = max(end, r.Answered, r.Failed)
			records = append(records, r)
		}
		all := gaps(records, end)
		if got, want := longest(all).length(), slowGap(records, end); got != want {
			t.Fatalf("longest gap %d, counted %d, of %v", got, want, all)
		}
		for i, g := range all {
			if g.length() <= 0 || i > 0 && g.from < all[i-1].to {
				t.Fatalf("gaps are empty, overlap or fall: %v", all)
			}
		}
	})
}

// A second client that waits as long as another one sees the same gaps.
func TestASecondClientChangesNoGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []Record
		for i := range rapid.IntRange(1, 20).Draw(t, "requests") {
			took := time.Duration(rapid.IntRange(1, 40).Draw(t, "took"))
			due := time.Duration(i) * 10
			records = append(records, Record{Due: due, Answered: due + took, Latency: took})
		}
		const end = 1000
		before := longest(gaps(records, end)).length()
		at := rapid.SampledFrom(records).Draw(t, "beside")
		records = append(records, Record{Due: at.Due, Answered: at.Answered, Latency: at.Latency})
		if after := longest(gaps(records, end)).length(); after != before {
			t.Fatalf("%d became %d", before, after)
		}
	})
}

func TestFreezes(t *testing.T) {
	at := func(t time.Duration, container, state string) Freeze {
		return Freeze{T: t, Node: "leaf1", Container: container, State: state}
	}
	for _, tt := range []struct {
		name  string
		lines []Freeze
		want  []span
	}{
		{"none", []Freeze{at(1, "a", thawed), {T: 9, Samples: 1}}, nil},
		{"one", []Freeze{at(1, "a", thawed), at(3, "a", frozen), at(7, "a", thawed)}, []span{{3, 7}}},
		{"freezing counts", []Freeze{at(3, "a", freezing), at(5, "a", frozen), at(7, "a", thawed)}, []span{{3, 7}}},
		{"ends with the cgroup", []Freeze{at(3, "a", frozen), at(7, "a", gone)}, []span{{3, 7}}},
		{"two containers", []Freeze{at(3, "a", frozen), at(4, "b", frozen), at(7, "a", thawed), at(9, "b", thawed)}, []span{{3, 7}, {4, 9}}},
		{"still frozen at the end", []Freeze{at(3, "b", frozen), at(4, "a", frozen), {T: 9, Samples: 1}}, []span{{3, 9}, {4, 9}}},
		{"twice", []Freeze{at(1, "a", frozen), at(2, "a", thawed), at(5, "a", frozen), at(9, "a", thawed)}, []span{{1, 2}, {5, 9}}},
	} {
		if diff := cmp.Diff(tt.want, freezes(tt.lines), cmp.AllowUnexported(span{})); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestBins(t *testing.T) {
	records := []Record{
		{Due: 0, Answered: 10 * msec, Latency: 10 * msec},
		{Due: 0, Answered: 20 * msec, Latency: 20 * msec},
		{Due: 90 * msec, Answered: 390 * msec, Latency: 300 * msec}, // waited through the second and third bin
		{Due: 510 * msec, Failed: 520 * msec},                       // nobody was answered again
	}
	got := bins(records, 700*msec, 100*msec)
	want := []Bin{
		{0, 15 * msec, 2, true},
		{100 * msec, 0, 0, true},
		{200 * msec, 0, 0, true},
		{300 * msec, 300 * msec, 1, true},
		{400 * msec, 0, 0, false},
		{500 * msec, 0, 0, true},
		{600 * msec, 0, 0, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
