package n2n

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestStampAt(t *testing.T) {
	if got, want := StampAt(time.Unix(0x12345678, 0x54321*1000)), Stamp(0x12345678_54321_00_0); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

// Stamps increase, also when a million leave in a microsecond or the clock steps back a little.
func TestStampsIncrease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Stamper
		now := time.Unix(1_800_000_000, 0)
		last := Stamp(0)
		for range 300 {
			now = now.Add(time.Duration(rapid.Int64Range(-3000, 5000).Draw(t, "step")))
			stamp := s.Next(now)
			if stamp <= last || stamp&0xf != 0 {
				t.Fatalf("%x after %x", stamp, last)
			}
			last = stamp
		}
	})
	var s Stamper
	now := time.Unix(1_800_000_000, 0)
	s.Next(now)
	if back := now.Add(-time.Hour); s.Next(back) != StampAt(back) {
		t.Error("a clock that was an hour fast and was set back is not followed")
	}
}

func TestReplay(t *testing.T) {
	now := time.Unix(1_800_000_000, 500_000_000)
	at := func(d time.Duration) Stamp { return StampAt(now.Add(d)) }
	const ms = time.Millisecond
	for _, c := range []struct {
		what  string
		seen  time.Duration
		stamp Stamp
		order Order
		want  Reason
	}{
		{"later", -ms, at(0), Ordered, ReasonNone},
		{"the same again", 0, at(0), Ordered, ReasonReplay},
		{"a millisecond late", 0, at(-ms), Ordered, ReasonReplay},
		{"a packet a millisecond late", 0, at(-ms), Jittered, ReasonNone},
		{"a packet 159 ms late", 0, at(-159 * ms), Jittered, ReasonNone},
		{"a packet 160 ms late", 0, at(-160 * ms), Jittered, ReasonReplay},
		{"a packet 2 s late by a counter", 0, at(-2*time.Second) | 1, Jittered, ReasonNone},
		{"16 s before now", -time.Hour, at(-16 * time.Second), Ordered, ReasonClock},
		{"16 s after now", -time.Hour, at(16 * time.Second), Jittered, ReasonClock},
		{"just in time", -time.Hour, at(-15999 * ms), Ordered, ReasonNone},
		{"just not too early", -time.Hour, at(15999 * ms), Ordered, ReasonNone},
		{"from the year 2106", -time.Hour, 1<<64 - 1, Jittered, ReasonClock},
		{"from 1970", -time.Hour, 0, Jittered, ReasonClock},
	} {
		r := Replay{at(c.seen)}
		if err := r.Accept(c.stamp, at(0), c.order); ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		want := at(c.seen)
		if c.want == ReasonNone {
			want = max(want, c.stamp)
		}
		if r.last != want {
			t.Errorf("%s: remembers %x, want %x", c.what, r.last, want)
		}
	}
}
