package orders

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// candidates lists the nodes a new replica may go to, best first, and why the first is the best. placed counts replicas
// of the same service that get a node in the same command.
func (s *State) candidates(w World, wanted *spec.Service, node string, placed map[string]int) (nodes []string, reason string, err error) {
	if node != "" {
		if _, ok := s.Members[node]; !ok {
			return nil, "", unknownNode(s, node)
		}
	}
	why := map[string]string{} // a node is left out
	load := s.load()
	for name := range s.Members {
		switch {
		case node != "" && name != node:
			continue
		case !w.Here[name]:
			why[name] = "is away"
		case wanted.Constraints.Spread && placed[name] > 0:
			why[name] = "has a replica of the service, which is to be spread"
		default:
			if refusal := s.forbidden(wanted, name, netmap.ReplicaID{}); refusal != "" {
				why[name] = refusal
				continue
			}
			nodes = append(nodes, name)
		}
	}
	if len(nodes) == 0 {
		return nil, "", status.Errorf(codes.FailedPrecondition, "no node for %s: %s", wanted.Name, explain(why))
	}
	slices.SortFunc(nodes, func(a, b string) int {
		return cmp.Or(cmp.Compare(load[a]+placed[a], load[b]+placed[b]), cmp.Compare(a, b))
	})
	switch {
	case node != "":
		reason = "operator's order"
	case len(nodes) == 1:
		reason = "only node"
	default:
		reason = "fewest replicas"
	}
	return nodes, reason, nil
}

// forbidden says why the service's constraints keep a replica off a node, "" when they do not. The replica itself, if it
// is placed, does not count as another one.
func (s *State) forbidden(wanted *spec.Service, node string, id netmap.ReplicaID) string {
	c := wanted.Constraints
	if len(c.Pin) > 0 && !slices.Contains(c.Pin, node) {
		return fmt.Sprintf("constraints.pin allows only %s", strings.Join(c.Pin, ", "))
	}
	if slices.Contains(c.Avoid, node) {
		return fmt.Sprintf("constraints.avoid names %s", node)
	}
	if service := s.Services[wanted.Name]; c.Spread && service != nil {
		for n, at := range service.Replicas {
			if at.Node == node && n != id.Replica {
				return fmt.Sprintf("constraints.spread: %s has replica %d", node, n)
			}
		}
	}
	return ""
}

// crowded says that another replica of a service that is to be spread is on a node, or on its way there.
func (s *State) crowded(op *Op, node string) bool {
	service := s.Services[op.Replica.Service]
	if !service.Spec.Constraints.Spread {
		return false
	}
	for _, at := range service.Replicas {
		if at.Node == node {
			return true
		}
	}
	for _, other := range s.Ops {
		if other != op && other.Replica.Service == op.Replica.Service && other.Node == node {
			return true
		}
	}
	return false
}

// load counts replicas per node: those that are there and those on their way.
func (s *State) load() map[string]int {
	load := map[string]int{}
	for _, service := range s.Services {
		for _, at := range service.Replicas {
			load[at.Node]++
		}
	}
	for _, op := range s.Ops {
		switch op.Verb {
		case Deploy:
			load[op.Node]++
		case Move:
			load[op.To]++
		}
	}
	return load
}

func explain(why map[string]string) string {
	if len(why) == 0 {
		return "none has joined"
	}
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(why)) {
		parts = append(parts, node+": "+why[node])
	}
	return strings.Join(parts, "; ")
}
