// Package labels deploys the replicas of latency-bound services anew in every slot of time, by two labels: how a service's
// load changes, and whether it is sensitive to delay (the dual-label patent).
//
// It reads a plan.View, services with their load and the state of the slot before, writes the state of the slot, and is
// told by the scheduler: no I/O, no clock. Times are in ms, loads in requests a second, computing in cores.
package labels

import (
	"fmt"
	"math"

	"sonic-netservices/netmap"
	"sonic-netservices/plan"
	"sonic-netservices/plan/graph"
)

// Service is what is deployed.
type Service struct {
	Name   string
	Bound  float64 // UL: an answer later than this is a violation
	Floor  float64 // dl: no amount of computing answers faster
	Bits   float64 // da: of one request on the wire
	Alpha  float64 // linear model: ms that one core takes for a load of one request a second; or
	Mu     float64 // queue model: requests a second that one core serves
	Memory float64 // of a replica, bytes
}

// Time is CTM: what a load takes at a replica with so much computing (claim 9, reconstructed: docs/papers.md).
func (s Service) Time(k, load, cpu float64) float64 {
	switch {
	case load <= 0:
		return s.Floor
	case cpu <= 0:
		return math.Inf(1)
	case s.Mu > 0:
		if s.Mu*cpu <= load {
			return math.Inf(1)
		}
		return max(s.Floor, k*1000/(s.Mu*cpu-load))
	}
	return max(s.Floor, k*s.Alpha*load/cpu)
}

// Size is the inverse: the least computing that answers a load within the budget; false when none does.
func (s Service) Size(k, load, budget float64) (cpu float64, ok bool) {
	if budget < s.Floor || budget <= 0 {
		return 0, false
	}
	if s.Mu > 0 {
		return (load + k*1000/budget) / s.Mu, true
	}
	return k * s.Alpha * load / budget, true
}

// Params are the numbers that the patent leaves open.
type Params struct {
	Sensitive float64    // v: services with a bound below it are highly sensitive; default 20 ms
	Gradient  float64    // k: a load that changes by more than this part is falling or rising; default 0.2
	KSens     [2]float64 // weight of computing time: of high, of low sensitivity; default 1, 1
	KeepAlive int        // slots that a replica without load stays, where there is room; default 2
	Warm      float64    // computing of such a replica, cores; default 0.05
	Unlabeled bool       // all services in one set, by load: what the labels are held against
}

// Defaults are the product's.
func Defaults() Params {
	return Params{Sensitive: 20, Gradient: 0.2, KSens: [2]float64{1, 1}, KeepAlive: 2, Warm: 0.05}
}

// Check names the first field whose value cannot be meant.
func (p Params) Check() error {
	switch {
	case !plan.Amount(p.Sensitive) || !plan.Amount(p.Gradient) || !plan.Amount(p.Warm):
		return fmt.Errorf("sensitive %v, gradient %v or warm %v is not an amount", p.Sensitive, p.Gradient, p.Warm)
	case !(p.KSens[0] > 0 && p.KSens[1] > 0):
		return fmt.Errorf("k_sens: %v: want more than 0", p.KSens)
	case p.KeepAlive < 0:
		return fmt.Errorf("keep_alive: %d is negative", p.KeepAlive)
	}
	return nil
}

// Cloud is how the central cloud is reached from anywhere. It has room for everything.
type Cloud struct {
	Mbps float64
	RTT  float64 // ms
}

// Time of a request that the cloud answers.
func (c Cloud) Time(s Service) float64 { return s.Bits/(1000*c.Mbps) + c.RTT/2 }

// At says that the cloud serves.
const At = int32(-1)

// Network is what decisions need of a view: room by node, and what a request takes from node to node.
type Network struct {
	CPU, Memory []float64 // capacity by node, less what others use
	Cloud       Cloud

	ways []way // of least delay, by from * n + to
}

// way is what a request takes from node to node.
type way struct{ delay, perBit float64 } // ms

// NewNetwork measures all pairs of a view.
func NewNetwork(view *plan.View, cloud Cloud) *Network {
	n := len(view.Nodes)
	net := &Network{Cloud: cloud, ways: make([]way, n*n)}
	for _, node := range view.Nodes {
		net.CPU = append(net.CPU, node.Free(netmap.Compute))
		net.Memory = append(net.Memory, node.Free(netmap.Memory))
	}
	weight := make([]float64, len(view.Links))
	for i, l := range view.Links {
		weight[i] = l.Delay
		if l.Bandwidth <= 0 {
			weight[i] = math.Inf(1)
		}
	}
	var s graph.Search
	for from := range n {
		s.Dijkstra(view.Graph(), weight, int32(from), -1)
		for to := range n {
			path, ok := s.Path(view.Graph(), int32(to))
			if !ok {
				net.ways[from*n+to].delay = math.Inf(1)
				continue
			}
			narrowest := math.Inf(1)
			for _, l := range path.Links {
				narrowest = min(narrowest, view.Links[l].Bandwidth)
			}
			net.ways[from*n+to] = way{path.Length, 1 / (1000 * narrowest)}
		}
	}
	return net
}

// IT is what a request from near one node takes to another (claim 2, reconstructed as a sum).
func (net *Network) IT(s Service, from, to int32) float64 {
	w := net.ways[int(from)*len(net.CPU)+int(to)]
	return s.Bits*w.perBit + w.delay
}

// State is zeta(t): load, allocation, who serves and in what time. What is 0 is not in it: in a large network a service has
// few clients and fewer replicas.
type State struct {
	Slot     int
	Services []Deployed // as in the problem
}

// Deployed is a service in a slot.
type Deployed struct {
	Clients  []Clients // by node
	Replicas []Replica // by node
}

// Clients are those near a node, where there is load.
type Clients struct {
	Node   int32
	Server int32   // node that serves them; At: the cloud
	Load   float64 // l
	Time   float64 // y
}

// Replica is a service's on a node: x = 1.
type Replica struct {
	Node int32
	Idle int32   // slots that it has had no load
	CPU  float64 // pi
}

// Load of a service in all.
func (d Deployed) Load() (total float64) {
	for _, c := range d.Clients {
		total += c.Load
	}
	return total
}

// Label of a service in a slot.
type Label struct {
	Sigma float64 // change of its load, as a part
	Loa   int     // -1 falling, 0, +1 rising
	Sens  int     // 0 high, 1 low
	Load  float64 // in all
}

// Set is the place of a label in the order SLR, SHR, SHM, SHA, SLM, SLA.
func (l Label) Set() int {
	if l.Sens == 0 {
		return 2 + l.Loa
	}
	return [...]int{0, 4, 5}[l.Loa+1]
}

// SetNames are the sets, in their order.
var SetNames = [...]string{"SLR", "SHR", "SHM", "SHA", "SLM", "SLA"}

// LabelOf a service, by its load in all of this slot and of the one before.
func LabelOf(s Service, now, before float64, p Params) Label {
	l := Label{Sens: s.sensitivity(p), Load: now}
	switch change := now - before; {
	case change == 0:
	case before == 0:
		l.Sigma = math.Inf(1)
	default:
		l.Sigma = change / before
	}
	switch {
	case l.Sigma < -p.Gradient:
		l.Loa = -1
	case l.Sigma > p.Gradient:
		l.Loa = 1
	}
	return l
}

// sensitivity is 0 for high, 1 for low.
func (s Service) sensitivity(p Params) int {
	if s.Bound < p.Sensitive {
		return 0
	}
	return 1
}
