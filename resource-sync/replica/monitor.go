package replica

import (
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/resourdb"
)

// Pace is how often a node pushes its rows.
type Pace struct {
	Fast time.Duration // while things change
	Slow time.Duration // when they do not: how old a small change can get before others hear of it
	Gap  time.Duration // between two urgent pushes
}

// Monitor decides whether and when the rows of this node are pushed (paper P1-13). It is a value machine.
//
// A change that matters is urgent and goes at once; readings that only tremble wait for the next heartbeat, which comes
// every Fast after an urgent change and slows down to Slow while nothing happens.
type Monitor struct {
	pace     Pace
	interval time.Duration
	next     time.Duration                // heartbeat
	last     time.Duration                // push
	urgent   bool                         // something that matters waits
	pushed   map[string]map[string]string // by key: what others have
	waiting  map[string]map[string]string // by key: newer; nil = removed
}

func newMonitor(pace Pace, now time.Duration) *Monitor {
	return &Monitor{pace: pace, interval: pace.Fast, next: now, last: now - pace.Gap,
		pushed: map[string]map[string]string{}, waiting: map[string]map[string]string{}}
}

// Changed takes a row as its writer left it, nil when it is gone.
func (m *Monitor) Changed(key string, row map[string]string) {
	before, known := m.pushed[key]
	if known == (row != nil) && maps.Equal(before, row) {
		delete(m.waiting, key)
		return
	}
	m.waiting[key] = row
	if matters(key, before, row) {
		m.urgent = true
	}
}

// Push gives the rows to push now, and whether this is a heartbeat; nothing when it is too early for both.
func (m *Monitor) Push(now time.Duration) (rows map[string]map[string]string, heartbeat bool) {
	heartbeat = now >= m.next
	if !heartbeat && !(m.urgent && now-m.last >= m.pace.Gap) {
		return nil, false
	}
	rows = m.waiting
	m.waiting = map[string]map[string]string{}
	for key, row := range rows {
		if row == nil {
			delete(m.pushed, key)
		} else {
			m.pushed[key] = row
		}
	}
	switch {
	case m.urgent:
		m.interval = m.pace.Fast
		m.next = min(m.next, now+m.interval)
	case heartbeat:
		m.interval = min(m.interval+m.pace.Fast, m.pace.Slow)
	}
	if heartbeat {
		m.next = now + m.interval
	}
	m.urgent, m.last = false, now
	return rows, heartbeat
}

// Wait is how long nothing will have to be pushed unless something changes.
func (m *Monitor) Wait(now time.Duration) time.Duration {
	at := m.next
	if m.urgent {
		at = min(at, m.last+m.pace.Gap)
	}
	return max(0, at-now)
}

// Interval is the longest time to the next push, as RESOUR_NODE tells it.
func (m *Monitor) Interval() time.Duration { return m.interval }

const (
	trembleOfCapacity = 0.02 // of used, relative to capacity
	trembleOfUsage    = 0.10 // relative to the larger of both values
)

// matters says whether others should hear of a change at once. Of measurements only what moves a decision does.
func matters(key string, before, after map[string]string) bool {
	if before == nil || after == nil {
		return true
	}
	table, _, _ := strings.Cut(key, "|")
	for field := range fieldsOf(before, after) {
		a, b := before[field], after[field]
		if a == b || field == "age" {
			continue
		}
		x, err1 := strconv.ParseFloat(a, 64)
		y, err2 := strconv.ParseFloat(b, 64)
		if err1 != nil || err2 != nil {
			return true
		}
		switch {
		case table == resourdb.ResourceTable && field == "used":
			capacity, _ := strconv.ParseFloat(after["capacity"], 64)
			if math.Abs(x-y) >= trembleOfCapacity*capacity {
				return true
			}
		case table == resourdb.UsageTable:
			if math.Abs(x-y) >= trembleOfUsage*math.Max(math.Abs(x), math.Abs(y)) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

func fieldsOf(a, b map[string]string) map[string]bool {
	all := make(map[string]bool, len(a)+len(b))
	for f := range a {
		all[f] = true
	}
	for f := range b {
		all[f] = true
	}
	return all
}
