package bt

import (
	"encoding/json"
	"fmt"
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
	s := Snapshot{Tree: in.p.hash}
	for i := range in.state {
		st, n := &in.state[i], &in.nodes[i]
		one := NodeSnapshot{UID: i + 1, Status: st.status, Flags: st.flags, Cur: st.cur, Count: st.count, Op: in.ops[int32(i)]}
		if n.hasCell() {
			one.Cell = in.cells[n.aux]
		}
		if queue, begun := in.queues[int32(i)]; begun {
			one.Queue = []any{}
			for _, v := range queue {
				one.Queue = append(one.Queue, v.Any())
			}
		}
		if one.Status != Idle || one.Flags != 0 || one.Cur != 0 || one.Count != 0 || one.Cell != 0 || one.Queue != nil {
			s.Nodes = append(s.Nodes, one)
		}
	}
	done := map[int]bool{}
	for _, k := range in.p.keys {
		e := &in.own[k.Slot]
		if k.Root || done[k.Slot] || e.Seq() == 0 || e.Kind() == board.Opaque {
			continue
		}
		done[k.Slot] = true
		s.Entries = append(s.Entries, EntrySnapshot{k.Scope, k.Name, e.Kind(), e.Any(), e.Seq(), e.Stamp()})
	}
	return s
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
		flags := one.Flags
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
