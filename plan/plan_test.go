package plan

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sonic-netservices/netmap"
)

func two(t *testing.T) *View {
	t.Helper()
	v, err := NewView([]Node{
		{Name: "b", Capacity: netmap.Demand{netmap.Compute: 4}, Used: netmap.Demand{netmap.Compute: 1}},
		{Name: "a", Capacity: netmap.Demand{netmap.Compute: 2}},
	}, []Link{{A: "b", B: "a", Bandwidth: 10}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBadViewsNameTheItem(t *testing.T) {
	good := Node{Name: "a", Capacity: netmap.Demand{netmap.Compute: 1}}
	for _, c := range []struct {
		nodes []Node
		links []Link
		want  string
	}{
		{[]Node{good, good}, nil, "node a is there twice"},
		{[]Node{{}}, nil, "no name"},
		{[]Node{{Name: "x", Capacity: netmap.Demand{netmap.Compute: -1}}}, nil, "node x: capacity.compute: -1"},
		{[]Node{{Name: "x", Used: netmap.Demand{netmap.Memory: math.NaN()}}}, nil, "node x: used.memory: NaN"},
		{[]Node{{Name: "x", Processing: math.Inf(1)}}, nil, "node x: cost 0 or processing +Inf"},
		{[]Node{good}, []Link{{A: "a", B: "zz"}}, "link a-zz: no node zz"},
		{[]Node{good}, []Link{{A: "a", B: "a"}}, "link a-a: joins a node to itself"},
		{[]Node{good, {Name: "b"}}, []Link{{A: "b", B: "a", Delay: -2}}, "link a-b: bandwidth 0, used 0, delay -2"},
	} {
		if _, err := NewView(c.nodes, c.links); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// The order in which a network is told changes nothing.
func TestViewsHaveAnOrder(t *testing.T) {
	v := two(t)
	nodes, links := slices.Clone(v.Nodes), slices.Clone(v.Links)
	slices.Reverse(nodes)
	again, err := NewView(nodes, links)
	if err != nil {
		t.Fatal(err)
	}
	if v.Hash() != again.Hash() || v.Nodes[0].Name != "a" || v.Links[0].A != "a" {
		t.Errorf("%+v, %+v", v, again)
	}
	nodes[0].Used = netmap.Demand{netmap.Compute: 2}
	if other, err := NewView(nodes, links); err != nil || other.Hash() == v.Hash() {
		t.Errorf("other contents, same hash: %v", err)
	}
}

// Whatever is done can be taken back, and what is taken back twice is done.
func TestInverseOfInverse(t *testing.T) {
	one, three := netmap.Demand{netmap.Compute: 1}, netmap.Demand{netmap.Compute: 3}
	for _, a := range []Action{
		{Kind: Place, Subject: "s", To: "a", Amount: one},
		{Kind: Remove, Subject: "s", From: "a", Amount: one},
		{Kind: Migrate, Subject: "s", From: "a", To: "b", Amount: one},
		{Kind: Resize, Subject: "s", To: "a", Before: one, Amount: three},
		{Kind: OverlayUp, Subject: "l", From: "a", To: "b", Path: []string{"a", "b"}, Rate: 5},
		{Kind: Route, Subject: "r", From: "a", To: "b", Path: []string{"a", "b"}, PathBefore: []string{"a", "c", "b"}},
	} {
		back := a.Inverse()
		if reflect.DeepEqual(back, a) {
			t.Errorf("%s: its inverse is itself", a.Kind)
		}
		if again := back.Inverse(); !reflect.DeepEqual(again, a) {
			t.Errorf("%s: %+v, taken back twice %+v", a.Kind, a, again)
		}
	}
	d := Decision{Actions: []Action{{Kind: Place, Subject: "1", To: "a"}, {Kind: Place, Subject: "2", To: "a"}}}
	if back := d.Inverse(); back[0].Subject != "2" || back[0].Kind != Remove {
		t.Errorf("taken back in the order %+v", back)
	}
}

func TestPreconditions(t *testing.T) {
	v := two(t)
	need := func(amounts ...float64) (d Decision) {
		for _, x := range amounts {
			d.Actions = append(d.Actions, Action{Kind: Place, Subject: "s", To: "b", Needs: []Need{{Node: "b", Kind: netmap.Compute, Amount: x}}})
		}
		return d
	}
	if err := need(1, 2).Check(v); err != nil {
		t.Errorf("3 of 3 free: %v", err)
	}
	if err := need(2, 2).Check(v); err == nil || !strings.Contains(err.Error(), "needs 4 of b, free is 3") {
		t.Errorf("4 of 3 free: %v", err)
	}
	link := Decision{Actions: []Action{{Kind: Route, Subject: "r", Needs: []Need{{LinkA: "b", LinkB: "a", Amount: 11}}}}}
	if err := link.Check(v); err == nil || !strings.Contains(err.Error(), "needs 11 of a-b, free is 10") {
		t.Errorf("11 of 10 Mbit/s: %v", err)
	}
	gone := Decision{Actions: []Action{{Kind: Place, Subject: "s", Needs: []Need{{Node: "c", Kind: netmap.Compute}}}}}
	if err := gone.Check(v); err == nil || !strings.Contains(err.Error(), "node c is gone") {
		t.Errorf("unknown node: %v", err)
	}
}

func TestFromSnapshot(t *testing.T) {
	snap := &netmap.Snapshot{
		Nodes:    []netmap.Node{{Name: "a", Resources: []netmap.Resource{{Kind: netmap.Compute, Capacity: 4, Used: 1}}}, {Name: "b"}},
		Links:    []netmap.Link{{From: "a", To: "b", SpeedBPS: 1e9}, {From: "b", To: "a", SpeedBPS: 1e8}, {From: "a", To: "router", SpeedBPS: 1e9}},
		Reserved: map[string]netmap.Demand{"a": {netmap.Compute: 2}},
	}
	v, err := FromSnapshot(snap)
	if err != nil {
		t.Fatal(err)
	}
	if free := v.Nodes[0].Free(netmap.Compute); free != 1 || len(v.Links) != 1 || v.Links[0].Bandwidth != 100 {
		t.Errorf("free %v, links %+v", free, v.Links)
	}
	if snap.Reserved["a"][netmap.Compute] != 2 {
		t.Error("the snapshot was changed")
	}
}
