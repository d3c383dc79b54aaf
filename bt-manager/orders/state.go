// Package orders is the manager's core: which services are wanted, where their replicas are, and the one operation at a
// time that changes this.
//
// It reads the journal at start and what agents answer, writes the journal and sends orders to agents, and is told by
// bt-manager/serve what operators want.
//
// State decides and does nothing else: a command or an answer goes in, records come out (Deploy, Migrate, Remove,
// Report); records change the state (Apply); the state says what an operation needs next (Next). Manager stores the
// records before they count, talks to the agents, and so can be killed at any moment: what is in flight follows from
// the journal. An order without an answer is never taken back blindly: the agent is asked until it tells the outcome.
package orders

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// kept bounds the operations remembered after their end.
const kept = 1000

// State is everything the journal says. It has no lock and no clock.
type State struct {
	Cluster  Cluster
	Epoch    uint64
	Members  map[string]Member // by node
	Images   map[string]Image  // by name:tag
	Services map[string]*Service
	Drained  map[string]bool        // nodes that services are to stay away from
	Rests    map[string]decide.Rest // by replica or service: what failed and is not tried again yet
	Ops      map[string]*Op         // in flight, by ID
	Done     []Past                 // oldest first
	Index    int                    // newest number given to a service
	Runs     map[string]bt.Snapshot // where the trees are, by replica, "" = intake
	Files    []trees.File           // of trees, newest last
	Holds    map[string]decide.Hold // what operators have told trees
}

// Service is a desired service and where its replicas are.
type Service struct {
	Spec     *spec.Service
	ImageID  string
	Lasts    bool              // Desire.Lasts
	Index    int               // of ServiceN and PolicyN; 0 = not admitted yet
	Replicas map[int]Placement // those that are placed
}

// Placement is where a replica is since when and why.
type Placement struct {
	Node   string    `json:"node"`
	Reason string    `json:"reason"`
	Op     string    `json:"op"` // that brought it there
	Since  time.Time `json:"since"`
}

// Past is an operation that ended.
type Past struct {
	Op  `json:"op"`
	End `json:"end"`
	At  time.Time `json:"at"`
}

// NewState is what an empty journal says.
func NewState() *State {
	return &State{Members: map[string]Member{}, Images: map[string]Image{}, Services: map[string]*Service{},
		Drained: map[string]bool{}, Rests: map[string]decide.Rest{}, Ops: map[string]*Op{},
		Runs: map[string]bt.Snapshot{}, Holds: map[string]decide.Hold{}}
}

// Apply changes the state by one record. Only a record that Deploy, Migrate, Remove or Report did not make can fail.
func (s *State) Apply(r Record) error {
	switch r.Kind {
	case Founded:
		s.Cluster = *r.Cluster
	case Started:
		s.Epoch = r.Epoch
		for _, op := range s.Ops {
			// Whatever was in flight, its answer went to the manager that led before; a move that rests goes on resting
			// until a tree takes it up.
			op.Lost = op.Step != StepReach && !op.Step.rests()
		}
	case Joined:
		s.Members[r.Member.Node] = *r.Member
	case Loaded:
		s.Images[r.Image.Name] = *r.Image
	case Desired:
		wanted, err := spec.Parse("journal", []byte(r.Desire.Spec))
		if err != nil {
			return fmt.Errorf("desired service: %w", err)
		}
		s.Services[wanted.Name] = &Service{Spec: wanted, ImageID: r.Desire.ImageID, Lasts: r.Desire.Lasts, Replicas: map[int]Placement{}}
	case Admitted:
		service := s.Services[r.ID]
		if service == nil {
			return fmt.Errorf("service %s is admitted and not desired", r.ID)
		}
		service.Index, s.Index = r.Index, max(s.Index, r.Index)
	case Forgotten:
		s.drop(r.ID)
	case Rested:
		delete(s.Rests, r.ID)
		if r.Rest != nil {
			s.Rests[r.ID] = *r.Rest
		}
	case Drained:
		delete(s.Drained, r.Node)
		if r.Drain {
			s.Drained[r.Node] = true
		}
	case Begun:
		op := *r.Op
		if s.Services[op.Replica.Service] == nil {
			return fmt.Errorf("operation %s is on %s, which is not desired", op.ID, op.Replica)
		}
		s.Ops[op.ID] = &op
	case Stepped, Lost, Ended:
		op, ok := s.Ops[r.ID]
		if !ok {
			return fmt.Errorf("record %s: no operation %s in flight", r.Kind, r.ID)
		}
		s.applyTo(op, r)
	case Ran:
		s.applyRun(r)
	case Told:
		s.applyHold(r)
	case Planted:
		s.applyFile(*r.File)
	case Summed:
		return s.applySum(r.Sum)
	}
	return nil
}

func (s *State) applyTo(op *Op, r Record) {
	switch r.Kind {
	case Lost:
		op.Lost = true
		if r.Problem != "" {
			op.Problem = r.Problem
		}
	case Stepped:
		if r.Step != op.Step {
			op.Sent = 0
		}
		op.Lost, op.Step, op.Sent = false, r.Step, op.Sent+1
		if r.Problem != "" {
			op.Problem = r.Problem
		}
		if r.Node != "" && r.Node != op.Node {
			op.Node = r.Node
			op.Candidates = op.Candidates[slices.Index(op.Candidates, r.Node)+1:]
		}
	case Ended:
		delete(s.Ops, op.ID)
		s.Done = append(s.Done, Past{*op, *r.End, r.At})
		if len(s.Done) > kept {
			s.Done = slices.Delete(s.Done, 0, len(s.Done)-kept)
		}
		if r.End.Outcome == Committed {
			s.place(op, r.At)
		}
		s.forget(op.Replica.Service)
	}
}

// place notes what a committed operation changed.
func (s *State) place(op *Op, at time.Time) {
	replicas := s.Services[op.Replica.Service].Replicas
	switch op.Verb {
	case Deploy:
		replicas[op.Replica.Replica] = Placement{op.Node, op.Reason, op.ID, at}
	case Move:
		replicas[op.Replica.Replica] = Placement{op.To, op.Reason, op.ID, at}
	case Remove:
		delete(replicas, op.Replica.Replica)
	}
}

// forget drops a service that has no replica, nor one on its way.
func (s *State) forget(service string) {
	if len(s.Services[service].Replicas) > 0 || s.Services[service].Lasts && !s.removed(service) {
		return
	}
	for _, op := range s.Ops {
		if op.Replica.Service == service {
			return
		}
	}
	s.drop(service)
}

// drop forgets a service and its failures.
func (s *State) drop(service string) {
	delete(s.Services, service)
	maps.DeleteFunc(s.Rests, func(key string, _ decide.Rest) bool {
		id, err := netmap.ParseReplicaID(key)
		return key == service || err == nil && id.Service == service
	})
}

// removed says that an operator has ended a service: its newest operation that ended well is a removal.
func (s *State) removed(service string) bool {
	for _, past := range slices.Backward(s.Done) {
		if past.Replica.Service == service && past.Outcome == Committed && past.Verb != Evict {
			return past.Verb == Remove
		}
	}
	return false
}

// InFlight gives the operation on a replica.
func (s *State) InFlight(id netmap.ReplicaID) (*Op, bool) {
	for _, op := range s.Ops {
		if op.Replica == id {
			return op, true
		}
	}
	return nil, false
}

// busy gives the first operation on any replica of a service.
func (s *State) busy(service string) (*Op, bool) {
	for _, id := range slices.Sorted(maps.Keys(s.Ops)) {
		if op := s.Ops[id]; op.Replica.Service == service {
			return op, true
		}
	}
	return nil, false
}

// Past finds an operation that ended.
func (s *State) Past(id string) (Past, bool) {
	for i := len(s.Done) - 1; i >= 0; i-- {
		if s.Done[i].ID == id {
			return s.Done[i], true
		}
	}
	return Past{}, false
}
