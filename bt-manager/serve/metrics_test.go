package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"sonic-netservices/bt-manager/run"
)

// Every figure of a Runner has a series, named by reason or path.
func TestMetrics(t *testing.T) {
	g := newGauges()
	g.stats = func() run.Stats {
		return run.Stats{Trees: 3, Ticks: map[string]int64{"floor": 7, "node": 1}, Spins: map[string]int64{"mad": 2},
			Failures: map[string]int64{"guard/move/Handshake::50": 4}, Halts: map[string]int64{"guard/move/migrate/Prewarm::57": 1},
			Running: map[string]time.Duration{"guard/move/migrate/Prewarm::57": 1500 * time.Millisecond}, Reloads: 5, Refused: 6, Waiting: 1, Paused: 2}
	}
	g.kept(2 * time.Millisecond)
	const want = `# HELP bt_node_failures_total Failures of actions.
# TYPE bt_node_failures_total counter
bt_node_failures_total{path="guard/move/Handshake::50"} 4
# HELP bt_node_halts_total Actions halted while they were running.
# TYPE bt_node_halts_total counter
bt_node_halts_total{path="guard/move/migrate/Prewarm::57"} 1
# HELP bt_node_running_seconds The longest that an action has been running in any tree.
# TYPE bt_node_running_seconds gauge
bt_node_running_seconds{path="guard/move/migrate/Prewarm::57"} 1.5
# HELP bt_reloads_total Files of trees, by what became of them.
# TYPE bt_reloads_total counter
bt_reloads_total{outcome="refused"} 6
bt_reloads_total{outcome="taken"} 5
# HELP bt_spin_total Pauses of trees that would have gone on without end, by the node that does.
# TYPE bt_spin_total counter
bt_spin_total{path="mad"} 2
# HELP bt_ticks_total Ticks of trees, by what woke them.
# TYPE bt_ticks_total counter
bt_ticks_total{reason="floor"} 7
bt_ticks_total{reason="node"} 1
# HELP bt_trees Trees that run.
# TYPE bt_trees gauge
bt_trees 3
# HELP bt_trees_paused Trees that an operator has paused.
# TYPE bt_trees_paused gauge
bt_trees_paused 2
# HELP bt_trees_waiting Trees that still run an older file, until they hold no operation.
# TYPE bt_trees_waiting gauge
bt_trees_waiting 1
`
	names := []string{"bt_node_failures_total", "bt_node_halts_total", "bt_node_running_seconds", "bt_reloads_total", "bt_spin_total",
		"bt_ticks_total", "bt_trees", "bt_trees_paused", "bt_trees_waiting"}
	if err := testutil.CollectAndCompare(g, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(g, "bt_journal_append_seconds"); n != 1 {
		t.Errorf("%d series of the journal", n)
	}
}
