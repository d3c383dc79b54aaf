package orders

import (
	"fmt"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/spec"
)

// Sum is a whole state as one record, so that the journal need not grow for ever.
type Sum struct {
	Cluster  *Cluster               `json:"cluster,omitempty"`
	Epoch    uint64                 `json:"epoch"`
	Members  map[string]Member      `json:"members"`
	Images   map[string]Image       `json:"images"`
	Services map[string]ServiceSum  `json:"services"`
	Drained  map[string]bool        `json:"drained,omitempty"`
	Index    int                    `json:"index,omitempty"`
	Rests    map[string]decide.Rest `json:"rests,omitempty"`
	Ops      map[string]*Op         `json:"ops"`
	Done     []Past                 `json:"done"`
	Runs     map[string]bt.Snapshot `json:"runs,omitempty"`
	Files    []trees.File           `json:"files,omitempty"`
	Holds    map[string]decide.Hold `json:"holds,omitempty"`
}

// ServiceSum is a Service with its spec as text.
type ServiceSum struct {
	Desire
	Index    int               `json:"index,omitempty"`
	Replicas map[int]Placement `json:"replicas"`
}

// sum gives the record that says what all records so far say.
func (s *State) sum() (*Sum, error) {
	sum := &Sum{Epoch: s.Epoch, Members: s.Members, Images: s.Images, Services: map[string]ServiceSum{},
		Drained: s.Drained, Index: s.Index, Rests: s.Rests, Ops: s.Ops, Done: s.Done, Runs: s.Runs, Files: s.Files, Holds: s.Holds}
	if s.Cluster.ID != "" {
		sum.Cluster = &s.Cluster
	}
	for name, service := range s.Services {
		text, err := spec.Print(service.Spec)
		if err != nil {
			return nil, err
		}
		sum.Services[name] = ServiceSum{Desire{string(text), service.ImageID, service.Lasts}, service.Index, service.Replicas}
	}
	return sum, nil
}

// applySum makes the state what the sum says.
func (s *State) applySum(sum *Sum) error {
	*s = *NewState()
	s.Epoch, s.Done, s.Index = sum.Epoch, sum.Done, sum.Index
	if sum.Cluster != nil {
		s.Cluster = *sum.Cluster
	}
	for node := range sum.Drained {
		s.Drained[node] = true
	}
	for key, rest := range sum.Rests {
		s.Rests[key] = rest
	}
	for node, member := range sum.Members {
		s.Members[node] = member
	}
	for name, image := range sum.Images {
		s.Images[name] = image
	}
	for name, service := range sum.Services {
		wanted, err := spec.Parse("journal", []byte(service.Spec))
		if err != nil {
			return fmt.Errorf("desired service: %w", err)
		}
		replicas := map[int]Placement{}
		for n, at := range service.Replicas {
			replicas[n] = at
		}
		s.Services[name] = &Service{Spec: wanted, ImageID: service.ImageID, Lasts: service.Lasts, Index: service.Index, Replicas: replicas}
	}
	for id, op := range sum.Ops {
		if op == nil || s.Services[op.Replica.Service] == nil {
			return fmt.Errorf("operation %s is on nothing that is desired", id)
		}
		s.Ops[id] = op
	}
	return s.applyRuns(sum)
}
