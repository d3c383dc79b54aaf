// Package netmap holds the nouns of the suite as plain values: nodes, services, replicas and their states.
//
// It reads nothing and writes nothing: no I/O, no clock. Every program and every decision speaks in these values.
package netmap

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// State of one replica on one node. The four states are the paper's (section 2.4, figure 6):
//
//	source:  Running -> Migrating (still serving) ------------------------> Unloaded
//	target:  Unloaded -> Migrating (reserved) -> Ready (armed) -> Running
//
// A target that is Migrating, Ready or Running refuses another copy of the same replica.
type State string

const (
	Unloaded  State = "unloaded"  // 卸载: no instance here
	Migrating State = "migrating" // 迁移: source still serves, target prepares
	Ready     State = "ready"     // 就绪: target can take over with one step
	Running   State = "running"   // 运行: serves
)

// ParseState reads a state as resour_DB spells it.
func ParseState(s string) (State, error) {
	switch st := State(s); st {
	case Unloaded, Migrating, Ready, Running:
		return st, nil
	}
	return "", fmt.Errorf("state %q: want unloaded, migrating, ready or running", s)
}

// Mode is how a replica moves.
type Mode string

const (
	Live Mode = "live" // CRIU under the same address; open connections survive
	Warm Mode = "warm" // second instance, data synchronised, address moves
	Cold Mode = "cold" // stop, copy, start elsewhere
)

// ParseMode reads a mode as people write it.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case Live, Warm, Cold:
		return m, nil
	}
	return "", fmt.Errorf("mode %q: want live, warm or cold", s)
}

// ReplicaID names one replica of one service, for example kms-0. It is also the name of its container.
type ReplicaID struct {
	Service string
	Replica int
}

func (r ReplicaID) String() string { return r.Service + "-" + strconv.Itoa(r.Replica) }

// Compare orders replicas by service, then by number.
func (r ReplicaID) Compare(o ReplicaID) int {
	return cmp.Or(strings.Compare(r.Service, o.Service), cmp.Compare(r.Replica, o.Replica))
}

// Holder is the name of the container that owns the replica's network namespace and address.
func (r ReplicaID) Holder() string { return r.String() + ".net" }

// ParseReplicaID reads what String wrote.
func ParseReplicaID(s string) (ReplicaID, error) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return ReplicaID{}, fmt.Errorf("replica %q: want SERVICE-NUMBER", s)
	}
	n, err := strconv.Atoi(s[i+1:])
	if err != nil || n < 0 {
		return ReplicaID{}, fmt.Errorf("replica %q: %q is not a replica number", s, s[i+1:])
	}
	return ReplicaID{s[:i], n}, nil
}

// Ports of the suite, all on the node's Loopback0 but for metrics. The table for people is in docs/architecture.md.
const (
	ManagerPort = 7301  // bt-manager: Manager (gRPC)
	AgentPort   = 7302  // mig-agent: Agent, Peer, Witness (gRPC)
	HelperPort  = 7303  // mig-agent's helper: Witness (gRPC)
	SyncPort    = 7304  // resource-sync: ResourceSync (gRPC)
	LanePort    = 7305  // mig-agent: memory of services that move (TLS)
	MetricsPort = 7306  // bt-manager: Prometheus metrics (HTTP), on 127.0.0.1 only
	OverlayPort = 7307  // n2n-supernode: Overlay (gRPC)
	JournalPort = 7309  // bt-manager: journal, between managers (TLS)
	VXLANPort   = 14789 // service segment (UDP); not 4789, which is the ASIC's VTEP
)

// OverlayMetricsPort is where n2n-supernode has its metrics, on the loopback address.
const OverlayMetricsPort = 7308

// EdgeMetricsPort is where n2n-edge has its metrics, on the loopback address.
const EdgeMetricsPort = 7310

// Folders on the switch, outside containers. /host survives an upgrade of the SONiC image.
const (
	HostDir    = "/host/netservices"
	PKIDir     = HostDir + "/pki"       // ca.crt, <role>.crt, <role>.key
	VolumesDir = HostDir + "/volumes"   // <replica>/<volume>/
	AgentDir   = HostDir + "/mig-agent" // journal/, bin/mig-runc, work/ (tmpfs), helper.sock
	ManagerDir = HostDir + "/bt-manager"

	SupernodeDir = HostDir + "/n2n-supernode" // state.json
	EdgeDir      = HostDir + "/n2n-edge"      // <device>.json
)
