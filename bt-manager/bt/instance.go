package bt

import (
	"fmt"
	"time"

	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/script"
)

// Instance is one run of a Program.
type Instance struct {
	p         *Program
	nodes     []node // of p
	state     []nodeState
	cells     []int64
	sync      []Sync
	stateful  []Stateful
	frame     script.Frame
	own       []board.Entry
	log       board.Log // of own, by slot
	writers   []int32   // UID of the node whose port wrote a slot last, 0 = a script or nobody
	keeper    *Keeper
	root      *board.Board // nil: {@key} is the main tree's key
	queues    map[int32][]board.Value
	notes     map[int32]string
	ops       map[int32]OpID
	ctx       Ctx
	forced    map[int32]force
	hooks     map[int32]*hooks
	steered   bool // somebody outside has a say: forced or hooks
	steerings uint64

	ring    *Ring
	due     int64   // earliest deadline seen in this tick, 0 = none
	yielded bool    // a node wants to be ticked again at once
	moves   uint64  // status changes so far
	idleAt  uint64  // moves when the tree last did not yield
	skips   []int32 // nodes that answered SKIPPED in this tick
	spins   uint64
	panics  uint64
	crashed int32 // leaf that panicked in the last tick and fails in this one, -1 = none
}

// nodeState is what a node remembers.
type nodeState struct {
	status Status
	flags  uint8
	cur    int32 // by type: node index of the current child (0 = the first), or a count
	count  int32 // by type: attempts, rounds, skipped or finished children
}

const (
	flagBusy   = 1 << iota // started: catch branch, timer, child of a guard
	flagDone               // child of a Parallel that has ended; kept in the child
	flagResume             // RUNNING leaf restored from a snapshot, not yet told
	flagKept               // in a snapshot: its answer is held back by a hook
)

// A tree that wakes itself without end, such as RetryUntilSuccessful with -1 over quick leaves, pauses after that many
// status changes: 10,000 node ticks, each of which makes a node something and IDLE again.
const (
	spinBudget = 20000
	spinPause  = 10 * time.Millisecond
)

// New makes an instance. root is the blackboard of {@key}, shared with other instances on the same goroutine; without
// one {@key} means the main tree's key.
func (p *Program) New(root *board.Board) *Instance {
	in := &Instance{p: p, nodes: p.nodes, root: root, crashed: -1,
		state: make([]nodeState, len(p.nodes)), cells: make([]int64, p.cells), own: make([]board.Entry, p.slots), writers: make([]int32, p.slots),
		sync: make([]Sync, len(p.sync)), stateful: make([]Stateful, len(p.slow))}
	in.frame.Slots = make([]*board.Entry, p.slots)
	in.ctx.in = in
	in.log.All = p.counted
	for i := range in.own {
		in.own[i].Lock(p.types[i])
		in.own[i].Note(&in.log, int32(i))
		in.frame.Slots[i] = &in.own[i]
	}
	for _, k := range p.keys {
		switch {
		case !k.Root || k.Scope != "":
		case root != nil:
			in.frame.Slots[k.Slot] = root.Entry(k.Name)
		default:
			in.frame.Slots[k.Slot] = in.frame.Slots[p.slotOf(k.Name)]
		}
	}
	for _, i := range p.initial {
		in.frame.Slots[i.slot].Put(i.value, 0) // a literal of the wrong type shows when the port is read
	}
	for i, t := range p.sync {
		in.sync[i] = t.leaf().(Sync)
	}
	for i, t := range p.slow {
		in.stateful[i] = t.leaf().(Stateful)
	}
	return in
}

// leaf makes one leaf; a type that is only declared fails.
func (t *NodeType) leaf() Leaf {
	if t.New != nil {
		return t.New()
	}
	return Func(func(c *Ctx) Status { return c.Failf("%s has no implementation", t.Name) })
}

// slotOf finds a key of the main tree's own blackboard, -1 without.
func (p *Program) slotOf(key string) int {
	for _, k := range p.keys {
		if k.Scope == "" && k.Name == key && !k.Root {
			return k.Slot
		}
	}
	return -1
}

// Program is the tree this is a run of.
func (in *Instance) Program() *Program { return in.p }

// Tick runs the tree once at that time. It answers the root's status and when to tick again at the latest: now when a
// node asked for it, zero when only an event from outside can change anything.
func (in *Instance) Tick(now time.Time) (Status, time.Time) {
	in.frame.Now = now.UnixNano()
	in.due, in.yielded, in.skips = 0, false, in.skips[:0]
	if in.ring != nil {
		in.ring.now = in.frame.Now
	}
	status := in.tick()
	if status.Done() {
		in.set(0, Idle)
	}
	if !in.yielded {
		in.idleAt = in.moves
		if in.due == 0 {
			return status, time.Time{}
		}
		return status, time.Unix(0, in.due)
	}
	if in.moves-in.idleAt >= spinBudget {
		in.idleAt = in.moves
		in.spins++
		return status, now.Add(spinPause)
	}
	return status, now
}

// tick runs the tree. A panic is the failure of that leaf, not the manager's end: this tick ends there, with the tree in
// the middle, and the next one, due at once, goes on from there with the leaf failed.
func (in *Instance) tick() (status Status) {
	crashed := in.crashed
	defer func() {
		if r := recover(); r != nil {
			in.crash(r)
			status = in.yield()
		} else if in.crashed == crashed {
			in.crashed = -1
		}
	}()
	return in.exec(0)
}

// Halt stops everything that runs. Nodes keep what v4 lets them keep: SequenceWithMemory its child, RunOnce its answer.
// HaltDeposed runs no script and no catch branch, because another manager owns what they would undo.
func (in *Instance) Halt(now time.Time, why HaltWhy) {
	in.frame.Now = now.UnixNano()
	if in.ring != nil {
		in.ring.now = in.frame.Now
	}
	in.haltNode(0, why)
	if why != HaltDeposed {
		for i := range in.p.nodes { // as v4: every node hears of it, so every _onHalted runs
			in.haltNode(int32(i), why)
		}
	}
	in.set(0, Idle)
}

// Status of a node by UID.
func (in *Instance) Status(uid int) Status { return in.state[uid-1].status }

// Skips lists the UIDs of the nodes that answered SKIPPED in the last tick: it is no status, so no change tells of it.
func (in *Instance) Skips() []int {
	list := make([]int, len(in.skips))
	for k, i := range in.skips {
		list[k] = int(i) + 1
	}
	return list
}

// Note is what the leaf with that UID said last, or why it failed.
func (in *Instance) Note(uid int) string { return in.notes[int32(uid-1)] }

// Op is the operation a leaf holds, "" without.
func (in *Instance) Op(uid int) OpID { return in.ops[int32(uid-1)] }

// Moves counts status changes: when it has not grown, there is nothing new to save or to show but blackboard entries.
func (in *Instance) Moves() uint64 { return in.moves }

// Spins counts how often the tree was paused because it woke itself without end.
func (in *Instance) Spins() uint64 { return in.spins }

// Panics counts leaves that panicked; each counted as a failure of that leaf.
func (in *Instance) Panics() uint64 { return in.panics }

// Get reads an entry of the main tree's blackboard, or with @ of the root blackboard.
func (in *Instance) Get(key string) board.Value {
	if e := in.entry(key); e != nil {
		return e.Value
	}
	return board.Value{}
}

// Set writes an entry of the main tree's blackboard between ticks.
func (in *Instance) Set(key string, v any, now time.Time) error {
	e := in.entry(key)
	if e == nil {
		return fmt.Errorf("set %s: the tree uses no such entry", key)
	}
	if err := e.Put(board.Of(v), now.UnixNano()); err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	return nil
}

func (in *Instance) entry(key string) *board.Entry {
	if len(key) > 1 && key[0] == '@' {
		if in.root != nil {
			return in.root.Entry(key[1:])
		}
		key = key[1:]
	}
	if s := in.p.slotOf(key); s >= 0 {
		return in.frame.Slots[s]
	}
	return nil
}

// Root is the blackboard of {@key}, nil when the tree has none but its own.
func (in *Instance) Root() *board.Board { return in.root }

// Value reads the entry behind a key of the program.
func (in *Instance) Value(k Key) board.Value { return in.frame.Slots[k.Slot].Value }

// Changes hands over the entries of the tree's own blackboards that were written since it was asked last, and have another
// value, or whose sequence number some node looks at. Those on a shared root
// blackboard are told by that one.
func (in *Instance) Changes(each func(k Key, v board.Value)) {
	for _, slot := range in.log.Written {
		in.own[slot].Seen()
		for _, k := range in.p.keysOf[slot] {
			if key := in.p.keys[k]; !key.Root || in.root == nil {
				each(key, in.own[slot].Value)
			}
		}
	}
	if in.keeper != nil {
		in.keeper.written = append(in.keeper.written, in.log.Written...)
	}
	in.log.Written = in.log.Written[:0]
}

// Attach makes the ring record every status change from now on; nil ends it.
func (in *Instance) Attach(r *Ring) { in.ring = r }
