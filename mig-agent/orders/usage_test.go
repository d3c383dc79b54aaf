package orders

import (
	"strings"
	"testing"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

func TestMeter(t *testing.T) {
	m := &meter{node: "leaf1", before: map[string]counted{}}
	id := netmap.ReplicaID{Service: "kms"}
	start := time.Unix(0, 0)
	at := func(sec int, is *api.UsageIs) (resourdb.Usage, bool) {
		return m.usage(id, "c1", is, start.Add(time.Duration(sec)*time.Second))
	}
	if _, ok := at(0, &api.UsageIs{CpuNs: 5e9, NetBytes: 1000}); ok {
		t.Error("a rate from one measurement")
	}
	got, ok := at(2, &api.UsageIs{CpuNs: 6e9, NetBytes: 5000, MemoryBytes: 100, LayerBytes: 20, VolumeBytes: 3})
	want := resourdb.Usage{ID: id, Node: "leaf1", CPU: 0.5, Net: 2000, Memory: 100, Disk: 23, DataBytes: 123}
	if !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, ok := at(3, &api.UsageIs{CpuNs: 1e9}); ok {
		t.Error("a rate over a restart")
	}
	m.forget(map[string]bool{"c2": true})
	if len(m.before) != 0 {
		t.Errorf("kept %v", m.before)
	}
}

func TestParseBudget(t *testing.T) {
	for name, tt := range map[string]struct {
		row  map[string]string
		want Budget
		err  string
	}{
		"none":         {nil, Budget{}, ""},
		"both":         {map[string]string{"services_cpu": "0.55", "services_memory": "268435456"}, Budget{CPU: 0.55, Memory: 268435456}, ""},
		"moves":        {map[string]string{"move_bandwidth": "100000000"}, Budget{Moves: 100_000_000}, ""},
		"in megabits":  {map[string]string{"move_bandwidth": "100"}, Budget{}, "move_bandwidth"},
		"no number":    {map[string]string{"services_cpu": "half"}, Budget{}, `services_cpu="half": want 0.01..4096 cores`},
		"nothing left": {map[string]string{"services_cpu": "0"}, Budget{}, "services_cpu"},
		"not a number": {map[string]string{"services_cpu": "NaN"}, Budget{}, "services_cpu"},
		"in megabytes": {map[string]string{"services_memory": "256"}, Budget{}, "services_memory"},
	} {
		got, err := ParseBudget(tt.row)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	cpu, memory := Budget{CPU: 0.5}.within(&api.Replica{CpuLimit: 1, MemoryLimit: 100})
	if cpu != 0.5 || memory != 100 {
		t.Errorf("limit %v cores, %d bytes", cpu, memory)
	}
	if cpu, _ := (Budget{CPU: 0.5}).within(&api.Replica{}); cpu != 0 {
		t.Errorf("a replica without a limit of its own has %v", cpu)
	}
}
