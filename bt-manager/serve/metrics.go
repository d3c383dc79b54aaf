package serve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sonic-netservices/bt-manager/run"
)

// gauges shows what the trees have done and do. Series are by reason and by path in the file of trees, never by replica:
// their number does not grow with what runs.
type gauges struct {
	stats  func() run.Stats
	append prometheus.Histogram
}

func newGauges() *gauges {
	return &gauges{append: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "bt_journal_append_seconds", Help: "How long the journal took for what changed in a run.",
		Buckets: []float64{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3},
	})}
}

// kept is run.Config.Kept.
func (g *gauges) kept(took time.Duration) { g.append.Observe(took.Seconds()) }

var (
	inUse    = prometheus.NewDesc("bt_trees", "Trees that run.", nil, nil)
	waiting  = prometheus.NewDesc("bt_trees_waiting", "Trees that still run an older file, until they hold no operation.", nil, nil)
	paused   = prometheus.NewDesc("bt_trees_paused", "Trees that an operator has paused.", nil, nil)
	ticks    = prometheus.NewDesc("bt_ticks_total", "Ticks of trees, by what woke them.", []string{"reason"}, nil)
	spins    = prometheus.NewDesc("bt_spin_total", "Pauses of trees that would have gone on without end, by the node that does.", []string{"path"}, nil)
	failures = prometheus.NewDesc("bt_node_failures_total", "Failures of actions.", []string{"path"}, nil)
	halts    = prometheus.NewDesc("bt_node_halts_total", "Actions halted while they were running.", []string{"path"}, nil)
	running  = prometheus.NewDesc("bt_node_running_seconds", "The longest that an action has been running in any tree.", []string{"path"}, nil)
	reloads  = prometheus.NewDesc("bt_reloads_total", "Files of trees, by what became of them.", []string{"outcome"}, nil)
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inUse, waiting, paused, ticks, spins, failures, halts, running, reloads} {
		to <- d
	}
	g.append.Describe(to)
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	s := g.stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, by map[string]int64) {
		for label, n := range by {
			to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
		}
	}
	gauge(inUse, float64(s.Trees))
	gauge(waiting, float64(s.Waiting))
	gauge(paused, float64(s.Paused))
	for path, age := range s.Running {
		gauge(running, age.Seconds(), path)
	}
	count(ticks, s.Ticks)
	count(spins, s.Spins)
	count(failures, s.Failures)
	count(halts, s.Halts)
	count(reloads, map[string]int64{"taken": s.Reloads, "refused": s.Refused})
	g.append.Collect(to)
}
