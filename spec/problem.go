package spec

import "time"

// Problem is what somebody wants planned: a network, and what is asked of it. Each strategy reads the parts it is about
// and wants them there; the others may be left out.
type Problem struct {
	Network   Network
	Functions []Function     // chain: the VNF catalogue
	Chains    []ChainType    // chain
	Requests  []Request      // chain, scn
	Hops      int            // scn: of a carrying network's links at most; default 4
	Services  []LabelService // labels
	Cloud     CloudPath      // labels
	Pairs     []PairQuality  // relay
	Class     Traffic        // relay: what is sought; default delay
	Move      *Move          // balance
}

// Network is nodes and links.
type Network struct {
	Name   string // of a network that plan/topology knows: then there are no Nodes here
	Source string // where it was published
	Nodes  []NetworkNode
	Links  []NetworkLink
}

// NetworkNode is one place of a network.
type NetworkNode struct {
	Name         string
	Tier         string // core, edge, access, cloud; "" where it does not matter
	X, Y         float64
	Capacity     map[string]float64 // by kind, as a service's demand is written
	Used         map[string]float64
	UnitCost     float64 // of one unit of compute
	Processing   time.Duration
	Capabilities []string
}

// NetworkLink joins two nodes, both directions alike.
type NetworkLink struct {
	A, B      string
	Bandwidth float64 // Mbit/s
	Delay     time.Duration
	UnitCost  float64 // of one Mbit/s
}

// Function is one entry of the VNF catalogue.
type Function struct {
	Name           string
	Ratio          float64 // rate behind it over rate before it; default 1
	ComputePerMbps float64
	Instance       float64 // compute of an instance without traffic
	Where          Where   // default any
}

// Where a function may run.
type Where string

const (
	AnyTier  Where = "any"
	EdgeTier Where = "edge"
	CoreTier Where = "core"
)

// ChainType is a service of functions in order.
type ChainType struct {
	Name      string
	Functions []string
}

// Request is one flow that wants a chain, or atomic capabilities in order.
type Request struct {
	Name     string
	From, To string
	Chain    string        // of Chains; or
	Steps    []RequestStep // capabilities
	Rate     float64       // Mbit/s
	Rates    []float64     // of each piece between steps, where they differ: one more than steps
	Deadline time.Duration // 0: none
}

// RequestStep is one capability of a request.
type RequestStep struct {
	Capability string
	Compute    float64
}

// LabelService is a service whose replicas follow its load, slot by slot.
type LabelService struct {
	Name         string
	LatencyBound time.Duration
	Floor        time.Duration
	RequestSize  int64
	LoadModel    LoadModel
	Memory       int64 // of a replica, bytes
	Load         []SlotLoad
}

// SlotLoad is what comes from the clients near a node: requests a second, slot by slot.
type SlotLoad struct {
	Node  string
	Slots []float64
}

// CloudPath is how the central cloud is reached.
type CloudPath struct {
	Bandwidth float64 // Mbit/s
	RTT       time.Duration
}

// PairQuality is what was measured from one edge to another.
type PairQuality struct {
	From, To  string
	RTT       time.Duration
	Jitter    time.Duration
	Loss      float64 // 0..1
	Bandwidth float64 // Mbit/s
}

// Move is one replica that needs a node.
type Move struct {
	Replica string
	From    string // "": a new one
	Demand  map[string]float64
	Data    int64 // bytes
}
