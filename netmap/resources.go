package netmap

import (
	"fmt"
	"time"
)

// Kind names one kind of resource a node has. The set is open: guards, thresholds and formulas go over whatever kinds
// a node shows.
type Kind string

// The kinds every switch reports, with their units.
const (
	Compute    Kind = "compute"    // cores of the services' budget
	Memory     Kind = "memory"     // bytes of the services' budget
	Storage    Kind = "storage"    // bytes where volumes lie
	Forwarding Kind = "forwarding" // entries of the scarcest CRM resource
	Security   Kind = "security"   // flows of the security class, or ACL entries
)

// Resource is one kind on one node. Used / Capacity is the paper's a[i][n].
type Resource struct {
	Kind     Kind
	Capacity float64
	Used     float64
	Unit     string // cores, bytes, entries, flows
	Source   string // where the reading comes from, for people
}

// Utilisation is Used / Capacity; a resource without capacity is full when anything uses it.
func (r Resource) Utilisation() float64 {
	switch {
	case r.Capacity > 0:
		return r.Used / r.Capacity
	case r.Used > 0:
		return 1
	}
	return 0
}

// Liveness of a node in the eyes of the reader, by the reader's own clock.
type Liveness string

const (
	Alive Liveness = "alive"
	Stale Liveness = "stale" // silent for some periods: no target, its own readings decide nothing
	Dead  Liveness = "dead"  // silent for so long that its services count as lost
)

// ParseLiveness reads what resour_DB holds.
func ParseLiveness(s string) (Liveness, error) {
	switch l := Liveness(s); l {
	case Alive, Stale, Dead:
		return l, nil
	}
	return "", fmt.Errorf("liveness %q: want alive, stale or dead", s)
}

// Node is one switch or server of the AS.
type Node struct {
	Name      string
	Address   string // Loopback0
	Tier      string // core, edge, access, cloud
	Liveness  Liveness
	Drained   bool          // an operator keeps services away
	Resources []Resource    // sorted by kind
	Heard     time.Duration // since its newest row, by the reader's monotonic clock
}

// Resource finds a kind.
func (n Node) Resource(k Kind) (Resource, bool) {
	for _, r := range n.Resources {
		if r.Kind == k {
			return r, true
		}
	}
	return Resource{}, false
}

// Link is one direction of a cable between two nodes, as LLDP and the port's speed tell.
type Link struct {
	From, To string
	SpeedBPS float64 // bits per second
}

// Demand is what one replica needs of each kind: the larger of what its spec declares and what was measured.
type Demand map[Kind]float64

// Placed is one replica that runs, or is on its way.
type Placed struct {
	ID        ReplicaID
	Node      string
	State     State
	Demand    Demand
	DataBytes float64 // what a move would carry: memory, writable layer, volumes
}

// Snapshot is the network at one moment. It is never changed: whoever decides may keep it.
type Snapshot struct {
	Nodes    []Node            // sorted by name
	Links    []Link            // sorted by From, To
	Replicas []Placed          // sorted by ID
	Reserved map[string]Demand // by node: held for moves and deployments that are decided but not visible yet
}

// Node finds a node by name.
func (s *Snapshot) Node(name string) (Node, bool) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}
