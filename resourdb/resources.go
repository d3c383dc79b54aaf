package resourdb

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/netmap"
)

// Tables of what a node has and uses, and of what the manager holds beside its orders.
const (
	NodeTable       = "RESOUR_NODE"       // |node                   resource-sync
	ResourceTable   = "RESOUR_RESOURCE"   // |node|kind              syncd-plugin
	ForwardingTable = "RESOUR_FORWARDING" // |node                   syncd-plugin, stays on the node
	NeighborTable   = "RESOUR_NEIGHBOR"   // |node|port              syncd-plugin
	UsageTable      = "RESOUR_USAGE"      // |service|replica|node   mig-agent
	HealthTable     = "RESOUR_HEALTH"     // |service|replica|node   resource-sync
	SeenTable       = "RESOUR_SEEN"       // |node                   resource-sync of the reader, stays on the node
	BlackboardTable = "RESOUR_BLACKBOARD" // |tree                   bt-manager
	ReservedTable   = "RESOUR_RESERVED"   // |node|kind              bt-manager
)

// Node is one member of the AS.
type Node struct {
	Name         string
	Addr         string // Loopback0
	AS           uint32
	Tier         string // core, edge, access, cloud
	MAC          string
	Kernel       string
	Software     string        // version of resource-sync
	PushInterval time.Duration // push_interval in ms: it pushes at least this often
	Incarnation  uint64        // of its resource-sync; grows with each start
	Rev          uint64        // of this row in that incarnation
}

func (Node) Table() string     { return NodeTable }
func (n Node) Parts() []string { return []string{n.Name} }

func (n Node) Row() map[string]string {
	return map[string]string{"addr": n.Addr, "as": strconv.FormatUint(uint64(n.AS), 10), "tier": n.Tier, "mac": n.MAC,
		"kernel": n.Kernel, "software": n.Software, "push_interval": millis(n.PushInterval),
		"incarnation": strconv.FormatUint(n.Incarnation, 10), "rev": strconv.FormatUint(n.Rev, 10)}
}

// ParseNode reads what Row wrote.
func ParseNode(key string, row map[string]string) (Node, error) {
	p := parse(NodeTable, key, 1, row)
	n := Node{Name: p.part(0), Addr: p.text("addr"), AS: p.number32("as"), Tier: p.text("tier"), MAC: p.text("mac"),
		Kernel: p.text("kernel"), Software: p.text("software"), PushInterval: p.millis("push_interval"),
		Incarnation: uint64(p.integer("incarnation")), Rev: uint64(p.integer("rev"))}
	return n, p.err
}

// Resource is one kind of resource of one node.
type Resource struct {
	Node string
	netmap.Resource
	Age time.Duration // age in s: the reading was at most this old when the row was written
}

func (Resource) Table() string     { return ResourceTable }
func (r Resource) Parts() []string { return []string{r.Node, string(r.Kind)} }

func (r Resource) Row() map[string]string {
	return map[string]string{"capacity": number(r.Capacity), "used": number(r.Used), "unit": r.Unit, "source": r.Source,
		"age": number(r.Age.Seconds())}
}

// ParseResource reads what Row wrote.
func ParseResource(key string, row map[string]string) (Resource, error) {
	p := parse(ResourceTable, key, 2, row)
	r := Resource{Node: p.part(0), Resource: netmap.Resource{Kind: netmap.Kind(p.part(1)),
		Capacity: p.amount("capacity"), Used: p.amount("used"), Unit: p.text("unit"), Source: p.text("source")}}
	r.Age = time.Duration(p.amount("age") * float64(time.Second))
	if r.Age < 0 {
		p.fail("age", errors.New("is too large"))
	}
	p.need("capacity", "used")
	return r, p.err
}

// Forwarding is CRM's detail of one node: <resource>_used and <resource>_available.
type Forwarding struct {
	Node  string
	Count map[string]int64
}

func (Forwarding) Table() string     { return ForwardingTable }
func (f Forwarding) Parts() []string { return []string{f.Node} }

func (f Forwarding) Row() map[string]string {
	row := make(map[string]string, len(f.Count))
	for field, n := range f.Count {
		row[field] = strconv.FormatInt(n, 10)
	}
	return row
}

// ParseForwarding reads what Row wrote.
func ParseForwarding(key string, row map[string]string) (Forwarding, error) {
	p := parse(ForwardingTable, key, 1, row)
	f := Forwarding{Node: p.part(0), Count: map[string]int64{}}
	for field := range row {
		f.Count[field] = p.integer(field)
	}
	return f, p.err
}

// Neighbor is the far end of one port's cable, as LLDP tells.
type Neighbor struct {
	Node         string
	Port         string
	Neighbor     string // node
	NeighborPort string
	SpeedBPS     float64
}

func (Neighbor) Table() string     { return NeighborTable }
func (n Neighbor) Parts() []string { return []string{n.Node, n.Port} }

func (n Neighbor) Row() map[string]string {
	return map[string]string{"neighbor": n.Neighbor, "neighbor_port": n.NeighborPort, "speed_bps": number(n.SpeedBPS)}
}

// ParseNeighbor reads what Row wrote.
func ParseNeighbor(key string, row map[string]string) (Neighbor, error) {
	p := parse(NeighborTable, key, 2, row)
	n := Neighbor{Node: p.part(0), Port: p.part(1), Neighbor: p.text("neighbor"), NeighborPort: p.text("neighbor_port"),
		SpeedBPS: p.amount("speed_bps")}
	p.need("neighbor")
	return n, p.err
}

// Usage is what one replica was measured to use on one node.
type Usage struct {
	ID        netmap.ReplicaID
	Node      string
	CPU       float64 // cores, over the last second
	Memory    float64 // bytes, without page cache that can go at once
	Disk      float64 // bytes of volumes and writable layer
	Net       float64 // bytes per second, both directions
	DataBytes float64 // what a move would carry: memory, writable layer, volumes
}

func (Usage) Table() string     { return UsageTable }
func (u Usage) Parts() []string { return []string{u.ID.Service, strconv.Itoa(u.ID.Replica), u.Node} }

func (u Usage) Row() map[string]string {
	return map[string]string{"cpu": number(u.CPU), "memory": number(u.Memory), "disk": number(u.Disk), "net": number(u.Net),
		"data_bytes": number(u.DataBytes)}
}

// ParseUsage reads what Row wrote.
func ParseUsage(key string, row map[string]string) (Usage, error) {
	p := parse(UsageTable, key, 3, row)
	u := Usage{ID: p.replica(), Node: p.part(2), CPU: p.amount("cpu"), Memory: p.amount("memory"), Disk: p.amount("disk"),
		Net: p.amount("net"), DataBytes: p.amount("data_bytes")}
	return u, p.err
}

// Results of a health probe.
const (
	Passed  = "pass"
	Failed  = "fail"    // as many failures in a row as the probe allows
	Unknown = "unknown" // not probed, or neither passed nor failed often enough yet
)

// Health is what the probe of one replica says.
type Health struct {
	ID       netmap.ReplicaID
	Node     string
	Result   string // Passed, Failed, Unknown
	Failures int    // in a row
	Since    time.Time
	Detail   string // of the newest failure, or why there is no probe
}

func (Health) Table() string { return HealthTable }
func (h Health) Parts() []string {
	return []string{h.ID.Service, strconv.Itoa(h.ID.Replica), h.Node}
}

func (h Health) Row() map[string]string {
	return map[string]string{"result": h.Result, "failures": strconv.Itoa(h.Failures), "since": stamp(h.Since), "detail": h.Detail}
}

// ParseHealth reads what Row wrote.
func ParseHealth(key string, row map[string]string) (Health, error) {
	p := parse(HealthTable, key, 3, row)
	h := Health{ID: p.replica(), Node: p.part(2), Result: p.text("result"), Failures: int(p.number32("failures")),
		Since: p.time("since"), Detail: p.text("detail")}
	if h.Result != Passed && h.Result != Failed && h.Result != Unknown {
		p.fail("result", fmt.Errorf("%q: want pass, fail or unknown", h.Result))
	}
	return h, p.err
}

// Seen is one node in the eyes of this one, by this one's monotonic clock.
type Seen struct {
	Node  string
	State netmap.Liveness
	Heard time.Duration // heard_ms: since its newest row came, when this row was written
}

func (Seen) Table() string     { return SeenTable }
func (s Seen) Parts() []string { return []string{s.Node} }

func (s Seen) Row() map[string]string {
	return map[string]string{"state": string(s.State), "heard_ms": millis(s.Heard)}
}

// ParseSeen reads what Row wrote.
func ParseSeen(key string, row map[string]string) (Seen, error) {
	p := parse(SeenTable, key, 1, row)
	s := Seen{Node: p.part(0), State: into(p, "state", p.text("state"), netmap.ParseLiveness), Heard: p.millis("heard_ms")}
	return s, p.err
}

// Blackboard is a behaviour tree's blackboard for people: Service1 = name and needs, Policy1 = where it runs.
type Blackboard struct {
	Tree    string
	Entries map[string]string
}

func (Blackboard) Table() string            { return BlackboardTable }
func (b Blackboard) Parts() []string        { return []string{b.Tree} }
func (b Blackboard) Row() map[string]string { return maps.Clone(b.Entries) }

// ParseBlackboard reads what Row wrote.
func ParseBlackboard(key string, row map[string]string) (Blackboard, error) {
	p := parse(BlackboardTable, key, 1, row)
	return Blackboard{Tree: p.part(0), Entries: maps.Clone(row)}, p.err
}

// Reserved is what the manager's ledger holds on one node for moves and deployments that are decided.
type Reserved struct {
	Node   string
	Kind   netmap.Kind
	Amount float64
}

func (Reserved) Table() string            { return ReservedTable }
func (r Reserved) Parts() []string        { return []string{r.Node, string(r.Kind)} }
func (r Reserved) Row() map[string]string { return map[string]string{"amount": number(r.Amount)} }

// ParseReserved reads what Row wrote.
func ParseReserved(key string, row map[string]string) (Reserved, error) {
	p := parse(ReservedTable, key, 2, row)
	r := Reserved{Node: p.part(0), Kind: netmap.Kind(p.part(1)), Amount: p.amount("amount")}
	p.need("amount")
	return r, p.err
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Scope says whose a row is and how far it travels.
type Scope int

const (
	Local          Scope = iota // stays on this node
	NodeOwned                   // of one node, which the key names; every node has a copy
	ManagerOwned                // of the leading manager; every node has a copy
	SupernodeOwned              // of the supernode of the node that the row names; every node has a copy
)

// nodeOwned gives the place of the node among the parts of a key.
var nodeOwned = map[string]int{NodeTable: 0, AgentTable: 0, ResourceTable: 0, NeighborTable: 0, UsageTable: 2,
	InstanceTable: 2, HealthTable: 2}

var managerOwned = map[string]bool{ServiceTable: true, PolicyTable: true, MigrationTable: true, ManagerTable: true,
	BlackboardTable: true, ReservedTable: true}

var supernodeOwned = map[string]bool{EdgeTable: true, TunnelTable: true}

// ScopeOf tells a key's scope, and its node if it names one.
func ScopeOf(key string) (scope Scope, node string) {
	table, rest, _ := strings.Cut(key, "|")
	switch {
	case managerOwned[table] && rest != "":
		return ManagerOwned, ""
	case supernodeOwned[table] && rest != "":
		return SupernodeOwned, ""
	}
	parts := strings.Split(rest, "|")
	if at, ok := nodeOwned[table]; ok && at < len(parts) && parts[at] != "" {
		return NodeOwned, parts[at]
	}
	return Local, ""
}

// localTables never leave the node.
var localTables = map[string]bool{SeenTable: true, ForwardingTable: true}

// Foreign says that a key is of a table this version does not know, written by a newer one. Such rows are passed on.
func Foreign(key string) bool {
	table, rest, _ := strings.Cut(key, "|")
	_, node := nodeOwned[table]
	return strings.HasPrefix(table, prefix) && rest != "" && !node && !managerOwned[table] && !supernodeOwned[table] && !localTables[table]
}

// OwnPatterns are glob patterns of all keys that programs on one node write and that travel: those the node owns, and
// the manager's and the supernode's, should they be here.
func OwnPatterns(node string) []string {
	var list []string
	for table, at := range nodeOwned {
		tail := strings.Repeat("|*", at) + "|" + escape(node)
		list = append(list, table+tail)
		if table == ResourceTable || table == NeighborTable {
			list[len(list)-1] += "|*"
		}
	}
	for table := range managerOwned {
		list = append(list, table+"|*")
	}
	for table := range supernodeOwned {
		list = append(list, table+"|*")
	}
	return list
}
