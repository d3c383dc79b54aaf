package balance

import (
	"context"
	"strings"
	"testing"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
)

func TestStrategy(t *testing.T) {
	snap := network([]netmap.Node{node("a", "compute 0.9"), node("b", "compute 0.1"), node("c", "compute 0.3"), node("d", "compute 0.65")},
		cable("a", "b", gbps), cable("a", "c", gbps), cable("a", "d", gbps))
	view, err := plan.FromSnapshot(snap)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(compute float64) plan.Decision {
		d, err := Strategy{}.Plan(context.Background(), view, Question{move("a", compute), Defaults()}, plan.Budget{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := ask(0.2)
	best, _ := decide(t, snap, move("a", 0.2), Defaults()).Best()
	if len(d.Actions) != 1 || d.Actions[0].To != best.Node || d.Score != best.Gain || len(d.Alternates) != 1 || d.Alternates[0].What != "c" {
		t.Errorf("%s", d)
	}
	if err := d.Check(view); err != nil {
		t.Error(err)
	}
	if back := d.Inverse(); back[0].From != "b" || back[0].To != "a" {
		t.Errorf("%+v", back)
	}
	// Nobody has room below 0.70: the least limit that helps is named.
	if d = ask(0.65); len(d.Actions) != 0 || len(d.Refused) != 1 || d.Refused[0].Relax != "admission: 0.76, at b" {
		t.Errorf("%s", d)
	}
	empty, _ := plan.NewView(nil, nil)
	if _, err := (Strategy{}).Plan(context.Background(), empty, Question{move("a", 1), Defaults()}, plan.Budget{}); err == nil || !strings.Contains(err.Error(), "no switches") {
		t.Errorf("%v", err)
	}
}
