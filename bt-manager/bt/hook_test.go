package bt_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
)

// script plays answers of a hook and notes what it was asked with; after the last it lets go.
type script struct {
	say   []bt.Status
	asked string
}

func (s *script) hook(st bt.Status) bt.Status {
	s.asked += fmt.Sprint(st, " ")
	if len(s.say) == 0 {
		return bt.Skipped
	}
	say := s.say[0]
	s.say = s.say[1:]
	return say
}

// A hook holds, replaces, or lets go, before and after its node, whatever the kind of node and of its parent. runs counts
// how often the Count leaf was run.
func TestHooks(t *testing.T) {
	hold, free := bt.Running, bt.Skipped
	for name, c := range map[string]struct {
		tree, want string
		uid        int
		where      bt.Place
		say        []bt.Status
		asked      string
		x          string // entry x at the end: runs of the node's script
	}{
		"held before a leaf": {`<Sequence><Script code="x := x + 1"/></Sequence>`, "RUNNING RUNNING SUCCESS SUCCESS", 2, bt.Before,
			[]bt.Status{hold, hold, free}, "IDLE IDLE IDLE IDLE ", "2"},
		"held after a leaf": {`<Sequence><Script code="x := x + 1"/></Sequence>`, "RUNNING RUNNING SUCCESS", 2, bt.After,
			[]bt.Status{hold, hold, free}, "SUCCESS SUCCESS SUCCESS ", "1"},
		"held after the child of a decorator": {`<Inverter><Script code="x := x + 1"/></Inverter>`, "RUNNING RUNNING FAILURE", 2, bt.After,
			[]bt.Status{hold, hold, free}, "SUCCESS SUCCESS SUCCESS ", "1"},
		"held after a sequence": {`<ForceFailure><Sequence><Script code="x := x + 1"/><AlwaysSuccess/></Sequence></ForceFailure>`, "RUNNING RUNNING FAILURE", 2, bt.After,
			[]bt.Status{hold, hold}, "SUCCESS SUCCESS SUCCESS ", "1"},
		"held after the root": {`<Script code="x := x + 1"/>`, "RUNNING SUCCESS SUCCESS", 1, bt.After,
			[]bt.Status{hold}, "SUCCESS SUCCESS SUCCESS ", "2"},
		"held after a child of a parallel": {`<Parallel><Script code="x := x + 1"/><L s="RRRS"/></Parallel>`, "RUNNING RUNNING RUNNING SUCCESS", 2, bt.After,
			[]bt.Status{hold, hold}, "SUCCESS SUCCESS SUCCESS ", "1"},
		"held after RUNNING": {`<Sequence><L s="RS"/></Sequence>`, "RUNNING RUNNING SUCCESS", 2, bt.After,
			[]bt.Status{hold, free, free}, "RUNNING RUNNING SUCCESS ", "0"},
		"held before a running leaf": {`<Sequence><L s="RS"/></Sequence>`, "RUNNING RUNNING SUCCESS", 2, bt.Before,
			[]bt.Status{free, hold, free}, "IDLE RUNNING RUNNING ", "0"},
		"replaced before": {`<Sequence><Script code="x := x + 1"/></Sequence>`, "FAILURE SUCCESS", 2, bt.Before,
			[]bt.Status{bt.Failure, bt.Success}, "IDLE IDLE ", "0"},
		"replaced after": {`<Sequence><Script code="x := x + 1"/></Sequence>`, "FAILURE", 2, bt.After,
			[]bt.Status{bt.Failure}, "SUCCESS ", "1"},
		"held, then replaced after": {`<Sequence><Script code="x := x + 1"/></Sequence>`, "RUNNING FAILURE", 2, bt.After,
			[]bt.Status{hold, bt.Failure}, "SUCCESS SUCCESS ", "1"},
		"a running leaf replaced": {`<Sequence><L s="RRRR" _onHalted="x := 9"/></Sequence>`, "RUNNING FAILURE", 2, bt.Before,
			[]bt.Status{free, bt.Failure}, "IDLE RUNNING ", "9"},
		"behind the preconditions": {`<Sequence><Script code="x := x + 1" _skipIf="true"/></Sequence>`, "SKIPPED", 2, bt.Before,
			[]bt.Status{hold}, "", "0"},
		"scripts run once": {`<Sequence><AlwaysSuccess _onSuccess="x := x + 1"/></Sequence>`, "RUNNING RUNNING SUCCESS", 2, bt.After,
			[]bt.Status{hold, hold}, "SUCCESS SUCCESS SUCCESS ", "1"},
		"halted while held": {`<ReactiveSequence><C s="SFSS"/><Script code="x := x + 1"/></ReactiveSequence>`, "RUNNING FAILURE RUNNING SUCCESS", 3, bt.After,
			[]bt.Status{hold, hold}, "SUCCESS SUCCESS SUCCESS ", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			r := try(t, c.tree)
			_ = r.Set("x", 0, r.now) // some trees have none
			s := &script{say: c.say}
			if err := r.SetHook(c.uid, c.where, s.hook); err != nil {
				t.Fatal(err)
			}
			r.ticks(time.Second, c.want)
			if s.asked != c.asked {
				t.Errorf("asked %q, want %q", s.asked, c.asked)
			}
			if x := r.Get("x").String(); x != c.x && !(x == "" && c.x == "0") {
				t.Errorf("x = %s, want %s", x, c.x)
			}
		})
	}
}

func TestHookEnds(t *testing.T) {
	r := try(t, `<Sequence><Script code="x := x + 1"/><AlwaysSuccess/></Sequence>`)
	_ = r.Set("x", 0, r.now)
	for _, bad := range []int{0, 4} {
		if err := r.SetHook(bad, bt.Before, nil); err == nil || !strings.Contains(err.Error(), "the tree has 3") {
			t.Errorf("hook of node %d: %v", bad, err)
		}
	}
	hold := func(bt.Status) bt.Status { return bt.Running }
	if err := r.SetHook(2, bt.After, hold); err != nil {
		t.Fatal(err)
	}
	r.ticks(time.Second, "RUNNING RUNNING")
	if note := r.Note(2); note != "held" || r.Status(2) != bt.Success {
		t.Errorf("held node says %q and is %v", note, r.Status(2))
	}
	if err := r.SetHook(2, bt.After, nil); err != nil {
		t.Fatal(err)
	}
	r.ticks(time.Second, "SUCCESS")
	if note, x := r.Note(2), r.Get("x").String(); note != "" || x != "1" {
		t.Errorf("let go: note %q, x = %s", note, x)
	}
	r.ticks(time.Second, "SUCCESS")
	if x := r.Get("x").String(); x != "2" {
		t.Errorf("x = %s after two runs", x)
	}
}

// A manager that dies while a node is held does not run the node again.
func TestHeldNodeIsNotRunTwice(t *testing.T) {
	const tree = `<ForceFailure><Sequence><Script code="x := x + 1"/><AlwaysSuccess/></Sequence></ForceFailure>`
	r := try(t, tree)
	_ = r.Set("x", 0, r.now)
	if err := r.SetHook(2, bt.After, func(bt.Status) bt.Status { return bt.Running }); err != nil {
		t.Fatal(err)
	}
	r.ticks(time.Second, "RUNNING RUNNING")
	text, err := json.Marshal(r.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var s bt.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	next := try(t, tree)
	if err := next.Restore(s); err != nil {
		t.Fatal(err)
	}
	next.ticks(time.Second, "FAILURE")
	if x := next.Get("x").String(); x != "1" {
		t.Errorf("x = %s", x)
	}
	next.ticks(time.Second, "FAILURE")
	if x := next.Get("x").String(); x != "2" {
		t.Errorf("x = %s after the next round", x)
	}
}
