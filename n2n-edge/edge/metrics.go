package edge

import "github.com/prometheus/client_golang/prometheus"

// collector gives the status as metrics.
type collector Edge

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("n2n_edge_"+name, help, labels, nil)
}

var (
	registeredDesc = desc("registered", "1 while a supernode knows this edge")
	peersDesc      = desc("peers", "peers by the way to them", "path")
	rttDesc        = desc("supernode_rtt_seconds", "round trip to each supernode", "supernode")
	packetsDesc    = desc("packets_total", "frames and packets through the edge", "at")
	dropsDesc      = desc("drops_total", "frames and packets that went nowhere, by reason", "reason")
	bytesDesc      = desc("peer_bytes_total", "bytes of frames by peer and direction", "peer", "direction")
	wayDesc        = desc("peer_packets_total", "packets by peer, direction and way", "peer", "direction", "path")
)

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{registeredDesc, peersDesc, rttDesc, packetsDesc, dropsDesc, bytesDesc, wayDesc} {
		out <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := (*Edge)(c).status()
	one := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	registered := 0.0
	if s.Peering.Registered {
		registered = 1
	}
	one(registeredDesc, prometheus.GaugeValue, registered)
	ways := map[string]float64{"direct": 0, "relay": 0}
	for _, p := range s.Peering.Peers {
		ways[p.Path]++
	}
	for way, n := range ways {
		one(peersDesc, prometheus.GaugeValue, n, way)
	}
	for _, n := range s.Peering.Supernodes {
		if n.RTT > 0 {
			one(rttDesc, prometheus.GaugeValue, n.RTT.Seconds(), n.Addr.String())
		}
	}
	for at, n := range s.Packets {
		one(packetsDesc, prometheus.CounterValue, float64(n), at)
	}
	for reason, n := range s.Drops {
		one(dropsDesc, prometheus.CounterValue, float64(n), reason)
	}
	for _, st := range s.Stations {
		one(bytesDesc, prometheus.CounterValue, float64(st.SentBytes), st.MAC, "sent")
		one(bytesDesc, prometheus.CounterValue, float64(st.ReceivedBytes), st.MAC, "received")
		one(wayDesc, prometheus.CounterValue, float64(st.SentDirect), st.MAC, "sent", "direct")
		one(wayDesc, prometheus.CounterValue, float64(st.SentRelay), st.MAC, "sent", "relay")
		one(wayDesc, prometheus.CounterValue, float64(st.ReceivedDirect), st.MAC, "received", "direct")
		one(wayDesc, prometheus.CounterValue, float64(st.ReceivedRelay), st.MAC, "received", "relay")
	}
}
