package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/bt-manager/run"
)

// Every figure of a Runner has a series, named by reason or path.
func TestMetrics(t *testing.T) {
	g := newGauges(func() journal.Status {
		return journal.Status{Leads: true, Role: journal.Leader, Term: 4, Last: 21, Applied: 20, Members: []journal.Member{{Node: "leaf1", Voter: true}, {Node: "leaf2"}}}
	}, func() uint64 { return 3 })
	g.of(func() run.Stats {
		return run.Stats{Trees: 3, Ticks: map[string]int64{"floor": 7, "node": 1}, Spins: map[string]int64{"mad": 2},
			Failures: map[string]int64{"guard/move/Handshake::50": 4}, Halts: map[string]int64{"guard/move/migrate/Prewarm::57": 1},
			Running: map[string]time.Duration{"guard/move/migrate/Prewarm::57": 1500 * time.Millisecond}, Reloads: 5, Refused: 6, Waiting: 1, Paused: 2}
	})
	g.kept(2 * time.Millisecond)
	const want = `# HELP bt_journal_applied_index Newest entry that counts here.
# TYPE bt_journal_applied_index gauge
bt_journal_applied_index 20
# HELP bt_journal_last_index Newest entry of the journal here.
# TYPE bt_journal_last_index gauge
bt_journal_last_index 21
# HELP bt_manager_epoch Newest epoch that has reached this manager: agents refuse orders of an older one.
# TYPE bt_manager_epoch gauge
bt_manager_epoch 3
# HELP bt_manager_leads 1 where this manager leads and its trees decide.
# TYPE bt_manager_leads gauge
bt_manager_leads 1
# HELP bt_manager_role 1 for what Raft has this manager do.
# TYPE bt_manager_role gauge
bt_manager_role{role="candidate"} 0
bt_manager_role{role="follower"} 0
bt_manager_role{role="leader"} 1
# HELP bt_manager_term Term of Raft.
# TYPE bt_manager_term gauge
bt_manager_term 4
# HELP bt_manager_voters Managers that vote, as this one knows.
# TYPE bt_manager_voters gauge
bt_manager_voters 1
# HELP bt_node_failures_total Failures of actions.
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
	names := []string{"bt_journal_applied_index", "bt_journal_last_index", "bt_manager_epoch", "bt_manager_leads", "bt_manager_role", "bt_manager_last_contact_seconds", "bt_manager_term", "bt_manager_voters", "bt_node_failures_total", "bt_node_halts_total", "bt_node_running_seconds", "bt_reloads_total", "bt_spin_total",
		"bt_ticks_total", "bt_trees", "bt_trees_paused", "bt_trees_waiting"}
	if err := testutil.CollectAndCompare(g, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(g, "bt_journal_append_seconds"); n != 1 {
		t.Errorf("%d series of the journal", n)
	}
}

// A follower shows that it is one, how long it has heard nothing, and no trees.
func TestMetricsOfFollower(t *testing.T) {
	g := newGauges(func() journal.Status {
		return journal.Status{Role: journal.Follower, Heard: time.Now().Add(-time.Minute)}
	}, func() uint64 { return 3 })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(g)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, label := range m.Label {
				name += " " + label.GetValue()
			}
			got[name] = m.GetGauge().GetValue()
		}
	}
	if got["bt_manager_leads"] != 0 || got["bt_manager_role follower"] != 1 || got["bt_manager_last_contact_seconds"] < 60 {
		t.Errorf("shown: %v", got)
	}
	if _, shown := got["bt_trees"]; shown {
		t.Errorf("trees of a follower: %v", got)
	}
}
