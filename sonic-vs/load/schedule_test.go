package load

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The paper's load (P1-72): 100 a second, from 30 s on 500.
func TestPaperSchedule(t *testing.T) {
	steps, err := ParseSteps("100,500@30s")
	if err != nil {
		t.Fatal(err)
	}
	s := Schedule{Steps: steps, New: 20, Duration: 40 * time.Second}
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	perSecond, fresh := map[int]int{}, map[int]int{}
	for slot := range s.Slots() {
		perSecond[int(slot.Due/time.Second)]++
		if slot.New {
			fresh[int(slot.Due/time.Second)]++
		}
	}
	for second := range 40 {
		want := 100
		if second >= 30 {
			want = 500
		}
		if perSecond[second] != want || fresh[second] != 20 {
			t.Errorf("second %d: %d requests, %d on new connections; want %d, 20", second, perSecond[second], fresh[second], want)
		}
	}
}

func TestSlots(t *testing.T) {
	s := Schedule{Steps: []Step{{0, 4}, {time.Second, 2}}, New: 2, Duration: 2 * time.Second}
	want := []Slot{
		{0, 0, false}, {1, 250 * msec, true}, {2, 500 * msec, false}, {3, 750 * msec, true},
		{4, 1000 * msec, true}, {5, 1500 * msec, true},
	}
	if diff := cmp.Diff(want, slices.Collect(s.Slots())); diff != "" {
		t.Error(diff)
	}
}

func TestSlotsKeepTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.IntRange(1, 2000).Draw(t, "rate")
		fresh := rapid.IntRange(0, rate).Draw(t, "new")
		seconds := rapid.IntRange(1, 3).Draw(t, "seconds")
		s := Schedule{Steps: []Step{{0, rate}}, New: fresh, Duration: time.Duration(seconds) * time.Second}
		n, news, last := 0, 0, time.Duration(-1)
		for slot := range s.Slots() {
			if slot.N != n || slot.Due <= last {
				t.Fatalf("slot %d is due at %v after %v", slot.N, slot.Due, last)
			}
			n, last = n+1, slot.Due
			if slot.New {
				news++
			}
		}
		if n != rate*seconds || news != fresh*seconds {
			t.Fatalf("%d requests, %d new; want %d, %d", n, news, rate*seconds, fresh*seconds)
		}
	})
}

func TestScheduleRefuses(t *testing.T) {
	for name, s := range map[string]Schedule{
		"nothing":             {},
		"late beginning":      {Steps: []Step{{time.Second, 1}}},
		"no rate":             {Steps: []Step{{0, 0}}},
		"steps fall":          {Steps: []Step{{0, 1}, {2, 1}, {1, 1}}},
		"more new than all":   {Steps: []Step{{0, 10}}, New: 20},
		"negative new":        {Steps: []Step{{0, 10}}, New: -1},
		"negative duration":   {Steps: []Step{{0, 10}}, Duration: -1},
		"more than it can do": {Steps: []Step{{0, 1_000_000}}},
	} {
		if s.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseSteps(f *testing.F) {
	f.Add("100")
	f.Add("100,500@30s")
	f.Add("1@,@1s")
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := ParseSteps(text)
		s := Schedule{Steps: steps, Duration: time.Millisecond}
		if err != nil || s.check() != nil {
			return
		}
		if n := len(slices.Collect(s.Slots())); n < 1 || n > 100 {
			t.Errorf("%q: %d requests in a millisecond", text, n)
		}
	})
}

func TestRandomMoments(t *testing.T) {
	s := Schedule{Steps: []Step{{0, 100}, {30 * time.Second, 500}}, New: 20, Duration: 60 * time.Second, Seed: 1}
	var all, again []Slot
	for slot := range s.Slots() {
		all = append(all, slot)
	}
	for slot := range s.Slots() {
		again = append(again, slot)
	}
	if !slices.Equal(all, again) {
		t.Error("the same seed gives other moments")
	}
	counts, even := map[bool]int{}, 0
	for i, slot := range all {
		high := slot.Due >= 30*time.Second
		counts[high]++
		if slot.N != i || slot.Due >= s.Duration || i > 0 && slot.Due < all[i-1].Due {
			t.Fatalf("slot %d: %+v after %+v", i, slot, all[max(0, i-1)])
		}
		if i > 0 && high && slot.Due-all[i-1].Due == 2*time.Millisecond {
			even++
		}
	}
	if low, high := counts[false], counts[true]; low < 2800 || low > 3200 || high < 14600 || high > 15400 || even > 10 { // four deviations
		t.Errorf("%d requests at 100 a second, %d at 500, %d exactly 2 ms apart", low, high, even)
	}
}
