package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sonic-netservices/netmap"
)

const gbps = 1e9

// both gives the two directions of a cable.
func both(a, b string, bps float64) []netmap.Link {
	return []netmap.Link{{From: a, To: b, SpeedBPS: bps}, {From: b, To: a, SpeedBPS: bps}}
}

func join(cables ...[]netmap.Link) (links []netmap.Link) {
	for _, c := range cables {
		links = append(links, c...)
	}
	return links
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		name     string
		links    []netmap.Link
		from, to string
		want     string // "" = no path
	}{
		{"line", join(both("a", "b", gbps), both("b", "c", gbps)), "a", "c", "a>b b>c"},
		{"itself", both("a", "b", gbps), "a", "a", "here"},
		{"itself, without any link", nil, "a", "a", "here"},
		{"island", join(both("a", "b", gbps), both("c", "d", gbps)), "a", "d", ""},
		{"unknown node", both("a", "b", gbps), "a", "z", ""},
		{"unknown source", both("a", "b", gbps), "z", "a", ""},
		{"fewer hops before faster links", join(both("a", "c", 1), both("a", "b", gbps), both("b", "c", gbps)), "a", "c", "a>c"},
		{"equal hops: the faster one", join(both("a", "b", gbps), both("b", "d", gbps), both("a", "c", 10*gbps), both("c", "d", 10*gbps)), "a", "d", "a>c c>d"},
		{"equal hops and speed: by name", join(both("a", "c", gbps), both("c", "d", gbps), both("a", "b", gbps), both("b", "d", gbps)), "a", "d", "a>b b>d"},
		{"parallel cables: the fastest", join(both("a", "b", gbps), both("a", "b", 40*gbps), both("a", "b", 10*gbps)), "a", "b", "a>b"},
		{"one direction only", []netmap.Link{{From: "a", To: "b", SpeedBPS: gbps}}, "b", "a", ""},
		{"speed unknown", both("a", "b", 0), "a", "b", ""},
		{"speed below a bit per second", both("a", "b", 0.5), "a", "b", ""},
		{"speed NaN", both("a", "b", math.NaN()), "a", "b", ""},
		{"speed negative", both("a", "b", -1), "a", "b", ""},
		{"speed infinite", both("a", "b", math.Inf(1)), "a", "b", ""},
		{"loop", both("a", "a", gbps), "a", "a", "here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, ok := New(c.links, nil).From(c.from).To(c.to)
			if got := show(path, ok); got != c.want {
				t.Errorf("path %s to %s = %q, want %q", c.from, c.to, got, c.want)
			}
		})
	}
}

func TestParallelCablesGiveTheFastest(t *testing.T) {
	g := New(join(both("a", "b", gbps), both("a", "b", 40*gbps)), nil)
	path, _ := g.From("a").To("b")
	if len(path) != 1 || path[0].BPS != 40*gbps {
		t.Errorf("path %v, want one hop of 40 Gbit/s", path)
	}
	if got := g.Degree("a"); got != 1 {
		t.Errorf("degree %d, want 1: one neighbour, two cables", got)
	}
}

func TestKeepLeavesOutNodes(t *testing.T) {
	links := join(both("a", "b", gbps), both("b", "c", gbps))
	if path, ok := New(links, func(n string) bool { return n != "b" }).From("a").To("c"); ok {
		t.Errorf("path %v leads through a node that is left out", path)
	}
}

func show(path []Hop, ok bool) string {
	if !ok {
		return ""
	}
	if len(path) == 0 {
		return "here"
	}
	s := ""
	for i, h := range path {
		if i > 0 {
			s += " "
		}
		s += h.From + ">" + h.To
	}
	return s
}

// Every answer equals what relaxing all links until nothing changes finds, and no order of the links changes it.
func TestEqualsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "nodes")
		var links []netmap.Link
		for range rapid.IntRange(0, 14).Draw(t, "links") {
			links = append(links, netmap.Link{
				From:     fmt.Sprint(rapid.IntRange(0, n-1).Draw(t, "from")),
				To:       fmt.Sprint(rapid.IntRange(0, n-1).Draw(t, "to")),
				SpeedBPS: rapid.SampledFrom([]float64{0, gbps, 2 * gbps, 8 * gbps}).Draw(t, "speed"),
			})
		}
		type best struct {
			hops  int
			delay float64
		}
		want := map[string]best{"0": {}}
		for changed := true; changed; {
			changed = false
			for _, l := range links {
				from, ok := want[l.From]
				if !ok || l.SpeedBPS == 0 {
					continue
				}
				now := best{from.hops + 1, from.delay + 1/l.SpeedBPS}
				old, ok := want[l.To]
				if !ok || now.hops < old.hops || now.hops == old.hops && now.delay < old.delay {
					want[l.To], changed = now, true
				}
			}
		}
		tree := New(links, nil).From("0")
		shuffled := append([]netmap.Link(nil), links...)
		rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "order"))).Shuffle(len(links), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		other := New(shuffled, nil).From("0")
		for i := range n {
			node := fmt.Sprint(i)
			path, ok := tree.To(node)
			w, reachable := want[node]
			if ok != reachable || ok && len(path) != w.hops {
				t.Fatalf("to %s: %v %v, want %v %v", node, path, ok, w, reachable)
			}
			delay := 0.0
			for _, h := range path {
				delay += 1 / h.BPS
			}
			if ok && delay != w.delay {
				t.Fatalf("to %s: %g s per bit over %v, want %g", node, delay, path, w.delay)
			}
			if again, _ := other.To(node); !cmp.Equal(path, again) {
				t.Fatalf("to %s: %v, with links in another order %v", node, path, again)
			}
		}
	})
}
