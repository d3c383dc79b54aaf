package spec

import (
	"fmt"
	"net/netip"
	"slices"
)

// check looks at what must hold between fields.
func (r *reader) check(s *Service) {
	for _, key := range []string{"name", "image", "address"} {
		if !r.has(key) {
			r.failAt(key, "missing")
		}
	}
	if s.Replicas > 1 && s.Address.IsValid() {
		if _, ok := s.ReplicaAddress(s.Replicas - 1); !ok {
			r.failAt("replicas", "%s has no room for %d addresses from %s on", s.Address.Masked(), s.Replicas, s.Address.Addr())
		}
	}
	r.checkAddresses(s)
	if len(s.Ports) > 0 && s.Replicas != 1 && !s.Constraints.Spread && s.Replicas != PerNode {
		r.failAt("ports", "two replicas on one node cannot both publish a port; constraints.spread keeps them apart")
	}
	if demand := s.Demand["memory"]; s.Limits.Memory > 0 && demand > float64(s.Limits.Memory) {
		r.failAt("limits.memory", "%s is less than the demand, %s", printBytes(s.Limits.Memory), printBytes(int64(demand)))
	}
	if demand := s.Demand["compute"]; s.Limits.CPU > 0 && demand > s.Limits.CPU {
		r.failAt("limits.cpu", "%s is less than the demand for compute, %s", printNumber(s.Limits.CPU), printNumber(demand))
	}
	if s.Floor > 0 && s.LatencyBound > 0 && s.Floor >= s.LatencyBound {
		r.failAt("floor", "%s is not below latency_bound, %s: nobody could keep it", s.Floor, s.LatencyBound)
	}
	for name := range s.Secrets {
		if _, ok := s.Environment[name]; ok {
			r.failAt("secrets."+name, "is in environment too")
		}
	}
	for _, node := range s.Constraints.Pin {
		if node != "" && slices.Contains(s.Constraints.Avoid, node) {
			r.failAt("constraints.avoid", "%s is pinned too", node)
		}
	}
}

// checkAddresses: no two addresses of all replicas are the same.
func (r *reader) checkAddresses(s *Service) {
	if len(s.Addresses) == 0 || !s.Address.IsValid() {
		return
	}
	owner := map[netip.Addr]int{}
	for i, first := range append([]netip.Prefix{s.Address}, s.Addresses...) {
		at := fmt.Sprintf("addresses[%d]", i-1)
		for n, address := 0, first; n < max(s.Replicas, 1) && first.IsValid(); n++ {
			other, taken := owner[address.Addr()]
			switch {
			case !usable(address) && i > 0: // of the first it is reported already
				r.failAt(at, "%s has no room for %d addresses from %s on", first.Masked(), s.Replicas, first.Addr())
			case taken:
				r.failAt(at, "%s of replica %d is an address of replica %d too", address.Addr(), n, other)
			}
			if taken || !usable(address) {
				break
			}
			owner[address.Addr()] = n
			address = netip.PrefixFrom(address.Addr().Next(), address.Bits())
		}
	}
}
