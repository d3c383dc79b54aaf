package main

import (
	"slices"
	"testing"
)

// The whole table is tested with a manager behind it, in bt-manager/serve.

func TestResourceCell(t *testing.T) {
	for _, c := range []struct {
		r    resource
		want string
	}{
		{resource{Used: 0.095, Capacity: 0.1, Unit: "cores", Over: true, Verdict: "armed"}, "0.095/0.1 cores 95 % ! armed"},
		{resource{Used: 0.47, Reserved: 0.2, Capacity: 1, Unit: "cores", Verdict: "disarmed"}, "0.47+0.2/1 cores 47 %"},
		{resource{Used: 1.256, Capacity: 12.34, Unit: "cores"}, "1.26/12.3 cores 10 %"},
		{resource{Used: 1500, Capacity: 1023, Unit: "bytes"}, "1500/1023 B 147 %"},
		{resource{Used: 512, Capacity: 1024, Unit: "bytes"}, "0.5/1 KiB 50 %"},
		{resource{Used: 1 << 50, Capacity: 1 << 52, Unit: "bytes"}, "1024/4096 TiB 25 %"},
		{resource{Used: 100, Capacity: 32768, Unit: "entries"}, "100/32768 entries 0 %"},
		{resource{Used: 3, Unit: "flows"}, "3/0 flows"},
		{resource{Used: 1, Capacity: 2}, "1/2 50 %"},
	} {
		if got := c.r.String(); got != c.want {
			t.Errorf("%+v is %q, want %q", c.r, got, c.want)
		}
	}
}

func TestHeard(t *testing.T) {
	for ms, want := range map[int64]string{0: "0.0 s", 9_940: "9.9 s", 10_000: "10 s", 119_999: "119 s", 120_000: "2 min"} {
		if got := heard(ms); got != want {
			t.Errorf("%d ms is %q, want %q", ms, got, want)
		}
	}
}

func TestLinks(t *testing.T) {
	nodes := []node{
		{Name: "a", Neighbors: []neighbor{{"b", 10e9}, {"b", 10e9}, {"c", 2.5e9}, {"d", 100e6}}},
		{Name: "b", Neighbors: []neighbor{{"a", 10e9}, {"a", 10e9}}}, // two cables
		{Name: "c", Neighbors: []neighbor{{"a", 1e9}}},
	}
	want := []string{"a -100M> d", "a -2.5G> c", "a -20G- b", "c -1G> a"}
	if got := links(nodes); !slices.Equal(got, want) {
		t.Errorf("links %q, want %q", got, want)
	}
}
