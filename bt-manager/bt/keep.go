package bt

import (
	"slices"

	"sonic-netservices/bt-manager/bt/board"
)

// Keeper tells what has to be kept of an instance so that Restore can go on with it elsewhere, and does so only when
// there is something: it compares by value, so a tick that ends where it began keeps nothing. To ask costs no allocation then.
//
// What a write alone changes, sequence number and time of an entry, does not count, unless a node of the tree looks at
// sequence numbers; nor do the attempts of a leaf that is not running. Both come along with what does count.
type Keeper struct {
	in      *Instance
	nodes   []NodeSnapshot // as kept, by UID
	entries []keptEntry    // as kept, by place in Program.kept
	written []int32        // slots written since, as far as Instance.Changes has taken them off the log
}

// keptEntry is an entry; without a seq it has never been written.
type keptEntry struct {
	value board.Value
	seq   uint64
}

// Keep begins at what the instance is now: that needs no keeping. An instance has one Keeper, the newest.
func (in *Instance) Keep() *Keeper {
	in.keeper = &Keeper{in: in}
	in.keeper.take()
	return in.keeper
}

func (k *Keeper) take() {
	k.written = k.written[:0]
	k.nodes = k.in.nodeSnapshots()
	k.entries = slices.Grow(k.entries[:0], len(k.in.p.kept))
	for _, key := range k.in.p.kept {
		one := keptEntry{}
		if e := &k.in.own[k.in.p.keys[key].Slot]; e.Kind() != board.Opaque {
			one = keptEntry{e.Value, e.Seq()}
		}
		k.entries = append(k.entries, one)
	}
}

// Changed gives what is new since it was last asked: for Snapshot.Apply.
func (k *Keeper) Changed() (delta Snapshot, is bool) {
	if !k.nodesChanged() && !k.entriesChanged() {
		return Snapshot{}, false
	}
	was, had := k.nodes, slices.Clone(k.entries)
	k.take()
	delta = Snapshot{Tree: k.in.p.hash, Nodes: changedNodes(was, k.nodes)}
	for i, now := range k.entries {
		if now.seq != 0 && now.seq != had[i].seq && (had[i].seq == 0 || !had[i].value.Same(now.value) || k.in.p.counted) {
			key := k.in.p.keys[k.in.p.kept[i]]
			delta.Entries = append(delta.Entries, entrySnapshot(key, &k.in.own[key.Slot]))
		}
	}
	return delta, true
}

// changedNodes lists the nodes of is that differ from was; a UID alone says that the node remembers nothing any more.
func changedNodes(was, is []NodeSnapshot) (list []NodeSnapshot) {
	for len(was)+len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].UID < is[0].UID:
			list = append(list, NodeSnapshot{UID: was[0].UID})
			was = was[1:]
		case len(was) == 0 || is[0].UID < was[0].UID:
			list = append(list, is[0])
			is = is[1:]
		default:
			if !was[0].same(is[0]) {
				list = append(list, is[0])
			}
			was, is = was[1:], is[1:]
		}
	}
	return list
}

func (n NodeSnapshot) same(o NodeSnapshot) bool {
	return n.Status == o.Status && n.Flags == o.Flags && n.Cur == o.Cur && n.Count == o.Count && n.Cell == o.Cell && n.Op == o.Op &&
		(n.Queue == nil) == (o.Queue == nil) && slices.Equal(n.Queue, o.Queue)
}

// nodesChanged compares without building anything.
func (k *Keeper) nodesChanged() bool {
	in, was := k.in, k.nodes
	for i := range in.state {
		known := len(was) > 0 && was[0].UID == i+1
		if st := &in.state[i]; !known && uint32(st.status)|uint32(st.flags)|uint32(st.cur)|uint32(st.count) == 0 && !in.p.counted {
			continue
		}
		one, old := in.nodeSnapshot(int32(i)), NodeSnapshot{UID: i + 1}
		if known {
			old, was = was[0], was[1:]
		}
		if in.nodes[i].op == opStateful && one.Status == Idle { // attempts alone
			old.Count = one.Count
		}
		if !one.same(old) {
			return true
		}
	}
	return false
}

// entriesChanged looks at the entries that were written.
func (k *Keeper) entriesChanged() bool {
	for _, list := range [][]int32{k.written, k.in.log.Written} {
		for _, slot := range list {
			if k.entryChanged(slot) {
				return true
			}
		}
	}
	k.written = k.written[:0]
	return false
}

func (k *Keeper) entryChanged(slot int32) bool {
	e := &k.in.own[slot]
	i := k.in.p.keptAt[slot]
	if i < 0 || e.Kind() == board.Opaque {
		return false
	}
	kept := &k.entries[i]
	return kept.seq == 0 || !kept.value.Same(e.Value) || k.in.p.counted && kept.seq != e.Seq()
}

// Apply adds a delta of a Keeper. One of another tree takes the place of everything.
func (s *Snapshot) Apply(delta Snapshot) {
	if s.Tree != delta.Tree {
		*s = Snapshot{Tree: delta.Tree}
	}
	for _, n := range delta.Nodes {
		i, known := slices.BinarySearchFunc(s.Nodes, n.UID, func(one NodeSnapshot, uid int) int { return one.UID - uid })
		switch empty := n.same(NodeSnapshot{UID: n.UID}); {
		case known && empty:
			s.Nodes = slices.Delete(s.Nodes, i, i+1)
		case known:
			s.Nodes[i] = n
		case !empty:
			s.Nodes = slices.Insert(s.Nodes, i, n)
		}
	}
	for _, e := range delta.Entries {
		i := slices.IndexFunc(s.Entries, func(one EntrySnapshot) bool { return one.Scope == e.Scope && one.Name == e.Name })
		if i < 0 {
			s.Entries = append(s.Entries, e)
		} else {
			s.Entries[i] = e
		}
	}
}

// keeping prepares what every Keeper of a program needs: one key for each entry of the trees' own blackboards, and
// whether sequence numbers matter.
func (p *Program) keeping() {
	p.keysOf, p.keptAt = make([][]int32, p.slots), slices.Repeat([]int32{-1}, p.slots)
	for i, k := range p.keys {
		if !k.Root && len(p.keysOf[k.Slot]) == 0 {
			p.keptAt[k.Slot] = int32(len(p.kept))
			p.kept = append(p.kept, int32(i))
		}
		p.keysOf[k.Slot] = append(p.keysOf[k.Slot], int32(i))
	}
	for i := range p.nodes {
		p.counted = p.counted || p.nodes[i].counts()
	}
}

// counts says whether a node's cell is a sequence number.
func (n *node) counts() bool {
	return n.op == opSkipUnlessUpdated || n.op == opWaitValueUpdate || n.op == opWasEntryUpdated
}
