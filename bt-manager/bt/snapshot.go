package bt

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"sonic-netservices/bt-manager/bt/board"
)

// Snapshot is the state of an instance as plain values, ready for JSON. It holds what differs from a fresh instance only.
// Opaque entries (a network snapshot, scored candidates) are left out: trees make them anew before they use them.
type Snapshot struct {
	Tree    uint64          `json:"tree"` // Program.Hash
	Nodes   []NodeSnapshot  `json:"nodes,omitempty"`
	Entries []EntrySnapshot `json:"entries,omitempty"`
}

// NodeSnapshot is one node that remembers something.
type NodeSnapshot struct {
	UID    int    `json:"uid"`
	Status Status `json:"status,omitempty"`
	Flags  uint8  `json:"flags,omitempty"`
	Cur    int32  `json:"cur,omitempty"`
	Count  int32  `json:"count,omitempty"`
	Cell   int64  `json:"cell,omitempty"` // deadline in unix ns, or sequence number
	Op     OpID   `json:"op,omitempty"`
	Queue  []any  `json:"queue,omitzero"` // what a Loop has left; nil when it has not begun
}

// EntrySnapshot is one entry of the tree's own blackboards.
type EntrySnapshot struct {
	Scope string     `json:"scope,omitempty"`
	Name  string     `json:"name"`
	Kind  board.Kind `json:"kind,omitempty"`
	Value any        `json:"value,omitempty"`
	Seq   uint64     `json:"seq,omitempty"`
	Stamp int64      `json:"stamp,omitempty"`
}

// Snapshot gives the state to keep.
func (in *Instance) Snapshot() Snapshot {
	s := Snapshot{Tree: in.p.hash, Nodes: in.nodeSnapshots()}
	for _, key := range in.p.kept {
		k := in.p.keys[key]
		if e := &in.own[k.Slot]; e.Seq() != 0 && e.Kind() != board.Opaque {
			s.Entries = append(s.Entries, entrySnapshot(k, e))
		}
	}
	return s
}

// nodeSnapshots lists the nodes that remember something.
func (in *Instance) nodeSnapshots() (list []NodeSnapshot) {
	for i := range in.state {
		if one := in.nodeSnapshot(int32(i)); !one.same(NodeSnapshot{UID: i + 1}) {
			list = append(list, one)
		}
	}
	return list
}

// nodeSnapshot gives one node. The deadline of a timer that does not run is nobody's.
func (in *Instance) nodeSnapshot(i int32) NodeSnapshot {
	st, n := &in.state[i], &in.nodes[i]
	one := NodeSnapshot{UID: int(i) + 1, Status: st.status, Flags: st.flags &^ flagResume, Cur: st.cur, Count: st.count, Op: in.ops[i]}
	if in.keeps(i) {
		one.Flags |= flagKept
	}
	if n.hasCell() && (st.status == Running || n.counts()) {
		one.Cell = in.cells[n.aux]
	}
	if queue, begun := in.queues[i]; begun {
		one.Queue = []any{}
		for _, v := range queue {
			one.Queue = append(one.Queue, v.Any())
		}
	}
	return one
}

func entrySnapshot(k Key, e *board.Entry) EntrySnapshot {
	v := e.Any()
	if f := e.Float(); e.Kind() == board.Real && (math.IsInf(f, 0) || math.IsNaN(f)) {
		v = e.String() // JSON has no such numbers
	}
	return EntrySnapshot{k.Scope, k.Name, e.Kind(), v, e.Seq(), e.Stamp()}
}

// Restore puts an instance into a saved state. Leaves that were RUNNING hear of it at the next tick: OnResume for durable
// ones, OnStart for the others.
func (in *Instance) Restore(s Snapshot) error {
	if s.Tree != in.p.hash {
		return fmt.Errorf("restore a run: it belongs to tree %016x, this is %016x", s.Tree, in.p.hash)
	}
	for _, one := range s.Nodes {
		if one.UID < 1 || one.UID > len(in.nodes) || one.Status > Failure ||
			one.Cur < 0 || int(one.Cur) >= len(in.nodes) && in.nodes[one.UID-1].kids > 0 {
			return fmt.Errorf("restore a run: node %d: no such state", one.UID)
		}
		i := int32(one.UID - 1)
		n := &in.nodes[i]
		if n.walks() && one.Cur != 0 && !in.isChild(i, one.Cur) {
			return fmt.Errorf("restore a run: node %d has no child %d", one.UID, one.Cur+1)
		}
		flags := one.Flags &^ flagKept
		if one.Flags&flagKept != 0 && one.Status != Idle {
			in.keep(i, one.Status)
		}
		if n.op == opStateful && one.Status == Running {
			flags |= flagResume
		}
		in.state[i] = nodeState{one.Status, flags, one.Cur, one.Count}
		if n.hasCell() {
			in.cells[n.aux] = one.Cell
		}
		if one.Op != "" {
			if in.ops == nil {
				in.ops = map[int32]OpID{}
			}
			in.ops[i] = one.Op
		}
		if one.Queue != nil {
			if in.queues == nil {
				in.queues = map[int32][]board.Value{}
			}
			in.queues[i] = []board.Value{}
			for _, v := range one.Queue {
				in.queues[i] = append(in.queues[i], board.Of(v))
			}
		}
	}
	for _, one := range s.Entries {
		slot := -1
		for _, k := range in.p.keys {
			if k.Scope == one.Scope && k.Name == one.Name && !k.Root {
				slot = k.Slot
			}
		}
		v, err := restored(one)
		if slot < 0 || err != nil {
			return fmt.Errorf("restore a run: entry %s/%s: %v", one.Scope, one.Name, err)
		}
		in.own[slot].Restored(v, one.Seq, one.Stamp)
	}
	return nil
}

// Bound makes no timer wait longer from now than it is set to: after Restore, for the wall clock may have been set back
// since the snapshot was made. One that was set forward ends timers early; that cannot be told from time that passed.
func (in *Instance) Bound(now time.Time) {
	for i := range in.nodes {
		n := &in.nodes[i]
		if n.op != opTimeout && n.op != opDelay && n.op != opSleep || in.state[i].status != Running || in.cells[n.aux] == 0 {
			continue
		}
		if ms, err := in.param(int32(i), n, 0); err == nil {
			in.cells[n.aux] = min(in.cells[n.aux], now.UnixNano()+ms*1e6)
		}
	}
}

// restored gives the value its kind back, which JSON forgets for numbers.
func restored(e EntrySnapshot) (board.Value, error) {
	if e.Kind == board.Unset {
		return board.Value{}, nil
	}
	if n, ok := e.Value.(json.Number); ok {
		return board.Parse(n.String(), e.Kind)
	}
	return board.Of(e.Value).Convert(e.Kind)
}

// UnmarshalJSON keeps whole numbers whole.
func (e *EntrySnapshot) UnmarshalJSON(text []byte) error {
	type plain EntrySnapshot
	var p struct {
		plain
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	*e = EntrySnapshot(p.plain)
	if len(p.Value) == 0 {
		return nil
	}
	if err := json.Unmarshal(p.Value, &e.Value); err != nil {
		return err
	}
	if _, number := e.Value.(float64); number {
		e.Value = json.Number(p.Value)
	}
	return nil
}

// hasCell says whether aux is a cell.
func (n *node) hasCell() bool {
	switch n.op {
	case opTimeout, opDelay, opSleep, opSkipUnlessUpdated, opWaitValueUpdate, opWasEntryUpdated:
		return true
	}
	return false
}

// walks says whether state.cur is the index of a child.
func (n *node) walks() bool {
	switch n.op {
	case opSequence, opAsyncSequence, opSequenceWithMemory, opFallback, opAsyncFallback, opIfThenElse, opSwitch, opTryCatch:
		return true
	}
	return false
}

func (in *Instance) isChild(i, child int32) bool {
	for c := i + 1; c < in.nodes[i].end; c = in.nodes[c].end {
		if c == child {
			return true
		}
	}
	return false
}

// Resting says whether no leaf that takes time is running: the moment to exchange the tree.
func (in *Instance) Resting() bool {
	for i := range in.nodes {
		if in.nodes[i].op == opStateful && in.state[i].status == Running {
			return false
		}
	}
	return true
}

// Deadline is until when a RUNNING Timeout, Delay or Sleep waits, zero for others.
func (in *Instance) Deadline(uid int) time.Time {
	n := &in.nodes[uid-1]
	if in.state[uid-1].status != Running || n.op != opTimeout && n.op != opDelay && n.op != opSleep || in.cells[n.aux] == 0 {
		return time.Time{}
	}
	return time.Unix(0, in.cells[n.aux])
}

// Limit is how long a Timeout, Delay or Sleep waits in all, zero for others.
func (in *Instance) Limit(uid int) time.Duration {
	n := &in.nodes[uid-1]
	if n.op != opTimeout && n.op != opDelay && n.op != opSleep {
		return 0
	}
	ms, err := in.param(int32(uid-1), n, 0)
	if err != nil {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
