package board

import (
	"math"
	"testing"
)

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		from any
		want Kind
		text string // "" = refused
	}{
		{3, Real, "3"}, {3.0, Int, "3"}, {3.5, Int, ""}, {1 << 40, Text, "1099511627776"},
		{" 42 ", Int, "42"}, {"4e2", Real, "400"}, {"x", Int, ""}, {"", Real, ""},
		{"TRUE", Bool, "true"}, {"0", Bool, "false"}, {2, Bool, ""}, {true, Int, "1"}, {true, Text, "true"},
		{[]int{1}, Text, ""}, {nil, Int, ""}, {math.Inf(1), Int, ""}, {1e19, Int, ""}, {"x", Opaque, ""}, {"x", Unset, "x"},
	} {
		v, err := Of(c.from).Convert(c.want)
		if (err == nil) != (c.text != "") || err == nil && v.String() != c.text {
			t.Errorf("%#v as %v = %v, %v; want %q", c.from, c.want, v, err, c.text)
		}
	}
}

func TestGuess(t *testing.T) {
	for text, want := range map[string]Kind{"5": Int, "-5": Int, "5.0": Real, "1e3": Real, "5s": Text, "": Text, "true": Text} {
		if got := Guess(text).Kind(); got != want {
			t.Errorf("%q is taken for a %v, want %v", text, got, want)
		}
	}
}

// An entry keeps the type of its first value, or that of the first typed port; each write counts.
func TestEntryKeepsItsType(t *testing.T) {
	var e Entry
	steps := []struct {
		put any
		ok  bool
	}{{5, true}, {6.0, true}, {6.5, false}, {"7", true}, {"seven", false}, {[]int{1}, false}}
	for _, s := range steps {
		if err := e.Put(Of(s.put), 9); (err == nil) != s.ok {
			t.Errorf("put %v: %v", s.put, err)
		}
	}
	if e.Kind() != Int || e.String() != "7" || e.Seq() != 3 || e.Stamp() != 9 {
		t.Errorf("%v %v after %d writes at %d", e.Kind(), e.Value, e.Seq(), e.Stamp())
	}
	e.Clear(10)
	if err := e.Put(OfText("free again"), 11); err != nil || e.Seq() != 5 {
		t.Errorf("after Clear: %v, %d writes", err, e.Seq())
	}
	var locked Entry
	locked.Lock(Text)
	if err := locked.Put(OfInt(5), 0); err != nil || locked.Kind() != Text {
		t.Errorf("a number into a string entry of a port: %v %v", locked.Kind(), err)
	}
}

func TestBoardTellsChangesOnce(t *testing.T) {
	b := New()
	for key, v := range map[string]any{"Service1": "kms", "Policy1": "leaf1"} {
		if err := b.Set(key, v, 1); err != nil {
			t.Fatal(err)
		}
	}
	told := func() (s string) {
		b.Changes(func(name string, v Value) { s += name + "=" + v.String() + " " })
		return s
	}
	if got := told(); got != "Policy1=leaf1 Service1=kms " {
		t.Errorf("told %q", got)
	}
	b.Entry("Policy1").Clear(2)
	if got := told(); got != "Policy1= " {
		t.Errorf("told %q", got)
	}
	if got := told(); got != "" {
		t.Errorf("told twice: %q", got)
	}
	if names := b.Names(); len(names) != 1 || names[0] != "Service1" {
		t.Errorf("names %q", names)
	}
}
