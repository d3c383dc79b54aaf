package vswitch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// capacities of the switch's tables, of the size of a small data-centre ASIC. The kernel has no such limits: available
// is capacity minus used.
var capacities = [...]struct {
	resource string
	capacity int
}{
	{"ipv4_route", 98304}, {"ipv6_route", 32768},
	{"ipv4_nexthop", 49152}, {"ipv6_nexthop", 49152},
	{"ipv4_neighbor", 24576}, {"ipv6_neighbor", 12288},
	{"nexthop_group_member", 16384}, {"nexthop_group", 512},
	{"fdb_entry", 32768},
}

// Sizes of the ACL stage, which the kernel's nftables tables stand for.
const (
	aclTables  = 9
	aclEntries = 4096 // in all tables together
)

// countResources writes CRM:STATS from the kernel's tables, each CRM|Config polling_interval.
func (s *Switch) countResources(ctx context.Context) error {
	for ctx.Err() == nil {
		used, err := countKernel()
		if err != nil {
			return err
		}
		row := map[string]string{}
		for _, c := range capacities {
			addUsage(row, c.resource, used[c.resource], c.capacity)
		}
		if err := s.db.counters.HSet(ctx, "CRM:STATS", row); err != nil {
			return err
		}
		if err := s.countACL(ctx); err != nil {
			return err
		}
		interval, err := s.pollingInterval(ctx)
		if err != nil {
			return err
		}
		pause(ctx, interval)
	}
	return ctx.Err()
}

func addUsage(row map[string]string, resource string, used, capacity int) {
	row["crm_stats_"+resource+"_used"] = strconv.Itoa(used)
	row["crm_stats_"+resource+"_available"] = strconv.Itoa(max(0, capacity-used))
}

// pollingInterval reads CRM|Config; without it SONiC polls every 300 s.
func (s *Switch) pollingInterval(ctx context.Context) (time.Duration, error) {
	row, err := s.db.config.HGetAll(ctx, "CRM|Config")
	if err != nil {
		return 0, err
	}
	if n, err := strconv.Atoi(row["polling_interval"]); err == nil && n > 0 {
		return time.Duration(n) * time.Second, nil
	}
	return 300 * time.Second, nil
}

// countKernel counts what the kernel holds, by CRM's resource names.
func countKernel() (map[string]int, error) {
	used := map[string]int{}
	for family, prefix := range map[int]string{unix.AF_INET: "ipv4_", unix.AF_INET6: "ipv6_"} {
		routes, err := list(netlink.RouteList(nil, family)) // the main table
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		countRoutes(used, prefix, routes)
		neighbors, err := list(netlink.NeighList(0, family))
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range neighbors {
			if n.State&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE|unix.NUD_PERMANENT) != 0 {
				used[prefix+"neighbor"]++
			}
		}
	}
	fdb, err := list(netlink.NeighList(0, unix.AF_BRIDGE))
	if err != nil {
		return nil, fmt.Errorf("list bridge entries: %w", err)
	}
	for _, n := range fdb {
		if n.State&unix.NUD_PERMANENT == 0 { // permanent ones are the ports' own addresses
			used["fdb_entry"]++
		}
	}
	return used, nil
}

// list takes a dump that changed under way as it is: the next one comes within seconds.
func list[T any](rows []T, err error) ([]T, error) {
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return rows, err
}

func countRoutes(used map[string]int, prefix string, routes []netlink.Route) {
	hops := map[string]bool{}
	groups := map[string]int{}
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST || r.Dst != nil && r.Dst.IP.IsLinkLocalUnicast() {
			continue
		}
		used[prefix+"route"]++
		if r.Gw != nil {
			hops[hop(r.Gw, r.LinkIndex)] = true
		}
		group := ""
		for _, h := range r.MultiPath {
			hops[hop(h.Gw, h.LinkIndex)] = true
			group += hop(h.Gw, h.LinkIndex) + " "
		}
		if group != "" {
			groups[group] = len(r.MultiPath)
		}
	}
	used[prefix+"nexthop"] = len(hops)
	for _, members := range groups {
		used["nexthop_group"]++
		used["nexthop_group_member"] += members
	}
}

func hop(gw net.IP, link int) string { return fmt.Sprintf("%s@%d", gw, link) }

// countACL writes the rows of the ACL stage: a table of nftables counts as an ACL table, a rule as an entry.
func (s *Switch) countACL(ctx context.Context) error {
	nft := &nftables.Conn{}
	tables, err := nft.ListTables()
	if err != nil {
		return fmt.Errorf("list nftables: %w", err)
	}
	chains, err := nft.ListChains()
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	entries := 0
	for _, c := range chains {
		rules, err := nft.GetRules(c.Table, c)
		if errors.Is(err, unix.ENOENT) { // removed since
			continue
		}
		if err != nil {
			return fmt.Errorf("list nftables rules: %w", err)
		}
		entries += len(rules)
	}
	row := map[string]string{}
	addUsage(row, "acl_table", len(tables), aclTables)
	addUsage(row, "acl_group", 0, aclTables)
	if err := s.db.counters.HSet(ctx, "CRM:ACL_STATS:INGRESS:SWITCH", row); err != nil {
		return err
	}
	row = map[string]string{}
	addUsage(row, "acl_entry", entries, aclEntries)
	return s.db.counters.HSet(ctx, "CRM:ACL_TABLE_STATS:"+aclTableOID, row)
}

// aclTableOID is the object id of the one ACL table that holds all entries (SAI's object type 7).
const aclTableOID = "0x7000000000001"
