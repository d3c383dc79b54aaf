// Package ledger keeps what is promised on nodes but not yet to be seen in their readings, so that two decisions never
// sell the same resource.
//
// It is a value machine: it reads commands and the time they come with, writes Records, and is told by bt-manager,
// whose journal keeps the records. A command changes nothing; its record does, by Apply, at once or after a restart.
//
//	          Hold                Commit                    Release
//	(nothing) ----> held until D ---------> committed -----------------> (nothing)
//	                  |  Release, or Expire after D                         ^
//	                  +-----------------------------------------------------+
//
// A hold lasts until its deadline: a decision that never gets going frees what it took. A committed one lasts until the
// replica shows in the readings of its node, or its move is taken back; then it is released.
package ledger

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"sonic-netservices/netmap"
)

// Errors a caller branches on.
var (
	ErrTaken   = errors.New("id is taken by another hold")
	ErrUnknown = errors.New("no such hold")
	ErrExpired = errors.New("hold has expired")
)

// Hold is an amount promised on a node.
type Hold struct {
	ID        string        `json:"id"` // of the operation it is for
	Node      string        `json:"node"`
	Demand    netmap.Demand `json:"demand"`
	Deadline  time.Time     `json:"deadline,omitzero"` // first moment it is void; zero when committed
	Committed bool          `json:"committed,omitempty"`
}

// What happened to a hold.
type What string

const (
	Held      What = "held"
	Committed What = "committed"
	Released  What = "released"
	Expired   What = "expired"
)

// Record is one change of the ledger. Hold belongs to Held.
type Record struct {
	What What   `json:"what"`
	ID   string `json:"id"`
	Hold *Hold  `json:"hold,omitempty"`
}

// Ledger is all holds. The zero value is empty and ready.
type Ledger struct {
	holds map[string]Hold
}

// Hold promises demand on a node until the deadline. To repeat a hold that stands gives no record and no error.
func (l *Ledger) Hold(id, node string, demand netmap.Demand, deadline, now time.Time) ([]Record, error) {
	h := Hold{ID: id, Node: node, Demand: maps.Clone(demand), Deadline: deadline}
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	if !deadline.After(now) {
		return nil, fmt.Errorf("hold %s: deadline: %v is not after %v", id, deadline, now)
	}
	if old, ok := l.holds[id]; ok {
		switch {
		case old.Node != node || !maps.Equal(old.Demand, demand):
			return nil, fmt.Errorf("hold %s on %s: %w: on %s", id, node, ErrTaken, old.Node)
		case old.void(now):
			return nil, fmt.Errorf("hold %s: %w at %v", id, ErrExpired, old.Deadline)
		}
		return nil, nil
	}
	return []Record{{What: Held, ID: id, Hold: &h}}, nil
}

// Commit takes the deadline off a hold. To repeat it gives no record and no error.
func (l *Ledger) Commit(id string, now time.Time) ([]Record, error) {
	h, ok := l.holds[id]
	switch {
	case !ok:
		return nil, fmt.Errorf("commit %s: %w", id, ErrUnknown)
	case h.Committed:
		return nil, nil
	case h.void(now):
		return nil, fmt.Errorf("commit %s: %w at %v", id, ErrExpired, h.Deadline)
	}
	return []Record{{What: Committed, ID: id}}, nil
}

// Release ends a hold, committed or not. What is not held needs no release: no record.
func (l *Ledger) Release(id string) []Record {
	if _, ok := l.holds[id]; !ok {
		return nil
	}
	return []Record{{What: Released, ID: id}}
}

// Expire ends every hold whose deadline has come, in the order of their ids.
func (l *Ledger) Expire(now time.Time) (records []Record) {
	for _, h := range l.Holds() {
		if h.void(now) {
			records = append(records, Record{What: Expired, ID: h.ID})
		}
	}
	return records
}

// Apply carries a record out. It fails only on a record that no command on this ledger gave: a damaged journal.
func (l *Ledger) Apply(r Record) error {
	h, ok := l.holds[r.ID]
	switch r.What {
	case Held:
		if r.Hold == nil || r.Hold.ID != r.ID {
			return fmt.Errorf("ledger: record %s %s lacks its hold", r.What, r.ID)
		}
		if err := r.Hold.check(); err != nil {
			return fmt.Errorf("ledger: record %s: %w", r.What, err)
		}
		if ok {
			return fmt.Errorf("ledger: record %s %s: %w", r.What, r.ID, ErrTaken)
		}
		if l.holds == nil {
			l.holds = map[string]Hold{}
		}
		h = *r.Hold
		h.Demand = maps.Clone(h.Demand)
		l.holds[r.ID] = h
		return nil
	case Committed, Released, Expired:
		if !ok {
			return fmt.Errorf("ledger: record %s %s: %w", r.What, r.ID, ErrUnknown)
		}
	default:
		return fmt.Errorf("ledger: record %q: want held, committed, released or expired", r.What)
	}
	switch {
	case r.What == Committed:
		h.Committed, h.Deadline = true, time.Time{}
		l.holds[r.ID] = h
	case r.What == Expired && h.Committed:
		return fmt.Errorf("ledger: record %s %s: it is committed", r.What, r.ID)
	default:
		delete(l.holds, r.ID)
	}
	return nil
}

func (h Hold) void(now time.Time) bool { return !h.Committed && !h.Deadline.After(now) }

func (h Hold) check() error {
	if h.ID == "" {
		return errors.New("id is empty")
	}
	if h.Node == "" {
		return fmt.Errorf("%s: node is empty", h.ID)
	}
	for _, k := range slices.Sorted(maps.Keys(h.Demand)) {
		if x := h.Demand[k]; !(x >= 0) || math.IsInf(x, 0) {
			return fmt.Errorf("%s: demand.%s: %v is not an amount", h.ID, k, x)
		}
	}
	if h.Committed != h.Deadline.IsZero() {
		return fmt.Errorf("%s: a hold has a deadline until it is committed", h.ID)
	}
	return nil
}

// Get finds a hold.
func (l *Ledger) Get(id string) (Hold, bool) {
	h, ok := l.holds[id]
	h.Demand = maps.Clone(h.Demand)
	return h, ok
}

// Holds are all holds by id.
func (l *Ledger) Holds() []Hold {
	list := make([]Hold, 0, len(l.holds))
	for _, id := range slices.Sorted(maps.Keys(l.holds)) {
		h, _ := l.Get(id)
		list = append(list, h)
	}
	return list
}

// Sum gives records that make an empty ledger equal to this one.
func (l *Ledger) Sum() (records []Record) {
	for _, h := range l.Holds() {
		records = append(records, Record{What: Held, ID: h.ID, Hold: &h})
	}
	return records
}

// Reserved adds up what is held by node, as a Snapshot wants it. Except names operations that do not count: a
// replica that is placed anew does not stand in its own way. The sum is taken over the ids in order, so it is the same
// to the last digit however the ledger came about; what is gone leaves nothing, not even a rounding error.
func (l *Ledger) Reserved(except ...string) map[string]netmap.Demand {
	sum := map[string]netmap.Demand{}
	for _, h := range l.Holds() {
		if slices.Contains(except, h.ID) {
			continue
		}
		if sum[h.Node] == nil {
			sum[h.Node] = netmap.Demand{}
		}
		for k, x := range h.Demand {
			sum[h.Node][k] += x
		}
	}
	return sum
}
