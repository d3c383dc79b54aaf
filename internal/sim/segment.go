package sim

import (
	"fmt"
	"slices"
	"sync"

	"sonic-netservices/netmap"
)

// condition of one copy of a replica.
//
//	serving: it answers whoever asks the address
//	frozen:  it has stopped for its dump, and may be thawed until its move is committed
//	held:    it was restored from a dump, and answers nobody until that move is committed
type condition string

const (
	serving condition = "serving"
	frozen  condition = "frozen"
	held    condition = "held"
)

// Segment is the service network with the containers on it: what goes on while agents die. After every change it looks
// whether what may never be is: two copies that serve one address, or none left that could.
//
// A copy's state is a number that grows with each request, so that work which is lost or done twice shows.
type Segment struct {
	mu     sync.Mutex
	copies map[netmap.ReplicaID]map[string]*instance // by node
	told   map[netmap.ReplicaID]uint64               // newest number a client has heard
	faults []string
}

type instance struct {
	condition condition
	number    uint64
}

func newSegment() *Segment {
	return &Segment{copies: map[netmap.ReplicaID]map[string]*instance{}, told: map[netmap.ReplicaID]uint64{}}
}

// Request is a client's: it gives the number it was answered with, and false when nobody answers now.
func (s *Segment) Request(id netmap.ReplicaID) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for node, c := range s.copies[id] {
		if c.condition != serving {
			continue
		}
		c.number++
		if want := s.told[id] + 1; c.number != want {
			s.fault("%s on %s answers %d, its clients have heard %d before: work was lost or done twice", id, node, c.number, want-1)
		}
		s.told[id] = c.number
		return c.number, true
	}
	return 0, false
}

// Owner is the node whose copy answers now, "" when none does.
func (s *Segment) Owner(id netmap.ReplicaID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for node, c := range s.copies[id] {
		if c.condition == serving {
			return node
		}
	}
	return ""
}

// Copies lists where a replica is, whatever its condition, sorted.
func (s *Segment) Copies(id netmap.ReplicaID) (nodes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for node := range s.copies[id] {
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	return nodes
}

// Faults are what should never have been, in the order in which it was seen.
func (s *Segment) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.faults)
}

// start runs a new copy.
func (s *Segment) start(id netmap.ReplicaID, node string) {
	s.put(id, node, &instance{condition: serving})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[id] = 0 // a new life of the service
}

// restore runs a copy from a dump. It answers nobody yet.
func (s *Segment) restore(id netmap.ReplicaID, node string, number uint64) {
	s.put(id, node, &instance{condition: held, number: number})
}

func (s *Segment) put(id netmap.ReplicaID, node string, c *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies[id] == nil {
		s.copies[id] = map[string]*instance{}
	}
	s.copies[id][node] = c
	s.look(id)
}

// freeze stops a copy and gives its state.
func (s *Segment) freeze(id netmap.ReplicaID, node string) uint64 {
	return s.turn(id, node, serving, frozen)
}

// thaw lets a frozen copy go on. One that goes on already is left alone.
func (s *Segment) thaw(id netmap.ReplicaID, node string) { s.turn(id, node, frozen, serving) }

// release lets a restored copy answer. One that answers already is left alone.
func (s *Segment) release(id netmap.ReplicaID, node string) { s.turn(id, node, held, serving) }

func (s *Segment) turn(id netmap.ReplicaID, node string, from, to condition) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.copies[id][node]
	switch {
	case c == nil:
		s.fault("%s on %s is to be %s, and there is no copy", id, node, to)
		return 0
	case c.condition == from:
		c.condition = to
	case c.condition != to:
		s.fault("%s on %s is to be %s, and is %s", id, node, to, c.condition)
	}
	s.look(id)
	return c.number
}

// drop ends a copy that another one has replaced, or was to replace. The last one is not dropped but removed.
func (s *Segment) drop(id netmap.ReplicaID, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies[id][node] == nil {
		return
	}
	delete(s.copies[id], node)
	if len(s.copies[id]) == 0 {
		s.fault("%s is lost: its last copy, on %s, was dropped", id, node)
	}
}

// remove ends a copy that nobody wants any more.
func (s *Segment) remove(id netmap.ReplicaID, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.copies[id], node)
}

// look notes more than one owner. The caller holds mu.
func (s *Segment) look(id netmap.ReplicaID) {
	var owners []string
	for node, c := range s.copies[id] {
		if c.condition == serving {
			owners = append(owners, node)
		}
	}
	if len(owners) > 1 {
		slices.Sort(owners)
		s.fault("%s is served by %v at the same time", id, owners)
	}
}

func (s *Segment) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}
