package serve

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/bt-manager/run"
)

// gauges shows what this manager is to the others, and while it leads, what the trees have done and do. Series of trees
// are by reason and by path in the file of trees, never by replica: their number does not grow with what runs.
type gauges struct {
	log    func() journal.Status
	epoch  func() uint64 // the newest this manager has heard of
	append prometheus.Histogram

	mu    sync.Mutex
	stats func() run.Stats // nil while no trees run here
}

func newGauges(log func() journal.Status, epoch func() uint64) *gauges {
	return &gauges{log: log, epoch: epoch, append: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "bt_journal_append_seconds", Help: "How long the journal took for what changed in a run.",
		Buckets: []float64{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3},
	})}
}

// of shows trees from now on, nil = none.
func (g *gauges) of(trees func() run.Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats = trees
}

// kept is run.Config.Kept.
func (g *gauges) kept(took time.Duration) { g.append.Observe(took.Seconds()) }

var (
	leading = prometheus.NewDesc("bt_manager_leads", "1 where this manager leads and its trees decide.", nil, nil)
	role    = prometheus.NewDesc("bt_manager_role", "1 for what Raft has this manager do.", []string{"role"}, nil)
	heard   = prometheus.NewDesc("bt_manager_last_contact_seconds", "How long a follower has heard nothing from a leader.", nil, nil)
	term    = prometheus.NewDesc("bt_manager_term", "Term of Raft.", nil, nil)
	epochs  = prometheus.NewDesc("bt_manager_epoch", "Newest epoch that has reached this manager: agents refuse orders of an older one.", nil, nil)
	last    = prometheus.NewDesc("bt_journal_last_index", "Newest entry of the journal here.", nil, nil)
	applied = prometheus.NewDesc("bt_journal_applied_index", "Newest entry that counts here.", nil, nil)
	voters  = prometheus.NewDesc("bt_manager_voters", "Managers that vote, as this one knows.", nil, nil)

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
	for _, d := range []*prometheus.Desc{leading, role, heard, term, epochs, last, applied, voters, inUse, waiting, paused, ticks, spins, failures, halts, running, reloads} {
		to <- d
	}
	g.append.Describe(to)
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	g.collectManager(gauge)
	g.mu.Lock()
	stats := g.stats
	g.mu.Unlock()
	if stats == nil {
		return
	}
	s := stats()
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

// collectManager gives what is shown of a follower as well.
func (g *gauges) collectManager(gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	is := func(holds bool) float64 {
		if holds {
			return 1
		}
		return 0
	}
	s := g.log()
	gauge(leading, is(s.Leads))
	for _, one := range journal.Roles {
		gauge(role, is(s.Role == one), string(one))
	}
	if !s.Heard.IsZero() {
		gauge(heard, time.Since(s.Heard).Seconds())
	}
	gauge(term, float64(s.Term))
	gauge(epochs, float64(g.epoch()))
	gauge(last, float64(s.Last))
	gauge(applied, float64(s.Applied))
	n := 0
	for _, m := range s.Members {
		if m.Voter {
			n++
		}
	}
	gauge(voters, float64(n))
}
