package spec

import "slices"

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
