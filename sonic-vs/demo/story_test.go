package demo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
	"sonic-netservices/sonic-vs/load"
	servicefile "sonic-netservices/spec"
)

// The shares are what the story tells: leaf1 is overloaded, both others have room, leaf2 more of it.
func TestTheBudgetsLeaveOneChoice(t *testing.T) {
	for cores := 0.15; cores < 0.7; cores += 0.0007 {
		of := budgets(cores)
		if share := cores / of[here]; share < 0.965 || share > 0.97+1e-9 {
			t.Errorf("%d requests a second would use %.4f of %s", highRate, share, here)
		}
	}
	const cores = 0.57
	of := budgets(cores)
	replica := netmap.ReplicaID{Service: "kms"}
	snap := &netmap.Snapshot{Replicas: []netmap.Placed{{ID: replica, Node: here, State: netmap.Running}}}
	for _, name := range []string{here, there, third} {
		node := netmap.Node{Name: name, Liveness: netmap.Alive, Resources: []netmap.Resource{
			{Kind: netmap.Compute, Capacity: of[name], Unit: "cores"}, {Kind: netmap.Storage, Capacity: 100e9, Used: 35e9, Unit: "bytes"}}}
		if name == here {
			node.Resources[0].Used = cores
		}
		snap.Nodes = append(snap.Nodes, node)
		for _, other := range []string{here, there, third} {
			if other != name {
				snap.Links = append(snap.Links, netmap.Link{From: name, To: other, SpeedBPS: 10e9})
			}
		}
	}
	problem := balance.Problem{Replica: replica, Source: here, Demand: netmap.Demand{netmap.Compute: cores}, DataBytes: 60e6}
	d, err := balance.Decide(snap, problem, balance.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Candidates) != 2 || d.Candidates[0].Node != there || d.Candidates[1].Node != third {
		t.Errorf("candidates %+v, refused %+v", d.Candidates, d.Refused)
	}
}

func TestStorySpec(t *testing.T) {
	t.Chdir("../..")
	d := &demo{Options: Options{Dir: t.TempDir()}}
	path, err := d.storySpec("-cold", netmap.Cold)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := servicefile.Parse(path, text)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "kms-cold" || s.Migration != netmap.Cold || s.Limits.CPU != 0 || s.Environment["GOMAXPROCS"] != "1" || s.Address.Addr().String() != "10.20.0.11" {
		t.Errorf("%+v", s)
	}
}

func TestParseBusy(t *testing.T) {
	busy, err := parseBusy("cpu  100 10 50 9000 800 3 4 2 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if err != nil || busy != 1690*time.Millisecond { // not idle, iowait; guest is in user
		t.Errorf("%v, %v", busy, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8 9", "cpu  x 2 3 4 5 6 7 8 9 0"} {
		if busy, err := parseBusy(bad); err == nil {
			t.Errorf("%q: %v", bad, busy)
		}
	}
}

func TestParseProcess(t *testing.T) {
	used, err := parseProcess("42 (a (b) c) S 1 42 42 0 -1 4194560 100 200 0 0 150 50 7 8 20 0 9 0 1000 0\n")
	if err != nil || used != 2*time.Second {
		t.Errorf("%v, %v", used, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 200 0 0 x 50 7"} {
		if used, err := parseProcess(bad); err == nil {
			t.Errorf("%q: %v", bad, used)
		}
	}
}

func TestReadUsage(t *testing.T) {
	account, cpu, v2, none := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(account, "cpuacct.usage"): "1500000000\n",
		filepath.Join(cpu, "cpu.cfs_quota_us"):  "57000\n",
		filepath.Join(cpu, "cpu.cfs_period_us"): "100000\n",
		filepath.Join(cpu, "cpu.stat"):          "nr_periods 9\nnr_throttled 2\nthrottled_time 2000000\n",
		filepath.Join(v2, "cpu.stat"):           "usage_usec 1500000\nuser_usec 1\nthrottled_usec 2000\n",
		filepath.Join(v2, "cpu.max"):            "57000 100000\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := load.Usage{Node: "leaf1", CPU: 1500 * time.Millisecond, Budget: 0.57, Throttled: 2 * time.Millisecond}
	check := func(name string, u load.Usage, err error, want load.Usage) {
		t.Helper()
		want.At = u.At
		if err != nil || u != want {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	u, err := readUsageV1("leaf1", account, cpu)
	check("v1", u, err, want)
	u, err = readUsageV2("leaf1", v2)
	check("v2", u, err, want)
	u, err = readUsageV1("leaf1", none, cpu)
	check("v1, a budget and never a service", u, err, load.Usage{Node: "leaf1", Budget: 0.57, Throttled: 2 * time.Millisecond})
	u, err = readUsageV1("leaf1", none, none)
	check("v1, never a service", u, err, load.Usage{Node: "leaf1"})
	if err := os.WriteFile(filepath.Join(v2, "cpu.max"), []byte("max 100000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want.Budget = 0
	u, err = readUsageV2("leaf1", v2)
	check("v2 without a quota", u, err, want)
}
