package replica

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// live is what a store shows: the fields of every row that is not removed, by owner and key.
func live(s *Store) map[string]map[string]string {
	all := map[string]map[string]string{}
	for owner, o := range s.owners {
		for key, r := range o.rows {
			if r.Fields != nil {
				all[owner+" "+key] = r.Fields
			}
		}
	}
	return all
}

// anyRow is one of few owners, keys and versions, so that they meet.
var anyRow = rapid.Custom(func(t *rapid.T) Row {
	r := Row{
		Owner: rapid.SampledFrom([]string{"a", "b", manager}).Draw(t, "owner"),
		Key:   rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "key"),
		Version: Version{Incarnation: rapid.Uint64Range(1, 3).Draw(t, "incarnation"),
			Rev: rapid.Uint64Range(1, 3).Draw(t, "rev")},
	}
	if rapid.Bool().Draw(t, "live") {
		r.Fields = map[string]string{"v": rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "v")}
	}
	return r
})

// Whatever the order and however often rows are delivered, the stores are equal.
func TestMergeConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(anyRow, 0, 12).Draw(t, "rows")
		again := rapid.Permutation(rows).Draw(t, "order")
		for range rapid.IntRange(0, 6).Draw(t, "repeats") {
			if len(rows) > 0 {
				again = append(again, rapid.SampledFrom(rows).Draw(t, "repeat"))
			}
		}
		first, second := newStore(0), newStore(0)
		for _, r := range rows {
			first.merge(r)
		}
		for _, r := range again {
			second.merge(r)
		}
		if diff := cmp.Diff(first.digest(), second.digest()); diff != "" {
			t.Fatalf("versions differ:\n%s", diff)
		}
		if diff := cmp.Diff(live(first), live(second)); diff != "" {
			t.Fatalf("rows differ:\n%s", diff)
		}
	})
}

// The keys a merge names are exactly those whose live rows changed.
func TestMergeNamesChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStore(0)
		for _, r := range rapid.SliceOfN(anyRow, 1, 12).Draw(t, "rows") {
			before := live(s)
			changed, _ := s.merge(r)
			named := map[string]bool{}
			for _, key := range changed {
				named[r.Owner+" "+key] = true
			}
			for key, row := range live(s) {
				if !cmp.Equal(before[key], row) && !named[key] {
					t.Fatalf("%s changed and is not named", key)
				}
				delete(before, key)
			}
			for key := range before {
				if !named[key] {
					t.Fatalf("%s went and is not named", key)
				}
			}
		}
	})
}

// After both sent what the other lacks, two stores are equal.
func TestLackingIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := newStore(0), newStore(0)
		for _, s := range []*Store{a, b} {
			for _, r := range rapid.SliceOfN(anyRow, 0, 8).Draw(t, "rows") {
				r.Fields = fieldsFor(r) // one writer: a version has one content
				s.merge(r)
			}
		}
		da, db := a.digest(), b.digest()
		for _, x := range []struct {
			from, to *Store
			digest   []Stamp
		}{{a, b, db}, {b, a, da}} {
			for _, st := range x.from.lacking(x.digest) {
				if r, ok := x.from.get(st.Owner, st.Key); ok {
					x.to.merge(r)
				}
			}
		}
		if diff := cmp.Diff(live(a), live(b)); diff != "" {
			t.Fatalf("rows differ:\n%s", diff)
		}
	})
}

func fieldsFor(r Row) map[string]string {
	if r.Version.Rev == 2 {
		return nil
	}
	return map[string]string{"v": fmt.Sprint(r.Key, r.Version)}
}

func TestReincarnate(t *testing.T) {
	s := newStore(0)
	s.owner("a").incarnation = 1
	s.set("a", "x", map[string]string{"v": "1"})
	s.set("a", "y", map[string]string{"v": "1"})
	s.set("a", "y", nil)
	if s.set("a", "x", map[string]string{"v": "1"}) {
		t.Error("an equal row counts as a change")
	}
	if diff := cmp.Diff([]string{"x"}, s.reincarnate("a", 5)); diff != "" {
		t.Errorf("live keys: %s", diff)
	}
	if diff := cmp.Diff([]Stamp{{"x", "a", Version{5, 1}}}, s.digest()); diff != "" {
		t.Errorf("digest: %s", diff)
	}
}
