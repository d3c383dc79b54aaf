package bt_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
)

// What a Keeper says, added up, is what a snapshot says, at every tick and after halts, over JSON; and a run restored from
// it goes on like the original.
func TestKeeperAddsUp(t *testing.T) {
	for halts := range 2 {
		r := try(t, allSorts)
		keep := r.Keep()
		var kept bt.Snapshot
		for tick := range 40 {
			r.now = r.now.Add(3 * time.Millisecond)
			r.Tick(r.now)
			if halts == 1 && tick%7 == 6 {
				r.Halt(r.now, bt.HaltTree)
			}
			delta, changed := keep.Changed()
			if _, again := keep.Changed(); again {
				t.Fatalf("tick %d: changed twice", tick)
			}
			if !changed {
				continue
			}
			var read bt.Snapshot
			text, err := json.Marshal(delta)
			if err == nil {
				err = json.Unmarshal(text, &read)
			}
			if err != nil {
				t.Fatal(err)
			}
			kept.Apply(read)
			twin := try(t, allSorts)
			if err := twin.Restore(kept); err != nil {
				t.Fatalf("tick %d: %v", tick, err)
			}
			if want, got := plain(t, r.Snapshot()), plain(t, twin.Snapshot()); want != got {
				t.Fatalf("tick %d:\nwant %s\ngot  %s", tick, want, got)
			}
		}
	}
}

// plain is a snapshot as text, without counts and times of writes: one without a new value is not kept.
func plain(t *testing.T, s bt.Snapshot) string {
	for i := range s.Entries {
		s.Entries[i].Seq, s.Entries[i].Stamp = 0, 0
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A tick that ends where it began is nothing, and costs nothing to find out.
func TestKeeperComparesByValue(t *testing.T) {
	r := try(t, `<Sequence><Script code="x := 3.5; big := 2"/><L s="S"/><ScriptCondition code="x == 3.5"/></Sequence>`)
	keep := r.Keep()
	r.Tick(r.now)
	if delta, changed := keep.Changed(); !changed || len(delta.Entries) != 2 {
		t.Fatalf("first tick: %v %+v", changed, delta)
	}
	for range 3 {
		r.now = r.now.Add(time.Second)
		r.Tick(r.now)
		if delta, changed := keep.Changed(); changed {
			t.Errorf("nothing is new, and it says %+v", delta)
		}
	}
	if n := testing.AllocsPerRun(100, func() { keep.Changed() }); n > 0 {
		t.Errorf("%v allocations to say so", n)
	}
	if err := r.Set("x", math.Inf(1), r.now); err != nil {
		t.Fatal(err)
	}
	delta, changed := keep.Changed()
	if _, err := json.Marshal(delta); err != nil || !changed || len(delta.Nodes) != 1 || len(delta.Entries) != 1 {
		t.Errorf("%v %v %+v: want the entry, and the attempts of the leaf along with it", err, changed, delta)
	}
}

// Where a node looks at sequence numbers, a write counts even without a new value.
func TestKeeperCountsWrites(t *testing.T) {
	r := try(t, `<Sequence><Script code="x := 3"/><SkipUnlessUpdated entry="x"><L s="S"/></SkipUnlessUpdated></Sequence>`)
	keep := r.Keep()
	r.Tick(r.now)
	keep.Changed()
	r.Tick(r.now)
	if delta, changed := keep.Changed(); !changed || len(delta.Entries) != 1 || delta.Entries[0].Seq != 2 {
		t.Errorf("%v %+v", changed, delta)
	}
}
