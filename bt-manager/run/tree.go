package run

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/render"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
)

// tree is one run of a program, with what happened in its newest tick.
type tree struct {
	name    string           // replica, "" = intake
	id      netmap.ReplicaID // the same
	run     *bt.Instance
	keep    *bt.Keeper
	tally   *tally
	counted uint64 // changes in the tally
	ring    *bt.Ring
	before  uint64   // changes recorded before the newest tick
	waits   string   // why it still runs an older file
	names   []bt.Key // entries that name nodes

	floor  time.Duration
	due    int64 // unix ns, or never
	asked  bool  // due is what it asked for, not its floor
	why    reason
	ticked time.Time
}

// ringSize keeps more changes than a tick of manager.xml makes.
const ringSize = 512

// newTree makes a tree that has not begun.
func (r *Runner) newTree(name string, p *bt.Program, now time.Time) *tree {
	t := &tree{name: name, run: p.New(r.root), ring: bt.NewRing(ringSize), names: r.namesOf(p), floor: floorOf(name)}
	if t.tally = r.tallies[p]; t.tally == nil {
		t.tally = newTally(p)
		r.tallies[p] = t.tally
	}
	t.id, _ = netmap.ParseReplicaID(name) // of intake none, so it comes first
	if name != "" {
		_ = t.run.Set("replica", name, now) // load has seen that the tree has the entry
	}
	t.keep = t.run.Keep()
	t.run.Attach(t.ring)
	return t
}

// yields bounds how often a tree is ticked that asks for it at once and does nothing; one that does something is bounded
// by the engine's own budget.
const yields = 10000

// drive ticks an instance until it waits for something, and answers when it wants to be ticked again, zero when it does
// not say. ticked, unless nil, is called after each tick. Spun says that it would not have waited by itself.
func drive(in *bt.Instance, now time.Time, ticked func()) (due time.Time, spun bool) {
	spins := in.Spins()
	for range yields {
		status, next := in.Tick(now)
		if ticked != nil {
			ticked()
		}
		if status != bt.Running || next.IsZero() || next.After(now) {
			return next, in.Spins() > spins
		}
	}
	return now.Add(pause), true
}

// pause of a tree that does nothing and would be ticked again at once; the engine's own is as long.
const pause = 10 * time.Millisecond

// turning is the innermost node that runs: the one that spins.
func turning(in *bt.Instance) (path string) {
	depth := -1
	for _, n := range in.Program().Nodes() {
		if in.Status(n.UID) == bt.Running && n.Depth > depth {
			path, depth = n.Path, n.Depth
		}
	}
	return path
}

// newest are the answers of the newest tick.
func (t *tree) newest() []bt.Change { return t.ring.Since(t.before) }

func compareNames(a, b string) int {
	x, errX := netmap.ParseReplicaID(a)
	y, errY := netmap.ParseReplicaID(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b)
	}
	return cmp.Or(strings.Compare(x.Service, y.Service), cmp.Compare(x.Replica, y.Replica))
}

// TreeView shows a tree between two ticks.
type TreeView struct {
	Name       string // replica, or "intake"
	Text       string
	Dot        string
	Mermaid    string
	JSON       []byte
	Blackboard []Entry // its own entries, and those of the root blackboard with @, by name
}

// Entry is one entry of a blackboard, with who wrote it when.
type Entry struct {
	Name   string
	Value  board.Value
	Writer string // path of the node, "" = no node of this tree
	At     time.Time
}

// Tree shows the tree of a replica, "" = intake; active leaves out what is idle and was in the newest tick.
func (r *Runner) Tree(replica string, active bool) (TreeView, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.trees[replica]
	if t == nil {
		return TreeView{}, fmt.Errorf("no tree of %q: no such replica is desired", replica)
	}
	view := TreeView{Name: orIntakeName(replica)}
	o := render.Options{OnlyActive: active, Last: render.Answers(t.run, t.newest()), Now: r.audit.now}
	for _, form := range []struct {
		write func(io.Writer, *bt.Instance, render.Options) error
		to    func(*bytes.Buffer)
	}{
		{render.Text, func(b *bytes.Buffer) { view.Text = b.String() }},
		{render.Dot, func(b *bytes.Buffer) { view.Dot = b.String() }},
		{render.Mermaid, func(b *bytes.Buffer) { view.Mermaid = b.String() }},
		{render.JSON, func(b *bytes.Buffer) { view.JSON = b.Bytes() }},
	} {
		var b bytes.Buffer
		if err := form.write(&b, t.run, o); err != nil {
			return TreeView{}, fmt.Errorf("show the tree of %q: %w", replica, err)
		}
		form.to(&b)
	}
	for _, line := range r.told(replica) {
		view.Text = "! " + line + "\n" + view.Text
	}
	view.Blackboard = r.entries(t)
	return view, nil
}

// entries lists what is on the blackboards a tree sees.
func (r *Runner) entries(t *tree) (list []Entry) {
	root := map[string]bool{}
	for _, k := range t.run.Program().Keys() {
		v := t.run.Value(k)
		if v.Kind() == board.Unset || k.Scope != "" {
			continue
		}
		e := Entry{Name: k.Name, Value: v}
		if k.Root {
			e.Name = "@" + k.Name
			root[k.Name] = true
		}
		var uid int
		if uid, e.At = t.run.Written(k); uid > 0 {
			e.Writer = t.run.Program().Nodes()[uid-1].Path
		}
		list = append(list, e)
	}
	for _, name := range r.root.Names() {
		if e := r.root.Entry(name); !root[name] {
			list = append(list, Entry{Name: "@" + name, Value: e.Value, At: time.Unix(0, e.Stamp())})
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list
}

const intakeName = "intake"

func orIntakeName(tree string) string { return cmp.Or(tree, intakeName) }

// Replicas lists the replicas that have a tree.
func (r *Runner) Replicas() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, name := range r.names() {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Verdicts is the newest judgement on each node.
func (r *Runner) Verdicts() map[string]decide.Judgement {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shared.Verdicts()
}

// written notes what changed on the blackboards of a tree, while it is at hand, for show.
func (r *Runner) written(t *tree) {
	t.run.Changes(func(k bt.Key, v board.Value) {
		if k.Scope == "" {
			r.changedEntry(orIntakeName(t.name), k.Name, v)
		}
	})
}

// changedEntry notes an entry for show, if the mirror has it otherwise. Entries of the network or a ranking are too long for
// a row and change all the time; the audit has them.
func (r *Runner) changedEntry(name, key string, v board.Value) {
	if r.mirror == nil || v.Kind() == board.Opaque || r.mirrored[name][key] == v.String() {
		return
	}
	if r.changed[name] == nil {
		r.changed[name] = map[string]string{}
	}
	r.changed[name][key] = v.String()
}

// show gives the mirror what changed on the blackboards of trees that were ticked, and on the one all share. It answers
// which of the shared entries changed.
func (r *Runner) show() (shared map[string]bool) {
	r.root.Changes(func(key string, v board.Value) {
		if shared == nil {
			shared = map[string]bool{}
		}
		shared[key] = true
		r.changedEntry("root", key, v)
	})
	for name, entries := range r.changed {
		if r.mirrored[name] == nil {
			r.mirrored[name] = map[string]string{}
		}
		maps.Copy(r.mirrored[name], entries)
		r.mirror.Blackboard(name, entries)
	}
	clear(r.changed)
	return shared
}

// forget takes the blackboard of a tree that ended off the mirror.
func (r *Runner) forget(name string) {
	entries := r.mirrored[name]
	delete(r.mirrored, name)
	if r.mirror == nil || len(entries) == 0 {
		return
	}
	for key := range entries {
		entries[key] = ""
	}
	r.mirror.Blackboard(name, entries)
}
