package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"sonic-netservices/netmap"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func after(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func need(compute float64) netmap.Demand { return netmap.Demand{netmap.Compute: compute} }

type tester interface {
	Helper()
	Fatal(...any)
}

// do applies what a command gave.
func do(t tester, l *Ledger) func(records []Record, err error) {
	return func(records []Record, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err := l.Apply(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLifeOfAHold(t *testing.T) {
	var l Ledger
	do(t, &l)(l.Hold("op1", "leaf1", need(0.2), after(10), start))
	do(t, &l)(l.Hold("op2", "leaf1", need(0.3), after(10), start))
	do(t, &l)(l.Hold("op3", "leaf2", need(0.4), after(20), start))
	if got := l.Reserved()["leaf1"][netmap.Compute]; got != 0.5 {
		t.Errorf("leaf1 has %v reserved, want 0.5", got)
	}
	if got := l.Reserved("op2")["leaf1"][netmap.Compute]; got != 0.2 {
		t.Errorf("leaf1 without op2 has %v reserved, want 0.2", got)
	}
	do(t, &l)(l.Commit("op1", after(9)))
	if gone := l.Expire(after(9)); gone != nil {
		t.Errorf("expired before their time: %v", gone)
	}
	do(t, &l)(l.Expire(after(10)), nil)
	if diff := cmp.Diff(map[string]netmap.Demand{"leaf1": need(0.2), "leaf2": need(0.4)}, l.Reserved()); diff != "" {
		t.Errorf("after 10 s (-want +got):\n%s", diff)
	}
	do(t, &l)(l.Release("op1"), nil)
	do(t, &l)(l.Release("op3"), nil)
	if got := l.Reserved(); len(got) != 0 {
		t.Errorf("all released, reserved is %v", got)
	}
}

func TestRepeatsChangeNothing(t *testing.T) {
	var l Ledger
	do(t, &l)(l.Hold("op1", "leaf1", need(0.2), after(10), start))
	if again, err := l.Hold("op1", "leaf1", need(0.2), after(99), start); err != nil || again != nil {
		t.Errorf("the same hold again: %v %v", again, err)
	}
	do(t, &l)(l.Commit("op1", start))
	if again, err := l.Commit("op1", after(99)); err != nil || again != nil {
		t.Errorf("the same commit again: %v %v", again, err)
	}
	if again := l.Release("op9"); again != nil {
		t.Errorf("release of nothing: %v", again)
	}
}

func TestRefusals(t *testing.T) {
	var l Ledger
	do(t, &l)(l.Hold("op1", "leaf1", need(0.2), after(10), start))
	_, err := l.Hold("op1", "leaf2", need(0.2), after(10), start)
	if !errors.Is(err, ErrTaken) {
		t.Errorf("another node under the same id: %v", err)
	}
	if _, err := l.Hold("op1", "leaf1", need(0.3), after(10), start); !errors.Is(err, ErrTaken) {
		t.Errorf("another amount under the same id: %v", err)
	}
	if _, err := l.Commit("op9", start); !errors.Is(err, ErrUnknown) {
		t.Errorf("commit of nothing: %v", err)
	}
	if _, err := l.Commit("op1", after(10)); !errors.Is(err, ErrExpired) {
		t.Errorf("commit at the deadline: %v", err)
	}
	if _, err := l.Hold("op1", "leaf1", need(0.2), after(20), after(10)); !errors.Is(err, ErrExpired) {
		t.Errorf("the same hold again after its deadline: %v", err)
	}
	for want, demand := range map[string]netmap.Demand{
		"hold: op2: demand.compute: -1 is not an amount":   need(-1),
		"hold: op2: demand.compute: NaN is not an amount":  need(math.NaN()),
		"hold: op2: demand.compute: +Inf is not an amount": need(math.Inf(1)),
	} {
		if _, err := l.Hold("op2", "leaf1", demand, after(10), start); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, err := l.Hold("op2", "leaf1", need(1), start, start); err == nil {
		t.Error("a hold that is void at once is taken")
	}
	if _, err := l.Hold("", "leaf1", need(1), after(10), start); err == nil {
		t.Error("a hold without id is taken")
	}
	if _, err := l.Hold("op2", "", need(1), after(10), start); err == nil {
		t.Error("a hold without node is taken")
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	for _, r := range []Record{
		{What: "sold", ID: "op1"},
		{What: Held, ID: "op2"},
		{What: Held, ID: "op2", Hold: &Hold{ID: "op3", Node: "leaf1", Deadline: after(1)}},
		{What: Held, ID: "op2", Hold: &Hold{ID: "op2", Node: "leaf1", Demand: need(-1), Deadline: after(1)}},
		{What: Held, ID: "op2", Hold: &Hold{ID: "op2", Node: "leaf1"}},
		{What: Held, ID: "op1", Hold: &Hold{ID: "op1", Node: "leaf1", Deadline: after(1)}},
		{What: Committed, ID: "op9"},
		{What: Released, ID: "op9"},
		{What: Expired, ID: "op9"},
		{What: Expired, ID: "op1"},
	} {
		var l Ledger
		do(t, &l)(l.Hold("op1", "leaf1", need(0.2), after(10), start))
		do(t, &l)(l.Commit("op1", start))
		before := l.Holds()
		if err := l.Apply(r); err == nil {
			t.Errorf("record %+v is applied", r)
		}
		if diff := cmp.Diff(before, l.Holds()); diff != "" {
			t.Errorf("record %+v was refused and changed (-before +after):\n%s", r, diff)
		}
	}
}

// What is handed in or out is not the ledger's own.
func TestHoldsAreCopies(t *testing.T) {
	var l Ledger
	demand := need(0.2)
	do(t, &l)(l.Hold("op1", "leaf1", demand, after(10), start))
	demand[netmap.Compute] = 9
	l.Holds()[0].Demand[netmap.Compute] = 9
	l.Reserved()["leaf1"][netmap.Compute] = 9
	if got := l.Reserved()["leaf1"][netmap.Compute]; got != 0.2 {
		t.Errorf("reserved is %v, want 0.2", got)
	}
}

// Any run of commands: totals are what a plain list of live holds adds up to, never negative; a restart from the journal,
// and from its sum, gives the same ledger.
func TestRunsOfCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		var journal [][]byte
		model := map[string]Hold{}
		now := start
		keep := func(records []Record) {
			for _, r := range records {
				text, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				journal = append(journal, text)
				if err := l.Apply(r); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "commands") {
			id := fmt.Sprint("op", rapid.IntRange(0, 4).Draw(t, "id"))
			held, ok := model[id]
			live := ok && (held.Committed || held.Deadline.After(now))
			switch rapid.SampledFrom([]string{"hold", "hold", "commit", "release", "expire"}).Draw(t, "command") {
			case "hold":
				node := fmt.Sprint("leaf", rapid.IntRange(0, 1).Draw(t, "node"))
				demand := need(float64(rapid.IntRange(0, 9).Draw(t, "amount")) / 10)
				deadline := now.Add(time.Duration(rapid.IntRange(1, 9).Draw(t, "ttl")) * time.Second)
				records, err := l.Hold(id, node, demand, deadline, now)
				if (err == nil && len(records) == 1) == ok {
					t.Fatalf("hold %s: %v %v, held before: %v", id, records, err, ok)
				}
				if !ok {
					model[id] = Hold{ID: id, Node: node, Demand: demand, Deadline: deadline}
				}
				keep(records)
			case "commit":
				records, err := l.Commit(id, now)
				if (err == nil) != live {
					t.Fatalf("commit %s: %v, live: %v", id, err, live)
				}
				if live {
					held.Committed, held.Deadline = true, time.Time{}
					model[id] = held
				}
				keep(records)
			case "release":
				delete(model, id)
				keep(l.Release(id))
			case "expire":
				now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second)
				for id, h := range model {
					if !h.Committed && !h.Deadline.After(now) {
						delete(model, id)
					}
				}
				keep(l.Expire(now))
			}
			sum := map[string]float64{}
			for _, h := range model {
				sum[h.Node] += h.Demand[netmap.Compute]
			}
			reserved := l.Reserved()
			for _, node := range []string{"leaf0", "leaf1"} {
				got := reserved[node][netmap.Compute]
				if math.Abs(got-sum[node]) > 1e-9 || got < 0 {
					t.Fatalf("%s has %v reserved, want %v", node, got, sum[node])
				}
			}
		}
		var again, summed Ledger
		for _, text := range journal {
			var r Record
			if err := json.Unmarshal(text, &r); err != nil {
				t.Fatal(err)
			}
			if err := again.Apply(r); err != nil {
				t.Fatal(err)
			}
		}
		do(t, &summed)(l.Sum(), nil)
		for what, other := range map[string]*Ledger{"journal": &again, "sum": &summed} {
			if diff := cmp.Diff(l.Holds(), other.Holds(), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("after a restart from the %s (-want +got):\n%s", what, diff)
			}
		}
	})
}
