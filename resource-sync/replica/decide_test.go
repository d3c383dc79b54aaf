package replica

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

func TestOverlay(t *testing.T) {
	names := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("n%03d", i))
		}
		return list
	}
	if diff := cmp.Diff([]string{"a", "c"}, overlay("b", []string{"c", "a", "b", "c"})); diff != "" {
		t.Errorf("of three: %s", diff)
	}
	if got := overlay("x", []string{"a"}); got != nil {
		t.Errorf("of a stranger: %v", got)
	}
	for n := 1; n < 300; n++ {
		all := names(n)
		links := map[string]map[string]bool{}
		for _, a := range all {
			links[a] = map[string]bool{}
			for _, b := range overlay(a, all) {
				links[a][b] = true
			}
		}
		reached, edge := map[string]bool{all[0]: true}, []string{all[0]}
		for len(edge) > 0 {
			var next []string
			for _, a := range edge {
				for b := range links[a] {
					if !links[b][a] || a == b {
						t.Fatalf("%d nodes: %s wants %s, which does not want it", n, a, b)
					}
					if !reached[b] {
						reached[b], next = true, append(next, b)
					}
				}
			}
			edge = next
		}
		if len(reached) != n {
			t.Fatalf("%d nodes: %d reached", n, len(reached))
		}
		if degree := len(links[all[n/2]]); n > fullMesh && degree != 4 {
			t.Fatalf("%d nodes: %d links each", n, degree)
		}
	}
}

func TestMonitor(t *testing.T) {
	const key = "RESOUR_RESOURCE|leaf1|compute"
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	m := newMonitor(Pace{Fast: at(500), Slow: at(1500), Gap: at(200)}, 0)
	used := func(v string) { m.Changed(key, map[string]string{"capacity": "1", "used": v, "age": v}) }
	step := func(now int, rows int, heartbeat bool) {
		t.Helper()
		got, beat := m.Push(at(now))
		if len(got) != rows || beat != heartbeat {
			t.Errorf("at %d ms: %d rows, heartbeat %v; want %d, %v", now, len(got), beat, rows, heartbeat)
		}
	}
	step(0, 0, true)
	used("0.10")
	step(100, 0, false) // the gap after the first push is not over
	step(200, 1, false) // a new row is urgent
	used("0.11")
	step(600, 0, false) // it only trembles
	step(700, 1, true)
	if m.Interval() != at(1000) {
		t.Errorf("interval %v after a quiet period", m.Interval())
	}
	used("0.11")
	step(1000, 0, false)
	used("0.90")
	step(1001, 1, false)
	if m.Interval() != at(500) || m.Wait(at(1001)) != at(500) {
		t.Errorf("interval %v, wait %v after an urgent change", m.Interval(), m.Wait(at(1001)))
	}
	step(1501, 0, true)
	step(2501, 0, true)
	step(4001, 0, true)
	if m.Interval() != at(1500) {
		t.Errorf("interval %v when nothing happens", m.Interval())
	}
	m.Changed(key, nil)
	step(4300, 1, false)
}

func TestMatters(t *testing.T) {
	for name, c := range map[string]struct {
		key           string
		before, after map[string]string
		want          bool
	}{
		"appears":       {"RESOUR_NEIGHBOR|a|p", nil, map[string]string{}, true},
		"goes":          {"RESOUR_NEIGHBOR|a|p", map[string]string{}, nil, true},
		"age":           {"RESOUR_RESOURCE|a|memory", map[string]string{"age": "1"}, map[string]string{"age": "2"}, false},
		"capacity":      {"RESOUR_RESOURCE|a|memory", map[string]string{"capacity": "1"}, map[string]string{"capacity": "1.01"}, true},
		"used a little": {"RESOUR_RESOURCE|a|memory", map[string]string{"used": "50", "capacity": "100"}, map[string]string{"used": "51", "capacity": "100"}, false},
		"used more":     {"RESOUR_RESOURCE|a|memory", map[string]string{"used": "50", "capacity": "100"}, map[string]string{"used": "52", "capacity": "100"}, true},
		"usage":         {"RESOUR_USAGE|s|0|a", map[string]string{"cpu": "0.5"}, map[string]string{"cpu": "0.52"}, false},
		"usage doubles": {"RESOUR_USAGE|s|0|a", map[string]string{"cpu": "0.5"}, map[string]string{"cpu": "1"}, true},
		"state":         {"RESOUR_INSTANCE|s|0|a", map[string]string{"state": "ready"}, map[string]string{"state": "running"}, true},
	} {
		if got := matters(c.key, c.before, c.after); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestJudgeHealth(t *testing.T) {
	refused := errors.New("connection refused")
	start := time.Unix(0, 0)
	h := resourdb.Health{Result: resourdb.Unknown}
	for i, step := range []struct {
		err      error
		result   string
		failures int
		since    int // step in which the result began
	}{
		{refused, resourdb.Unknown, 1, -1},
		{nil, resourdb.Passed, 0, 1},
		{refused, resourdb.Passed, 1, 1},
		{refused, resourdb.Failed, 2, 3},
		{refused, resourdb.Failed, 3, 3},
		{nil, resourdb.Passed, 0, 5},
	} {
		h = judge(h, 2, step.err, start.Add(time.Duration(i)*time.Second))
		since := -1
		if !h.Since.IsZero() {
			since = int(h.Since.Sub(start).Seconds())
		}
		if h.Result != step.result || h.Failures != step.failures || since != step.since {
			t.Errorf("step %d: %s, %d failures, since step %d; want %+v", i, h.Result, h.Failures, since, step)
		}
	}
}

func TestProbesOf(t *testing.T) {
	id := func(n int) netmap.ReplicaID { return netmap.ReplicaID{Service: "kms", Replica: n} }
	got := probesOf([]resourdb.Instance{
		{ID: id(0), State: netmap.Running, Address: "10.20.0.10/24"},
		{ID: id(1), State: netmap.Migrating, Address: "10.20.0.11/24"}, // frozen for a moment, or not serving yet
		{ID: netmap.ReplicaID{Service: "dns"}, State: netmap.Running, Address: "10.20.0.12/24"},
	}, []resourdb.Service{{Name: "kms", Probe: "tcp :8080", Failures: 5}, {Name: "dns"}})
	want := map[probe]bool{{id: id(0), address: "10.20.0.10", how: "tcp :8080", each: time.Second, timeout: time.Second, failures: 5}: true}
	if len(got) != 1 || !got[probe{id: id(0), address: "10.20.0.10", how: "tcp :8080", each: time.Second, timeout: time.Second, failures: 5}] {
		t.Errorf("got %v, want %v", got, want)
	}
}
