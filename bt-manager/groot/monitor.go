// Package groot is the manager's monitor socket: Groot2, and whatever else speaks its protocol, looks at a running tree
// from outside, records its transitions, and, where it is allowed to, holds the tree at a node or answers in a node's
// place.
//
// It reads running trees between two ticks, writes hooks into them, and is told by its clients, and by who ticks the trees
// (Ticked, RoundEnded). The protocol is that of BehaviorTree.CPP 4.10's publisher, byte by byte; docs/decisions/0042 says
// what differs: one socket for all trees, and a hook never blocks the goroutine that ticks.
package groot

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// Trees are the running trees, as who ticks them offers them.
type Trees interface {
	// Look calls do while nothing is ticked. find gives a tree by its replica, "" = intake, with the ring that records it;
	// nil when there is none.
	Look(do func(find func(replica string) (*bt.Instance, *bt.Ring)))
	// Wake has the trees ticked soon.
	Wake()
}

const (
	heartbeat   = 5 * time.Second // a client that says nothing for longer holds nothing any more
	maxRecorded = 1000            // transitions
)

// Monitor answers requests about the tree it shows.
type Monitor struct {
	trees   Trees
	publish func(parts ...[]byte) // to subscribers; never waits

	// What follows is touched inside of Look, Ticked and RoundEnded only, so whoever ticks the trees guards it.
	replica string
	write   bool
	run     *bt.Instance // what is shown; nil before the tree is there
	ring    *bt.Ring
	id      TreeID
	xml     []byte
	order   []uint16
	before  []bt.Status // by UID-1: the last status that was not IDLE
	seen    uint64      // changes of ring
	heard   time.Time   // the newest request

	recording bool
	began     time.Time
	recorded  []byte // 9 bytes a transition

	hooks   map[place]*hook
	reached []uint16 // UIDs to tell the subscribers of when the round is over
}

type place struct {
	uid   uint16
	where bt.Place
}

// hook is a Hook in a tree.
type hook struct {
	Hook
	ready bool // unlocked: lets go when it is asked next
	told  bool // that it was reached
	gone  bool // passed, and only once
}

// New makes a monitor of the intake tree. publish hands a message to all subscribers without waiting for any of them.
func New(trees Trees, publish func(parts ...[]byte)) *Monitor {
	return &Monitor{trees: trees, publish: publish}
}

// Show chooses the tree of a replica, "" = intake, and whether hooks are allowed; those that are set are taken away.
func (m *Monitor) Show(replica string, write bool) (id TreeID, err error) {
	m.trees.Look(func(find func(string) (*bt.Instance, *bt.Ring)) {
		run, ring := find(replica)
		if run == nil {
			err = fmt.Errorf("no tree of %q: no such replica is desired", replica)
			return
		}
		m.clear()
		m.replica, m.write = replica, write
		m.adopt(run, ring)
		id = m.id
	})
	m.trees.Wake()
	return id, err
}

// Close takes all hooks away.
func (m *Monitor) Close() {
	m.trees.Look(func(func(string) (*bt.Instance, *bt.Ring)) {
		m.clear()
		m.run, m.ring = nil, nil
	})
	m.trees.Wake()
}

// clear takes all hooks away.
func (m *Monitor) clear() {
	for p := range m.hooks {
		m.drop(p)
	}
	m.reached = nil
}

// adopt begins to show an instance. What it did before is known as far as the ring has kept it.
func (m *Monitor) adopt(run *bt.Instance, ring *bt.Ring) {
	m.run, m.ring, m.seen = run, ring, 0
	_, _ = rand.Read(m.id[:]) // never fails
	m.id[6] = m.id[6]&0x0f | 0x40
	m.id[8] = m.id[8]&0x3f | 0x80
	m.hooks, m.reached = map[place]*hook{}, nil
	m.recording, m.recorded = false, nil
	m.xml, m.order = xmlv4.Write(run.Program()), xmlv4.Order(run.Program())
	m.before = make([]bt.Status, len(m.order))
	m.note()
}

// note takes in what has changed.
func (m *Monitor) note() {
	for _, c := range m.ring.Since(m.seen) {
		if c.To != bt.Idle && int(c.UID) <= len(m.before) {
			m.before[c.UID-1] = c.To
		}
		if m.recording {
			m.recorded = appendTransition(m.recorded, max(0, c.At-m.began.UnixNano())/1000, c.UID, c.To)
		}
	}
	m.seen = m.ring.Total()
	m.recorded = m.recorded[max(0, len(m.recorded)-9*maxRecorded):]
}

func appendTransition(b []byte, us int64, uid uint16, st bt.Status) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(us))[:len(b)+6]
	return append(binary.LittleEndian.AppendUint16(b, uid), byte(st))
}

// Ticked is told of every tick of every tree, by the goroutine that ticks.
func (m *Monitor) Ticked(replica string, run *bt.Instance, ring *bt.Ring) {
	if m.run == nil || replica != m.replica {
		return
	}
	if run != m.run {
		m.adopt(run, ring)
		return
	}
	m.note()
	for p, h := range m.hooks {
		if h.gone {
			m.drop(p)
		}
	}
}

// Ended changes nothing: what is shown stays until another tree is asked for.
func (m *Monitor) Ended(string) {}

// RoundEnded is told when all trees have been ticked and what they did has been kept: now a node that is held is held.
func (m *Monitor) RoundEnded() {
	for _, uid := range m.reached {
		var id [4]byte
		_, _ = rand.Read(id[:])
		m.publish(Header{Reached, binary.LittleEndian.Uint32(id[:])}.bytes(), strconv.AppendUint(nil, uint64(uid), 10))
	}
	m.reached = m.reached[:0]
}

var errReadOnly = errors.New("hooks are not allowed: nsctl groot --write allows them")

// Answer gives the reply to a request.
func (m *Monitor) Answer(request [][]byte) (reply [][]byte) {
	wake := false
	m.trees.Look(func(find func(string) (*bt.Instance, *bt.Ring)) {
		m.heard = time.Now()
		head, err := parseHeader(request[0])
		if err == nil {
			err = m.find(find)
		}
		var body []byte
		if err == nil {
			body, err = m.answer(head.Kind, request[1:])
			wake = head.Kind == UnlockHook || head.Kind == InsertHook || head.Kind == RemoveHook || head.Kind == RemoveAllHooks || head.Kind == DisableAllHooks
		}
		if err != nil {
			reply = [][]byte{[]byte("error"), []byte(err.Error())}
			return
		}
		reply = [][]byte{append(head.bytes(), m.id[:]...)}
		if body != nil {
			reply = append(reply, body)
		}
	})
	if wake {
		m.trees.Wake()
	}
	return reply
}

// find makes sure that what is shown is the tree that runs.
func (m *Monitor) find(find func(string) (*bt.Instance, *bt.Ring)) error {
	run, ring := find(m.replica)
	switch {
	case run == nil:
		return fmt.Errorf("no tree of %q is running", m.replica)
	case run != m.run:
		m.adopt(run, ring)
	default:
		m.note()
	}
	return nil
}

// answer gives the second part of a reply, nil for none.
func (m *Monitor) answer(kind Kind, parts [][]byte) ([]byte, error) {
	var body []byte
	switch kind {
	case Blackboards, InsertHook, RemoveHook, UnlockHook, Record:
		if len(parts) != 1 {
			return nil, errors.New("must be 2 parts message")
		}
		body = parts[0]
	}
	switch kind {
	case InsertHook, RemoveHook, UnlockHook:
		if !m.write {
			return nil, errReadOnly
		}
	}
	switch kind {
	case FullTree:
		return m.xml, nil
	case StatusOfAll:
		return m.statuses(), nil
	case Blackboards:
		return m.blackboards(string(body)), nil
	case InsertHook:
		return nil, m.insert(body)
	case RemoveHook:
		u, err := parseUnlock(body, true)
		if err != nil {
			return nil, err
		}
		return nil, m.remove(place{u.UID, bt.Place(u.Position)})
	case UnlockHook:
		u, err := parseUnlock(body, false)
		if err != nil {
			return nil, err
		}
		return nil, m.unlock(u)
	case RemoveAllHooks: // allowed to everybody: who may set none has none
		m.clear()
		return nil, nil
	case DisableAllHooks:
		for _, h := range m.hooks {
			h.Enabled = false
		}
		return nil, nil
	case DumpHooks:
		return json.Marshal(m.dump())
	case Record:
		return m.record(string(body)), nil
	case Transitions:
		all := m.recorded
		m.recorded = nil
		return append([]byte{}, all...), nil
	}
	return nil, errors.New("Request not recognized") // in the words of BehaviorTree.CPP
}

func (m *Monitor) statuses() []byte {
	b := make([]byte, 0, 3*len(m.order))
	for _, uid := range m.order {
		st := m.run.Status(int(uid))
		wire := byte(st)
		if before := m.before[uid-1]; st == bt.Idle && before != bt.Idle {
			wire = 10 + byte(before)
		}
		b = append(binary.LittleEndian.AppendUint16(b, uid), wire)
	}
	return b
}

func (m *Monitor) record(what string) []byte {
	switch what {
	case "start":
		m.recording, m.began, m.recorded = true, time.Now(), nil
		return strconv.AppendInt(nil, m.began.UnixMicro(), 10)
	case "stop":
		m.recording = false
	}
	return nil
}

func (m *Monitor) dump() []Hook {
	list := []Hook{}
	for _, h := range m.hooks {
		list = append(list, h.Hook)
	}
	slices.SortFunc(list, func(a, b Hook) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.UID, b.UID))
	})
	return list
}
