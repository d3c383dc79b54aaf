package hardware

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

const (
	crmPrefix       = "crm_stats_"
	usedSuffix      = "_used"
	availableSuffix = "_available"
)

// crmCounts reads the counters of a CRM row as <resource>_used and <resource>_available. CRM writes its row field by
// field and leaves out what an ASIC does not have; a field that is no count is left out, too.
func crmCounts(row map[string]string) map[string]int64 {
	counts := map[string]int64{}
	for f, v := range row {
		name, ok := strings.CutPrefix(f, crmPrefix)
		n, err := strconv.ParseInt(v, 10, 64)
		if ok && err == nil && n >= 0 && n <= 1<<40 && (strings.HasSuffix(name, usedSuffix) || strings.HasSuffix(name, availableSuffix)) {
			counts[name] = n
		}
	}
	return counts
}

// scarcest is the CRM resource of which the smallest share is left: the one that will stop a switch first. Without
// both counts, or without any room at all, a resource says nothing.
func scarcest(counts map[string]int64) (r netmap.Resource, ok bool) {
	for _, f := range slices.Sorted(maps.Keys(counts)) {
		name, is := strings.CutSuffix(f, usedSuffix)
		available, both := counts[name+availableSuffix]
		used := counts[f]
		if !is || !both || used+available == 0 {
			continue
		}
		one := netmap.Resource{Kind: netmap.Forwarding, Capacity: float64(used + available), Used: float64(used),
			Unit: "entries", Source: "CRM " + name}
		if !ok || one.Utilisation() > r.Utilisation() {
			r, ok = one, true
		}
	}
	return r, ok
}

// aclEntries sums up the ACL tables of the ASIC.
func aclEntries(tables []map[string]string) (r netmap.Resource, ok bool) {
	r = netmap.Resource{Kind: netmap.Security, Unit: "entries", Source: "CRM acl_entry"}
	for _, row := range tables {
		counts := crmCounts(row)
		available, both := counts["acl_entry"+availableSuffix]
		if !both {
			continue
		}
		ok = true
		r.Used += float64(counts["acl_entry"+usedSuffix])
		r.Capacity += float64(counts["acl_entry"+usedSuffix] + available)
	}
	return r, ok
}

// flows of the security class: what the services that run here have declared of it, against the capacity an operator
// has configured.
func flows(node string, capacity float64, rows map[string]map[string]string) netmap.Resource {
	r := netmap.Resource{Kind: netmap.Security, Capacity: capacity, Unit: "flows", Source: "NETSERVICES|global security_flows"}
	s, _ := resourdb.SnapshotOf(rows) // a bad row is its writer's fault, and told by who decides
	for _, p := range s.Replicas {
		if p.Node == node {
			r.Used += p.Demand[netmap.Security]
		}
	}
	return r
}

// neighbors turns LLDP's rows and those of the ports, by port, into the far ends of the cables. A port that is down, or
// whose neighbour tells no name, has none.
func neighbors(node string, lldp, ports map[string]map[string]string) (list []resourdb.Neighbor, bad []error) {
	for _, name := range slices.Sorted(maps.Keys(lldp)) { // in order: what is found amiss is reported the same way each time
		row := lldp[name]
		far := row["lldp_rem_sys_name"]
		port := ports[name]
		if far == "" || port["oper_status"] == "down" {
			continue
		}
		if strings.Contains(far, "|") {
			bad = append(bad, fmt.Errorf("LLDP_ENTRY_TABLE:%s: lldp_rem_sys_name %q is not a node", name, far))
			continue
		}
		n := resourdb.Neighbor{Node: node, Port: name, Neighbor: far, NeighborPort: row["lldp_rem_port_id"]}
		mbps, err := strconv.ParseFloat(port["speed"], 64)
		if err != nil || !(mbps > 0) || mbps > 1e9 {
			bad = append(bad, fmt.Errorf("PORT_TABLE:%s: speed %q is not in Mbit/s", name, port["speed"]))
			continue
		}
		n.SpeedBPS = mbps * 1e6
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b resourdb.Neighbor) int { return cmp.Compare(a.Port, b.Port) })
	return list, bad
}
