package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/internal/sim"
	"sonic-netservices/netmap"
)

// The storm: nodes of four cores, of which services take at most what a target is admitted up to.
const (
	stormNodes    = 4
	stormServices = 6
	stormDemand   = 0.9 // cores each
	stormMost     = 2.8 // cores of services on one node: 0.70 of its four
)

// storm is a run of events that chance chooses.
type storm struct {
	*as
	chance *rand.Rand
	ids    []netmap.ReplicaID
	alive  map[string]bool
	loaded string // overloaded last
	began  time.Time
	events []string
}

// TestStorm lets chance overload nodes, drain them, kill agents and bt-manager, and lose or delay orders and answers, and
// looks after every event: one owner, no copy lost, no node with more than fits. When the storm is over every service
// must run once. The same seed brings the same events; how they meet is left to the machine.
func TestStorm(t *testing.T) {
	chance := rng(t)
	var nodes []string
	for n := range stormNodes {
		nodes = append(nodes, fmt.Sprintf("leaf%d", n+1))
	}
	s := &storm{as: newAS(t, nodes...), chance: chance, alive: map[string]bool{}, began: time.Now()}
	for n := range stormServices {
		id := netmap.ReplicaID{Service: fmt.Sprintf("kms%d", n)}
		s.deploy(id.Service, fmt.Sprintf("10.20.0.%d", 10+n), nodes[n%len(nodes)], stormDemand)
		s.clients(id)
		s.ids = append(s.ids, id)
	}
	for _, node := range nodes {
		s.alive[node] = true
	}
	s.weather()
	length := 15 * time.Second
	if *full {
		length = 3 * time.Minute
	}
	for time.Since(s.began) < length && !t.Failed() {
		s.event(nodes[chance.IntN(len(nodes))])
		time.Sleep(time.Duration(chance.IntN(400)) * time.Millisecond)
		s.look()
	}
	s.calm(nodes)
	moved := 0
	for _, m := range s.moves() {
		if m.Outcome == api.Outcome_COMMITTED {
			moved++
		}
	}
	fmt.Printf("%d events in %v, %d lives of bt-manager, %d moves, %d of them committed\n", len(s.events), time.Since(s.began).Round(time.Second), s.lives, len(s.moves()), moved)
	if t.Failed() {
		for _, e := range s.events {
			t.Log(e)
		}
		t.Log(s.tail())
	}
}

// weather loses one in fifty orders and answers, and lets one in five places take its time.
func (s *storm) weather() {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(s.chance.Uint64(), 0))
	s.site.At(func(ctx context.Context, p sim.Point) error {
		mu.Lock()
		lost, slow, wait := dice.IntN(50) == 0, dice.IntN(5) == 0, dice.IntN(300)
		mu.Unlock()
		if lost && (p.Place == sim.Sent || p.Place == sim.Answer) {
			return errors.New("lost")
		}
		if slow {
			select {
			case <-time.After(time.Duration(wait) * time.Millisecond):
			case <-ctx.Done():
			}
		}
		return nil
	})
}

func (s *storm) load(node string, cores float64) {
	if err := s.site.Load(node, cores); err != nil {
		s.Error(err)
	}
}

func (s *storm) note(format string, args ...any) {
	s.events = append(s.events, fmt.Sprintf("%6.2f s  ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

// event lets something happen to a node, or to bt-manager.
func (s *storm) event(node string) {
	switch what := s.chance.IntN(24); {
	case what < 12: // one or two nodes are overloaded at a time, so that there is somewhere to go
		s.note("%s: overloaded", node)
		for name := range s.agents {
			if name != node && name != s.loaded {
				s.load(name, 0)
			}
		}
		s.load(node, 3.3)
		s.loaded = node
	case !s.alive[node] || what < 18 && len(s.dead()) > 0:
		for _, node := range s.dead() {
			s.wake(node)
		}
	case what < 20:
		s.note("%s: its agent is killed", node)
		s.agents[node].Kill()
		s.alive[node] = false
	case what < 23:
		end := s.chance.IntN(3) > 0
		s.note("%s: drained %t", node, !end)
		ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
		_, _ = s.alice.Drain(ctx, &api.DrainRequest{Node: node, End: end}) // bt-manager may be on its way up
		cancel()
	default:
		s.note("bt-manager is killed")
		s.kill()
		s.start()
	}
}

// dead lists the nodes whose agents are.
func (s *storm) dead() (list []string) {
	for _, node := range slices.Sorted(maps.Keys(s.alive)) {
		if !s.alive[node] {
			list = append(list, node)
		}
	}
	return list
}

func (s *storm) wake(node string) {
	s.note("%s: its agent starts", node)
	if err := s.agents[node].Start(); err != nil {
		s.Error(err)
	}
	s.alive[node] = true
}

// look is what must hold at every moment.
func (s *storm) look() {
	for _, f := range s.site.Segment.Faults() {
		s.Error(f)
	}
	for _, id := range s.ids {
		if len(s.site.Segment.Copies(id)) == 0 {
			s.Errorf("%s is nowhere", id)
		}
	}
	for node, agent := range s.agents {
		taken := 0.0
		for range agent.Instances() {
			taken += stormDemand
		}
		if taken > stormMost {
			s.Errorf("%s has %g cores of services, and %g is what fits: %v", node, taken, stormMost, agent.Instances())
		}
	}
}

// calm ends the storm and waits until every service runs once.
func (s *storm) calm(nodes []string) {
	s.note("calm")
	s.site.At(nil)
	for _, node := range nodes {
		if !s.alive[node] {
			s.wake(node)
		}
		s.load(node, 0)
	}
	for _, id := range s.ids {
		why := ""
		s.untilSaid(&why, func() bool {
			owner := s.site.Segment.Owner(id)
			why = s.away(id, owner)
			return owner != "" && why == ""
		})
	}
	s.look()
	begun := map[string]int{}
	for _, p := range s.site.Trace() {
		if p.Place == "prepared" && p.Order == "cutover" {
			begun[p.Op]++
		}
	}
	for _, op := range slices.Sorted(maps.Keys(begun)) {
		if begun[op] > 1 {
			s.Errorf("the cut-over of %s was begun %d times", op, begun[op])
		}
	}
}
