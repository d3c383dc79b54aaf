package bench

import (
	"io"
	"path/filepath"
	"testing"
	"time"
)

// Runs too short to say how fast anything is, but every figure is there, with what does not depend on the machine's load.
func TestBT(t *testing.T) {
	dir := t.TempDir()
	if err := BT(BTOptions{Out: dir, Runs: 9, Short: time.Millisecond}, io.Discard); err == nil {
		t.Error("nine runs are enough")
	}
	_ = BT(BTOptions{Out: dir, Runs: 10, Short: 100 * time.Microsecond}, io.Discard) // above a limit, perhaps, when all is busy
	got, err := readFigures(filepath.Join(dir, figureFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, unit := range map[string]string{"full_pass_1000": "ns/node", "recorded_1000": "ns/node", "resume_1000": "ns/tick",
		"allocs": "allocs/pass", "port_read": "ns", "script": "ns", "load_1000_ms": "ms", "instances_10000_mb": "MB"} {
		f := got["bt."+name]
		if f.Unit != unit || f.Baseline == nil || f.Runs == 0 {
			t.Errorf("bt.%s: %+v", name, f)
		}
	}
	if f := got["bt.allocs"]; f.Value != 0 {
		t.Errorf("%v allocations in a pass", f.Value)
	}
	if f := got["bt.instances_10000_mb"]; f.Value < 1 || f.Value > 60 {
		t.Errorf("10,000 instances take %v MB", f.Value)
	}
}

func TestLimits(t *testing.T) {
	f := bounded{Figure: Figure{Name: "bt.x", Value: 7}.against(2)}
	for _, c := range []struct {
		limit limit
		above bool
	}{{limit{}, false}, {limit{"ratio", 3.5}, false}, {limit{"ratio", 3.4}, true}, {limit{"value", 7}, false}, {limit{"value", 6}, true}} {
		if f.limit = c.limit; (f.check() != nil) != c.above {
			t.Errorf("limit %v: %v", c.limit, f.check())
		}
	}
}
