package replica

import (
	"net/netip"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// probe says how one replica on this node is probed. Two equal probes are one.
type probe struct {
	id       netmap.ReplicaID
	address  string // of the service, without prefix length
	how      string // "http :8080/healthz", "tcp :8080", "exec COMMAND"
	each     time.Duration
	timeout  time.Duration
	failures int // in a row that make it unhealthy
}

// Defaults of a probe whose service says nothing else; those of the spec.
const (
	probeEach     = time.Second
	probeTimeout  = time.Second
	probeFailures = 3
)

// probesOf gives what is to be probed on this node: its running replicas whose service has a probe.
func probesOf(instances []resourdb.Instance, services []resourdb.Service) map[probe]bool {
	byName := map[string]resourdb.Service{}
	for _, s := range services {
		byName[s.Name] = s
	}
	all := map[probe]bool{}
	for _, i := range instances {
		s := byName[i.ID.Service]
		address, err := netip.ParsePrefix(i.Address)
		if i.State != netmap.Running || s.Probe == "" || err != nil {
			continue
		}
		all[probe{id: i.ID, address: address.Addr().String(), how: s.Probe, each: orElse(s.ProbeEach, probeEach),
			timeout: orElse(s.ProbeTime, probeTimeout), failures: orElse(s.Failures, probeFailures)}] = true
	}
	return all
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// judge counts one result. Unhealthy is who fails as often in a row as the probe allows; healthy, who passes once.
//
//	unknown --pass--> pass --failures in a row--> fail --pass--> pass
//	unknown --failures in a row--> fail
func judge(h resourdb.Health, limit int, err error, now time.Time) resourdb.Health {
	result := h.Result
	if err == nil {
		h.Failures, h.Detail, result = 0, "", resourdb.Passed
	} else {
		h.Failures, h.Detail = h.Failures+1, err.Error()
		if h.Failures >= limit {
			result = resourdb.Failed
		}
	}
	if result != h.Result {
		h.Result, h.Since = result, now
	}
	return h
}
