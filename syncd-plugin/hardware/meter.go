package hardware

import (
	"errors"
	"math"
	"strings"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// Reading is everything read in one pass. What could not be read is absent, and Bad says why.
type Reading struct {
	At    time.Duration // monotonic
	Group *Group
	Disk  *Disk
	CRM   map[string]string            // COUNTERS_DB CRM:STATS
	ACL   []map[string]string          // COUNTERS_DB CRM:ACL_TABLE_STATS:*
	Poll  time.Duration                // CRM's polling interval: the age of its counters
	LLDP  map[string]map[string]string // APPL_DB LLDP_ENTRY_TABLE by port
	Ports map[string]map[string]string // APPL_DB PORT_TABLE by port
	Flows float64                      // configured capacity of the security class; 0: ACL entries count
	Rows  map[string]map[string]string // resour_DB, where Flows needs it
	Bytes float64                      // configured capacity of storage; 0: the file system is
	Usage map[string]map[string]string // RESOUR_USAGE of this node, where Bytes needs it; nil: not read
	Bad   []error
}

// meter turns readings into rows. It is a value machine: the processor's use is the difference of two readings.
//
// The rate is that of the last second and not smoothed: the behaviour tree judges by n samples of its own, and a
// smoothed reading would hide from it both the beginning and the end of a load.
type meter struct {
	node   string
	before *Reading
}

// rows gives all rows of one reading, and what was wrong in it.
func (m *meter) rows(r *Reading) (rows []resourdb.Row, bad error) {
	resource := func(one netmap.Resource, age time.Duration) {
		rows = append(rows, resourdb.Resource{Node: m.node, Resource: one, Age: age})
	}
	if r.Group != nil {
		g := r.Group
		if cores, ok := m.rate(r); ok {
			resource(netmap.Resource{Kind: netmap.Compute, Capacity: round(g.Cores), Used: cores, Unit: "cores", Source: g.CoresSource}, 0)
		}
		resource(netmap.Resource{Kind: netmap.Memory, Capacity: g.MemoryMax, Used: g.Memory, Unit: "bytes", Source: g.MemorySource}, 0)
	}
	switch {
	case r.Disk != nil && r.Bytes == 0:
		resource(netmap.Resource{Kind: netmap.Storage, Capacity: r.Disk.Capacity, Used: r.Disk.Used, Unit: "bytes",
			Source: "file system of " + netmap.HostDir}, 0)
	case r.Disk != nil && r.Usage != nil:
		resource(share(*r.Disk, r.Bytes, r.Usage), 0)
	}
	counts := crmCounts(r.CRM)
	if one, ok := scarcest(counts); ok {
		resource(one, r.Poll)
	}
	if one, ok := aclEntries(r.ACL); r.Flows > 0 {
		resource(flows(m.node, r.Flows, r.Rows), 0)
	} else if ok {
		resource(one, r.Poll)
	}
	if len(counts) > 0 {
		rows = append(rows, resourdb.Forwarding{Node: m.node, Count: counts})
	}
	far, errs := neighbors(m.node, r.LLDP, r.Ports)
	for _, n := range far {
		rows = append(rows, n)
	}
	m.before = r
	return rows, errors.Join(append(r.Bad, errs...)...)
}

// rate is the cores used since the reading before. A group that was made anew in between has counted from zero.
func (m *meter) rate(r *Reading) (float64, bool) {
	b := m.before
	if b == nil || b.Group == nil || r.At <= b.At {
		return 0, false
	}
	used := r.Group.CPU - b.Group.CPU
	if used < 0 {
		used = r.Group.CPU
	}
	return round(float64(used) / float64(r.At-b.At)), true
}

// round to a thousandth: less is noise, and an idle switch's row should not change.
func round(f float64) float64 { return math.Round(f*1000) / 1000 }

// key of a row as the database has it.
func key(r resourdb.Row) string { return r.Table() + "|" + strings.Join(r.Parts(), "|") }
