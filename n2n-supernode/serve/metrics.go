package serve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sonic-netservices/n2n-supernode/rendezvous"
)

// metrics shows what the machine has counted, when it is asked.
type metrics struct{ s *server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("n2n_supernode_"+name, help, labels, nil)
}

var (
	edgesDesc       = desc("edges", "Edges that are registered.")
	communitiesDesc = desc("communities", "Communities that are known.")
	peersDesc       = desc("supernodes", "Other supernodes, by whether they answer.", "state")
	receivedDesc    = desc("received_packets_total", "Packets that came.")
	bytesDesc       = desc("received_bytes_total", "Bytes that came.")
	forwardedDesc   = desc("sent_packets_total", "Packets of edges that were passed on, copies counted, by where they went.", "to")
	answeredDesc    = desc("answered_total", "Questions that were answered, by kind.", "kind")
	refusedDesc     = desc("refused_total", "Packets that were refused, by reason.", "reason")
	lostDesc        = desc("lost_total", "Messages that no socket took.")
)

func (metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{edgesDesc, communitiesDesc, peersDesc, receivedDesc, bytesDesc, forwardedDesc, answeredDesc, refusedDesc, lostDesc} {
		ch <- d
	}
}

func (m metrics) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	edges, communities := m.s.machine.Size()
	gauge(edgesDesc, edges)
	gauge(communitiesDesc, communities)
	alive, silent := 0, 0
	for _, p := range m.s.machine.Supernodes(time.Now()) {
		if p.Alive {
			alive++
		} else {
			silent++
		}
	}
	gauge(peersDesc, alive, "alive")
	gauge(peersDesc, silent, "silent")
	c := m.s.machine.Counters()
	count(receivedDesc, c.Received)
	count(bytesDesc, c.ReceivedBytes)
	count(forwardedDesc, c.Forwarded, "edge")
	count(forwardedDesc, c.Broadcast, "community")
	count(forwardedDesc, c.ToPeers, "supernode")
	count(answeredDesc, c.Registered, "register")
	count(answeredDesc, c.Drawn, "draw")
	count(answeredDesc, c.Queries, "query")
	count(answeredDesc, c.Pings, "ping")
	for r := rendezvous.Refusal(1); r < rendezvous.Refusals; r++ {
		count(refusedDesc, c.Refused[r], r.String())
	}
	count(lostDesc, m.s.lost.Load())
}
