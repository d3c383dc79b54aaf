package demo

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
	"sonic-netservices/sonic-vs/load"
	servicefile "sonic-netservices/spec"
)

func TestCalibrate(t *testing.T) {
	c, err := calibrate([]RateCost{
		{Rate: 100, Seconds: []float64{0.13, 0.14, 0.9}},
		{Rate: highRate, Seconds: []float64{0.9, 0.56, 0.58, 0.54}}, // one second of four is an outlier
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Rates[0].Median != 0.14 || math.Abs(c.Cores-0.57) > 1e-9 {
		t.Errorf("%+v", c)
	}
	for node, want := range map[string]float64{"leaf1": 0.588, "leaf2": 1.629, "leaf3": 1.036} {
		if c.Budgets[node] != want {
			t.Errorf("%s: budget %v, want %v", node, c.Budgets[node], want)
		}
	}
	for name, rates := range map[string][]RateCost{
		"nothing":                nil,
		"no second":              {{Rate: highRate}},
		"no high rate":           {{Rate: 100, Seconds: []float64{0.2}}},
		"the service costs none": {{Rate: highRate, Seconds: []float64{0.01}}},
	} {
		if c, err := calibrate(rates); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// The shares are what the story tells: leaf1 is overloaded, both others have room, leaf2 more of it.
func TestTheBudgetsLeaveOneChoice(t *testing.T) {
	c, err := calibrate([]RateCost{{Rate: highRate, Seconds: []float64{0.57}}})
	if err != nil {
		t.Fatal(err)
	}
	if share := c.Cores / c.Budgets[here]; share < 0.92 || share > 0.9705 {
		t.Errorf("%d requests a second would use %.3f of %s", highRate, share, here)
	}
	replica := netmap.ReplicaID{Service: "kms"}
	snap := &netmap.Snapshot{Replicas: []netmap.Placed{{ID: replica, Node: here, State: netmap.Running}}}
	for _, name := range []string{here, there, third} {
		node := netmap.Node{Name: name, Liveness: netmap.Alive, Resources: []netmap.Resource{
			{Kind: netmap.Compute, Capacity: c.Budgets[name], Unit: "cores"}, {Kind: netmap.Storage, Capacity: 100e9, Used: 35e9, Unit: "bytes"}}}
		if name == here {
			node.Resources[0].Used = c.Cores
		}
		snap.Nodes = append(snap.Nodes, node)
		for _, other := range []string{here, there, third} {
			if other != name {
				snap.Links = append(snap.Links, netmap.Link{From: name, To: other, SpeedBPS: 10e9})
			}
		}
	}
	problem := balance.Problem{Replica: replica, Source: here, Demand: netmap.Demand{netmap.Compute: c.Cores}, DataBytes: 60e6}
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
