// Package spec is the language of the files people write, in YAML: a service, a problem for a strategy of plan, a
// network.
//
// It reads the text of a file, writes the same text back in one normal form, and is told by nobody: no I/O, no clock.
// Parsing is strict. Everything wrong with a file is reported at once, each with its place and field:
//
//	kms.yaml:7:3: demand.memory: -64Mi is negative
//	kms.yaml:12:1: migraton: unknown field; did you mean migration?
//
// A field that is written must mean something, so nothing is ignored; what one version of the manager cannot honour, the
// manager refuses.
package spec

import (
	"net/netip"
	"time"

	"sonic-netservices/netmap"
)

// Service is what an operator wants to run. Defaults are filled in by Parse.
type Service struct {
	Name     string
	Image    string // name:tag, or sha256:<image id>
	Command  []string
	Replicas int          // PerNode: one on every node
	Address  netip.Prefix // of replica 0 in the service segment, IPv4; replica n has the n-th address after it

	Addresses []netip.Prefix // further ones of replica 0, IPv4 or IPv6; counted on for others in the same way
	Ports     []Port         // published on the node that serves

	Demand map[string]float64 // by kind: compute in cores, memory and storage in bytes, others in the unit of the kind
	Limits Limits

	Volumes     []Volume
	Environment map[string]string
	Secrets     map[string]Secret // never in resour_DB, never logged

	Migration  netmap.Mode // default live
	Strategy   Strategy    // who places it; default balance
	Traffic    Traffic     // its business type; default delay
	OnLostNode OnLostNode  // default wait

	// Inputs of strategy labels; zero where not given.
	LatencyBound time.Duration // an answer later than this is a violation
	Floor        time.Duration // no amount of resources answers faster than this
	RequestSize  int64         // bytes on the wire for one request
	LoadModel    LoadModel

	Probe       *Probe // nil: a running process is a healthy one
	WarmUp      WarmUp
	Constraints Constraints
}

// PerNode as the number of replicas stands for one replica on every node.
const PerNode = -1

// Limits of one replica; zero = only the node's budget limits.
type Limits struct {
	CPU    float64 // cores
	Memory int64   // bytes
	PIDs   int64
}

// Volume is a folder that belongs to one replica and moves with it.
type Volume struct {
	Name   string
	Target string // absolute path in the container
}

// Port is published: what reaches the node's own address at port Node reaches the replica at port Container.
type Port struct {
	Node      int
	Container int
	Protocol  Protocol // default tcp
}

// Protocol of a published port.
type Protocol string

const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Secret is given to the container as an environment variable. Exactly one field is set.
type Secret struct {
	Value string
	File  string // on the operator's machine: nsctl reads it
}

// Strategy names who places a service.
type Strategy string

const (
	Balance Strategy = "balance" // by load of the nodes
	Labels  Strategy = "labels"  // dual-label redeployment per time slot
	Chain   Strategy = "chain"   // as part of a VNF chain
	SCN     Strategy = "scn"     // as part of a service carrying network
)

// Traffic is the business type: what the tunnels between a service's ends are chosen by.
type Traffic string

const (
	Delay     Traffic = "delay"
	Bandwidth Traffic = "bandwidth"
)

// OnLostNode says what happens to a replica whose node is gone.
type OnLostNode string

const (
	Wait     OnLostNode = "wait"     // until the node returns
	Redeploy OnLostNode = "redeploy" // elsewhere, without the state that was on the node
)

// LoadModel maps load to computing time. At most one field is set.
type LoadModel struct {
	Linear time.Duration // of one core for one request
	Queue  float64       // requests a second that one core serves
}

// Probe says how to see that a replica serves. Exactly one of TCP, HTTP, Exec is set.
type Probe struct {
	TCP      string // ":8080"
	HTTP     string // ":8080/healthz"
	Exec     []string
	Interval time.Duration // default 1 s
	Timeout  time.Duration // default 1 s
	Failures int           // in a row that make it unhealthy; default 3
}

// WarmUp says when a second instance (migration warm) is warm: the last delta was small and the probe passes.
type WarmUp struct {
	Delta   int64         // bytes; default 64Ki
	Timeout time.Duration // then the move is taken back; default 1 m
}

// Constraints narrow where replicas may be placed.
type Constraints struct {
	Pin    []string // only on these nodes
	Avoid  []string // never on these nodes
	Spread bool     // no two replicas of the service on one node
}

// ReplicaAddress gives the address of replica n; ok is false when the prefix has none left.
func (s *Service) ReplicaAddress(n int) (netip.Prefix, bool) { return following(s.Address, n) }

// ReplicaAddresses gives the further addresses of replica n; ok is false when a prefix has none left.
func (s *Service) ReplicaAddresses(n int) (list []netip.Prefix, ok bool) {
	for _, first := range s.Addresses {
		address, ok := following(first, n)
		if !ok {
			return nil, false
		}
		list = append(list, address)
	}
	return list, true
}

// following gives the n-th address after p.
func following(p netip.Prefix, n int) (netip.Prefix, bool) {
	addr := p.Addr()
	for range n {
		addr = addr.Next()
	}
	address := netip.PrefixFrom(addr, p.Bits())
	return address, usable(address)
}

// usable says whether an address can be a host's: inside its prefix, neither the network's own nor, in IPv4, the
// broadcast address.
func usable(p netip.Prefix) bool {
	addr := p.Addr()
	if !addr.IsValid() || addr.Is4In6() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || addr.Zone() != "" ||
		p.Bits() > addr.BitLen()-2 || p.Masked().Addr() == addr {
		return false
	}
	next := addr.Next()
	return addr.Is6() || next.IsValid() && p.Contains(next)
}
