package balance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sonic-netservices/netmap"
)

// barred says what keeps the replica off a node whatever its resources are.
func (j judge) barred(node netmap.Node) (why []string) {
	p := j.problem
	if node.Name == p.Source {
		why = append(why, "is the source")
	}
	switch node.Liveness {
	case netmap.Alive:
	case netmap.Stale, netmap.Dead:
		why = append(why, fmt.Sprintf("is %s, silent for %v", node.Liveness, node.Heard))
	default:
		why = append(why, "is not known to be alive")
	}
	if node.Drained {
		why = append(why, "is drained by an operator")
	}
	if len(p.Pin) > 0 && !slices.Contains(p.Pin, node.Name) {
		why = append(why, "constraints.pin allows only "+strings.Join(p.Pin, ", "))
	}
	if slices.Contains(p.Avoid, node.Name) {
		why = append(why, "constraints.avoid names it")
	}
	if reason, ok := p.Exclude[node.Name]; ok {
		why = append(why, reason)
	}
	if node.Name != p.Source {
		hosts := slices.Clone(j.hosts[node.Name])
		slices.Sort(hosts)
		why = append(why, hosts...)
	}
	return why
}

// load is a node with the demand added to what it uses and has reserved; why says what does not fit. A node whose
// readings cannot be true has no load.
func (j judge) load(node netmap.Node) (load *Load, why []string) {
	resources, garbage := readings(node, j.reserved[node.Name])
	if len(garbage) > 0 {
		return nil, garbage
	}
	left := maps.Clone(j.problem.Demand)
	var kinds []Use
	for _, r := range resources {
		need := left[r.Kind]
		delete(left, r.Kind)
		with := r
		with.Used += need
		use := Use{r.Kind, r.Utilisation(), with.Utilisation(), j.rise(node.Name, r)}
		kinds = append(kinds, use)
		limit := j.params.limit(r.Kind)
		switch {
		case use.After < limit:
		case need > 0:
			why = append(why, fmt.Sprintf("%s %s + %s of %s = %s is not below %.2f", r.Kind, amount(r.Used, r.Unit),
				amount(need, r.Unit), amount(r.Capacity, r.Unit), above(use.After, limit), limit))
		default:
			why = append(why, fmt.Sprintf("%s is at %s already, not below %.2f", r.Kind, above(use.After, limit), limit))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(left)) {
		if left[k] > 0 {
			why = append(why, fmt.Sprintf("has no %s, the service needs %.4g", k, left[k]))
		}
	}
	l := j.even(kinds)
	return &l, why
}

// rise is how much fuller a kind will be when the node itself uses as much as in the fullest hour of the day. R counts
// what is reserved.
func (j judge) rise(node string, r netmap.Resource) float64 {
	peak, ok := j.problem.Peaks[node][r.Kind]
	if !ok || j.carried == nil || r.Capacity == 0 {
		return 0
	}
	rise := (peak - (r.Used - j.reserved[node][r.Kind] - j.carried[node][r.Kind])) / r.Capacity
	if grain(rise) <= 0 {
		return 0
	}
	return rise
}

// leaves is the source without the replica; nil when its readings cannot be true.
func (j judge) leaves(node netmap.Node) *Load {
	resources, garbage := readings(node, j.reserved[node.Name])
	if len(garbage) > 0 {
		return nil
	}
	var kinds []Use
	for _, r := range resources {
		without := r
		without.Used = max(0, r.Used-j.problem.Demand[r.Kind])
		use := Use{Kind: r.Kind, Before: r.Utilisation(), After: without.Utilisation()}
		kinds = append(kinds, use)
	}
	l := j.even(kinds)
	return &l
}

// even fills in how even a node is before and after.
func (j judge) even(kinds []Use) Load {
	l := Load{Kinds: kinds}
	var before, after []float64
	for _, u := range kinds {
		if u.peak() > l.Highest.peak() || l.Highest.Kind == "" {
			l.Highest = u
		}
		if j.params.counts(u.Kind) {
			before, after = append(before, u.Before), append(after, u.After)
		}
	}
	l.SU, l.SUAfter = SU(before), SU(after)
	l.SUB, l.SUBAfter = SUB(before), SUB(after)
	return l
}

// readings are a node's resources by kind, reserved amounts counted as used. A kind with no capacity that nothing uses
// is one the node does not have.
func readings(node netmap.Node, reserved netmap.Demand) (resources []netmap.Resource, garbage []string) {
	sorted := slices.Clone(node.Resources)
	slices.SortStableFunc(sorted, func(a, b netmap.Resource) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	for i, r := range sorted {
		switch held := reserved[r.Kind]; {
		case i > 0 && sorted[i-1].Kind == r.Kind:
			garbage = append(garbage, fmt.Sprintf("%s is listed twice", r.Kind))
		case !measured(r.Capacity) || !measured(r.Used) || r.Capacity > 0 && r.Capacity < smallest:
			garbage = append(garbage, fmt.Sprintf("%s: %v of %v is no reading", r.Kind, r.Used, r.Capacity))
		case !measured(held):
			garbage = append(garbage, fmt.Sprintf("%s: %v is no reservation", r.Kind, held))
		case r.Capacity == 0 && r.Used == 0:
		default:
			r.Used += held
			resources = append(resources, r)
		}
	}
	return resources, garbage
}
