package balance

import (
	"math"
	"time"

	"sonic-netservices/netmap"
)

// Memory knows what nodes do by themselves over a day, replicas aside: what was empty at night is no place for a replica
// that has to stay there at noon. An hour counts by its mean, once it is over and if half of it at least was seen, so that
// no spike and no test counts.
//
// It is a value machine: time is a value of the caller's monotonic clock, from any origin. It keeps nothing over its
// end; without it a node is expected to go on as it is.
type Memory struct {
	began   bool
	last    time.Duration
	hour    int64 // that runs
	nodes   map[string]map[netmap.Kind]*day
	carried map[string]netmap.Demand
	peaks   map[string]netmap.Demand
}

const (
	hoursKept = 24
	fewest    = time.Hour / 2    // of an hour have to be seen
	apart     = 10 * time.Second // samples; more would tell nothing new of an hour
)

// day is one kind of one node.
type day struct {
	hours       [hoursKept]hour
	first, last time.Duration // sample of the hour that runs
	sum         float64
	samples     int
}

// hour is one that is over.
type hour struct {
	seen bool
	at   int64
	mean float64
}

// Observe takes in how the network is. A node that is silent, and a reading that cannot be true, say nothing.
func (m *Memory) Observe(snap *netmap.Snapshot, at time.Duration) {
	if m.began && at-m.last < apart {
		return
	}
	if m.nodes == nil {
		m.nodes, m.carried = map[string]map[netmap.Kind]*day{}, map[string]netmap.Demand{}
	}
	hour := int64(math.Floor(at.Hours()))
	if m.began && hour != m.hour {
		m.close(hour)
	}
	m.began, m.last, m.hour = true, at, hour
	carry(m.carried, snap)
	for _, n := range snap.Nodes {
		if n.Liveness != netmap.Alive {
			continue
		}
		kinds := m.nodes[n.Name]
		if kinds == nil {
			kinds = map[netmap.Kind]*day{}
			m.nodes[n.Name] = kinds
		}
		for _, r := range n.Resources {
			if !measured(r.Used) {
				continue
			}
			d := kinds[r.Kind]
			if d == nil {
				d = &day{}
				kinds[r.Kind] = d
			}
			if d.samples == 0 {
				d.first = at
			}
			d.last = at
			d.sum += r.Used - m.carried[n.Name][r.Kind]
			d.samples++
		}
	}
}

// close ends the hour that ran, and finds the fullest of the day anew. What has not been seen for a day is forgotten.
func (m *Memory) close(now int64) {
	m.peaks = map[string]netmap.Demand{}
	for name, kinds := range m.nodes {
		for kind, d := range kinds {
			if d.samples > 0 && d.last-d.first >= fewest {
				d.hours[m.hour%hoursKept] = hour{true, m.hour, d.sum / float64(d.samples)}
			}
			d.sum, d.samples = 0, 0
			peak, known := math.Inf(-1), false
			for _, h := range d.hours {
				if h.seen && now-h.at <= hoursKept {
					peak, known = max(peak, h.mean), true
				}
			}
			switch {
			case known && m.peaks[name] == nil:
				m.peaks[name] = netmap.Demand{kind: peak}
			case known:
				m.peaks[name][kind] = peak
			case now-int64(math.Floor(d.last.Hours())) > hoursKept:
				delete(kinds, kind)
			}
		}
		if len(kinds) == 0 {
			delete(m.nodes, name)
		}
	}
}

// Peaks are, by node, what it used itself in the fullest hour of the last day. They are not changed any more.
func (m *Memory) Peaks() map[string]netmap.Demand { return m.peaks }

// carry adds up what the replicas of each node need, into maps that are used again. One that is on its way counts at
// both ends: a peak is rather too low than that a replica is counted as the node's own.
func carry(into map[string]netmap.Demand, snap *netmap.Snapshot) {
	for _, demand := range into {
		clear(demand)
	}
	for _, r := range snap.Replicas {
		if r.State == netmap.Unloaded {
			continue
		}
		demand := into[r.Node]
		if demand == nil {
			demand = netmap.Demand{}
			into[r.Node] = demand
		}
		for k, x := range r.Demand {
			if measured(x) {
				demand[k] += x
			}
		}
	}
}
