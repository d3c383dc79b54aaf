package chaos

import (
	"slices"
	"strings"
	"testing"

	"sonic-netservices/mig-agent/journal"
)

func TestDeck(t *testing.T) {
	all, err := Cases(Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Errorf("the matrix has %d cases", len(all))
	}
	deck := Deck(all, 300, 7)
	if len(deck) != 300 {
		t.Fatalf("%d cases, want 300", len(deck))
	}
	count := map[string]int{}
	for i, c := range deck {
		if count[c.String()]++; i < len(Faults) && slices.ContainsFunc(deck[:i], func(o Case) bool { return o.Fault.Name == c.Fault.Name }) {
			t.Errorf("case %d is %s: not every fault has come yet", i, c)
		}
	}
	for _, c := range all {
		switch n := count[c.String()]; {
		case n == 0:
			t.Errorf("%s is not in the deck", c)
		case c.Fault.Heavy && n != 1:
			t.Errorf("%s, heavy, comes %d times", c, n)
		}
	}
	same := func(a, b Case) bool { return a.String() == b.String() }
	if !slices.EqualFunc(deck, Deck(all, 300, 7), same) {
		t.Error("the same seed gives another deck")
	}
	if slices.EqualFunc(deck, Deck(all, 300, 8), same) {
		t.Error("another seed gives the same deck")
	}
}

func TestChoice(t *testing.T) {
	for _, tt := range []struct {
		choice Choice
		want   int
		err    string
	}{
		{Choice{Faults: []string{"manager"}}, len(Steps), ""},
		{Choice{Faults: []string{"manager", "source-criu"}, Steps: []string{"frozen"}}, 2, ""},
		{Choice{Faults: []string{"earthquake"}}, 0, `no fault "earthquake"`},
		{Choice{Steps: []string{"begun"}}, 0, `no step "begun"`},
		{Choice{Faults: []string{"source-criu"}, Steps: []string{"released"}}, 0, "no chosen fault"},
		{Choice{Faults: []string{"source-power"}, Light: true}, 0, "no chosen fault"},
	} {
		got, err := Cases(tt.choice)
		if len(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %d cases, %v", tt.choice, len(got), err)
		}
	}
}

func TestViolations(t *testing.T) {
	good := Move{Outcome: string(journal.Committed), From: "a", To: "b", Owner: "b", Owners: 1, Requests: 100}
	if got := good.Violations(); len(got) > 0 {
		t.Errorf("good: %q", got)
	}
	for _, tt := range []struct {
		spoil func(*Move)
		want  string
	}{
		{func(m *Move) { m.Owners = 2 }, "2 owners"},
		{func(m *Move) { m.Owners, m.Owner = 0, "" }, "0 owners"},
		{func(m *Move) { m.Repeated = 1 }, "1 repeated serials"},
		{func(m *Move) { m.LostWrites = 3 }, "3 lost writes"},
		{func(m *Move) { m.Leftovers = 1 }, "1 leftovers"},
		{func(m *Move) { m.Failed = 5 }, "5 failed requests"},
		{func(m *Move) { m.Failed, m.Spoils = 5, true }, ""},
		{func(m *Move) { m.Owner = "a" }, "committed, but it runs on the source"},
		{func(m *Move) { m.Outcome = string(journal.Aborted) }, "aborted, but it runs on the target"},
		{func(m *Move) { m.Outcome = "" }, "does not say how it ended"},
	} {
		m := good
		tt.spoil(&m)
		got := strings.Join(m.Violations(), "; ")
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// What may fail is what the issue allows: never a fault that leaves the source alive before the commit.
func TestSpoils(t *testing.T) {
	all, err := Cases(Choice{})
	if err != nil {
		t.Fatal(err)
	}
	before := until(journal.Sent)
	for _, c := range all {
		sourceLost := slices.Contains([]string{"source-power", "source-dockerd", "source-criu"}, c.Fault.Name)
		if slices.Contains(before, c.Step) && c.Spoils() && !sourceLost {
			t.Errorf("%s leaves the source alive, and yet requests may fail", c)
		}
	}
}
