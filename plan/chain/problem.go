// Package chain plans chains of virtual network functions (VNFs) with traffic splitting over edge and core clouds: the
// paper's tabu search with a genetic algorithm (TSGA), its two rivals, and a large-neighbourhood search of our own.
//
// It reads a view and a Problem, writes a decision, and is told by the scheduler and its experiments. docs/papers.md
// (P2) says which formula is the paper's and which we had to rebuild.
//
//	request   from ── w ──▶ f1 ── w·r1 ──▶ f2 ── w·r1·r2 ──▶ ... ──▶ to
//	replica   one node for each function of a service; at most I of them, shared by all requests of the service
//	stream    the part of a request that takes one replica; a request's streams carry all of it
//
// Streams are told apart by flow, never by packet: overlays give no protection against reordering.
package chain

import (
	"fmt"
	"slices"

	"sonic-netservices/plan"
)

// Where a function may run: the paper's p.
type Where int8

// Tiers of a function. An access node counts as edge, a central cloud as core.
const (
	Edge Where = -1
	Any  Where = 0
	Core Where = 1
)

// Function is a kind of VNF, a line of the paper's table 1.
type Function struct {
	Name    string
	Ratio   float64 // rate behind it over rate before it (raf)
	PerMbps float64 // computing for one Mbit/s that enters it (uf)
	Reserve float64 // computing of an instance without traffic
	Fixed   float64 // cost of an instance without traffic (delta^o)
	Where   Where
}

// Service is functions in the order of the traffic.
type Service struct {
	Name      string
	Functions []string
}

// Request is the paper's five-tuple: source, destination, service, initial rate, deadline.
type Request struct {
	Name     string
	From, To string
	Service  string
	Rate     float64 // Mbit/s
	Deadline float64 // ms; 0: none
	Served   bool    // already: goes before those that are not, and losing it weighs as much as ten others
}

// Running is a replica that is there already.
type Running struct {
	Service string
	Replica int       // from 0
	Hosts   []string  // one for each function
	Takes   []float64 // computing, one for each function
}

// Problem is services and requests to serve.
type Problem struct {
	Functions []Function
	Services  []Service
	Requests  []Request // in the order of arrival

	// Replicas a service has at most (I). More of them lie nearer to users and share load; each costs its Fixed. 0: 2.
	Replicas int
	// Paths tried between two clouds when the one of least delay has no room. 0: 1.
	Paths int
	// Rejection is the weight of a request that is not served (amod, eq. 17). Below the cost of the dearest request
	// serving it does not pay, and few are served. 0: DefaultRejection.
	Rejection float64
	// Batch: all requests are there at once, so cheap ones may go first and more of them fit. Otherwise who came first
	// is served first.
	Batch bool
	// SteadyDelay: a function takes its node's processing time whatever the load; otherwise that over the idle share of
	// the node (eq. 14).
	SteadyDelay bool

	// Running replicas are where a search begins; Move is what moving one function of them costs, so that they move
	// only for something. What they and their streams take is not among what the view's nodes and links have in use.
	Running []Running
	Move    float64
}

// DefaultRejection is above the cost of any request of the paper's experiment.
const DefaultRejection = 3000

const (
	defaultReplicas = 2
	mostReplicas    = 16
	units           = 10 // a request's traffic is split in tenths (M)
	servedWeight    = 10
)

func (p *Problem) replicas() int {
	if p.Replicas == 0 {
		return defaultReplicas
	}
	return p.Replicas
}

func (p *Problem) rejection() float64 {
	if p.Rejection == 0 {
		return DefaultRejection
	}
	return p.Rejection
}

// Check names the first item that cannot be meant.
func (p *Problem) Check(view *plan.View) error {
	if p.Replicas < 0 || p.Replicas > mostReplicas {
		return fmt.Errorf("chain: replicas: %d is not in 0..%d", p.Replicas, mostReplicas)
	}
	if p.Paths < 0 || !plan.Amount(p.Rejection) || !plan.Amount(p.Move) {
		return fmt.Errorf("chain: paths %d, rejection %v or move %v is not an amount", p.Paths, p.Rejection, p.Move)
	}
	functions := map[string]bool{}
	for _, f := range p.Functions {
		switch {
		case f.Name == "" || functions[f.Name]:
			return fmt.Errorf("chain: function %q has no name, or one that is there twice", f.Name)
		case !plan.Amount(f.Ratio) || !plan.Amount(f.PerMbps) || !plan.Amount(f.Reserve) || !plan.Amount(f.Fixed):
			return fmt.Errorf("chain: function %s: ratio %v, per-Mbps %v, reserve %v or fixed cost %v is not an amount", f.Name, f.Ratio, f.PerMbps, f.Reserve, f.Fixed)
		case f.Where < Edge || f.Where > Core:
			return fmt.Errorf("chain: function %s: no tier %d", f.Name, f.Where)
		}
		functions[f.Name] = true
	}
	length := map[string]int{}
	for _, s := range p.Services {
		if _, twice := length[s.Name]; s.Name == "" || twice {
			return fmt.Errorf("chain: service %q has no name, or one that is there twice", s.Name)
		}
		if len(s.Functions) == 0 {
			return fmt.Errorf("chain: service %s has no functions", s.Name)
		}
		for i, f := range s.Functions {
			if !functions[f] {
				return fmt.Errorf("chain: service %s: no function %q", s.Name, f)
			}
			if slices.Contains(s.Functions[:i], f) {
				return fmt.Errorf("chain: service %s: function %s is there twice: a chain that goes in a circle", s.Name, f)
			}
		}
		length[s.Name] = len(s.Functions)
	}
	if err := p.checkRequests(view, length); err != nil {
		return err
	}
	type replica struct {
		service string
		number  int
	}
	known := map[replica]bool{}
	for _, r := range p.Running {
		n, there := length[r.Service]
		switch {
		case !there:
			return fmt.Errorf("chain: running: no service %q", r.Service)
		case r.Replica < 0 || r.Replica >= p.replicas() || known[replica{r.Service, r.Replica}]:
			return fmt.Errorf("chain: running %s: replica %d is there twice, or not in 0..%d", r.Service, r.Replica, p.replicas()-1)
		case len(r.Hosts) != n || len(r.Takes) != n:
			return fmt.Errorf("chain: running %s/%d: %d hosts that take %d amounts, for %d functions", r.Service, r.Replica, len(r.Hosts), len(r.Takes), n)
		}
		for _, x := range r.Takes {
			if !plan.Amount(x) {
				return fmt.Errorf("chain: running %s/%d: takes: %v is not an amount", r.Service, r.Replica, x)
			}
		}
		for _, h := range r.Hosts {
			if _, ok := view.Index(h); !ok {
				return fmt.Errorf("chain: running %s/%d: no node %q", r.Service, r.Replica, h)
			}
		}
		known[replica{r.Service, r.Replica}] = true
	}
	return nil
}

func (p *Problem) checkRequests(view *plan.View, services map[string]int) error {
	known := map[string]bool{}
	for _, r := range p.Requests {
		if r.Name == "" || known[r.Name] {
			return fmt.Errorf("chain: request %q has no name, or one that is there twice", r.Name)
		}
		known[r.Name] = true
		if _, ok := services[r.Service]; !ok {
			return fmt.Errorf("chain: request %s: no service %q", r.Name, r.Service)
		}
		for _, end := range []string{r.From, r.To} {
			if _, ok := view.Index(end); !ok {
				return fmt.Errorf("chain: request %s: no node %q", r.Name, end)
			}
		}
		if !plan.Amount(r.Rate) || r.Rate == 0 || !plan.Amount(r.Deadline) {
			return fmt.Errorf("chain: request %s: rate %v or deadline %v is not an amount", r.Name, r.Rate, r.Deadline)
		}
	}
	return nil
}
