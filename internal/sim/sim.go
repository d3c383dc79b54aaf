// Package sim is the suite in memory: agents that speak the real contract without Docker, CRIU or a switch, so that
// hundreds of moves, deaths and epochs take seconds.
//
// Its agents serve Agent, Peer and Witness over mutual TLS on loopback, join the manager as mig-agent does, and keep the
// commit rule between each other: the source's journal decides. What they do to containers they do to a Segment, which
// is told of every change and notes what should never have been. They read nothing, write the rows of their nodes where
// a Site has a database, and are told by a manager, by each other, and by a test through Site.At.
//
// That they behave as mig-agent does is what internal/sim/contract is for. They are without what only real ones have:
// data to send, leases, rivals, and a helper that settles a move while its agent is dead (its Witness answers all the
// same).
package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// Point is a place in the life of an order.
type Point struct {
	Node  string
	Op    string
	Order string // deploy, remove, transfer, prewarm, cutover, cancel
	Place string // Sent, Answer, or one of Places
}

// Sent is before an order is looked at: who holds it there has it on its way. Answer is before its last event goes out.
const (
	Sent   = "sent"
	Answer = "answer"
)

// Places lists where an order comes by at the agent that carries it out, in this order; Sent and Answer are around them.
func Places(order string) []string {
	switch order {
	case "deploy", "remove":
		return []string{prepared}
	case "transfer":
		return []string{"begun", reserved}
	case "prewarm":
		return []string{"begun", "armed"}
	case "cutover":
		return []string{"begun", prepared, "switched", "frozen", restored, committed, released}
	case "cancel":
		return []string{"begun", "cancelled"}
	}
	return nil
}

// Site is one AS.
type Site struct {
	Segment *Segment

	ca          string
	manager     string // host:port
	managerName string
	db          *resourdb.DB // nil: no rows

	mu       sync.Mutex
	watch    func(context.Context, Point) error
	agents   map[string]*Agent
	capacity map[string]float64 // cores of compute, by node
	load     map[string]float64 // cores that something else than replicas uses
	demand   map[string]float64 // cores of one replica, by service
	trace    []Point
}

// NewSite makes the CA of an AS in dir, which is empty. The manager, whose certificate names managerName, may come later
// at its address. db may be nil.
func NewSite(dir, manager, managerName string, db *resourdb.DB) (*Site, error) {
	if err := pki.Init(filepath.Join(dir, "ca"), "65100"); err != nil {
		return nil, err
	}
	return &Site{Segment: newSegment(), ca: dir, manager: manager, managerName: managerName, db: db,
		agents: map[string]*Agent{}, capacity: map[string]float64{}, load: map[string]float64{}, demand: map[string]float64{}}, nil
}

// At has watch called wherever an order comes by, by the goroutine that carries the order out and waits for it. It may
// hold the order until ctx ends, and let it fail there: at Sent the order is lost, at Answer its answer is. nil: nothing
// happens.
func (s *Site) At(watch func(ctx context.Context, p Point) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = watch
}

// PKI issues a certificate and gives its folder.
func (s *Site) PKI(name string, role pki.Role) (string, error) {
	dir := filepath.Join(s.ca, name+"."+string(role))
	err := pki.Issue(filepath.Join(s.ca, "ca"), dir, name, []pki.Role{role})
	return dir, err
}

// Identity loads it.
func (s *Site) Identity(name string, role pki.Role) (*pki.Identity, error) {
	dir, err := s.PKI(name, role)
	if err != nil {
		return nil, err
	}
	return pki.Load(dir, role)
}

// Demand says what one replica of a service uses.
func (s *Site) Demand(service string, cores float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demand[service] = cores
}

// Load lets something else than replicas use a node, and shows it.
func (s *Site) Load(node string, cores float64) error {
	s.mu.Lock()
	s.load[node] = cores
	s.mu.Unlock()
	return s.show(node)
}

// Trace lists where orders came by, in the order in which they did.
func (s *Site) Trace() []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.trace)
}

// Close ends all nodes.
func (s *Site) Close() {
	s.mu.Lock()
	agents := s.agents
	s.mu.Unlock()
	for _, a := range agents {
		a.Kill()
		a.witness.Stop()
	}
}

// at lets the test do what it wants where an order comes by.
func (s *Site) at(ctx context.Context, p Point) error {
	s.mu.Lock()
	s.trace = append(s.trace, p)
	watch := s.watch
	s.mu.Unlock()
	if watch != nil {
		if err := watch(ctx, p); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// showLimit bounds how long a row may take.
const showLimit = 5 * time.Second

// show writes the rows of a node: what it has, and what is used of it.
func (s *Site) show(node string) error {
	if s.db == nil {
		return nil
	}
	s.mu.Lock()
	a := s.agents[node]
	used := s.load[node]
	capacity := s.capacity[node]
	for _, i := range a.Instances() {
		used += s.demand[i.Service]
	}
	peers := slices.Sorted(maps.Keys(s.agents))
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), showLimit)
	defer cancel()
	rows := []resourdb.Row{
		resourdb.Node{Name: node, Addr: a.address, AS: 65100, Tier: "edge", PushInterval: time.Second, Incarnation: 1, Rev: 1},
		resourdb.Seen{Node: node, State: netmap.Alive},
		resourdb.Resource{Node: node, Resource: netmap.Resource{Kind: netmap.Compute, Capacity: capacity, Used: used, Unit: "cores", Source: "sim"}},
	}
	for _, peer := range peers { // every node is cabled to every other
		if peer != node {
			rows = append(rows, resourdb.Neighbor{Node: node, Port: "to-" + peer, Neighbor: peer, NeighborPort: "to-" + node, SpeedBPS: 1e9})
		}
	}
	var errs []error
	for _, row := range rows {
		errs = append(errs, s.db.Write(ctx, row))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("rows of %s: %w", node, err)
	}
	return nil
}
