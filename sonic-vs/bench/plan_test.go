package bench

import (
	"io"
	"testing"
)

// Small networks say nothing about time, but both ways find the same, every figure is there, and nothing is allocated.
func TestPlan(t *testing.T) {
	all, err := planFigures(2, 20)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bounded{}
	for _, f := range all {
		got[f.Name] = f
	}
	for name, goal := range map[string]float64{"optimum_node_10000_ms": 5, "layered_5000_ms": 3, "labels_1000x1000_ms": 10, "chain_200_ms": 1000, "relay_row_1000_ms": 3,
		"allocs_balance": 0, "allocs_layered": 0, "allocs_relay_row": 0} {
		f := got["plan."+name]
		if f.Baseline == nil || f.Runs != 2 || f.limit != (limit{"value", goal}) {
			t.Errorf("plan.%s: %+v", name, f)
		}
		if goal == 0 && f.Value != 0 {
			t.Errorf("plan.%s: %v", name, f.Value)
		}
	}
	if err := Plan(PlanOptions{Out: t.TempDir(), Runs: 1}, io.Discard); err == nil {
		t.Error("one run is enough")
	}
}
