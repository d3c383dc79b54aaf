package bt

import (
	"fmt"
	"strings"
)

// Carry translates a saved run from one tree to another, changed one, for a reload without a halt. What runs must be in the
// new tree too, in the same place and with the same attributes; for all else the new tree starts fresh. Nodes are
// compared by the way to them: types, names, and the place among siblings that share both.
func Carry(s Snapshot, from, to *Program) (Snapshot, error) {
	if s.Tree != from.hash {
		return Snapshot{}, fmt.Errorf("carry a run: it belongs to tree %016x, not %016x", s.Tree, from.hash)
	}
	was, is := from.ways(), map[string]int{}
	for i, way := range to.ways() {
		is[way] = i
	}
	next := func(old int) (int, bool) {
		i, ok := is[was[old]]
		return i, ok && from.info[old].sameAttrs(to.info[i])
	}
	out := Snapshot{Tree: to.hash}
	for _, one := range s.Nodes {
		i, ok := next(one.UID - 1)
		if !ok {
			if one.Status == Running {
				return Snapshot{}, fmt.Errorf("carry a run: %s runs, and the new tree has no such node", from.info[one.UID-1].Path)
			}
			continue
		}
		if old, new := &from.nodes[one.UID-1], &to.nodes[i]; one.Status == Running && old.kids != new.kids && old.op >= opParallel && old.op <= opParallelAll {
			return Snapshot{}, fmt.Errorf("carry a run: %s is counting its children, and the new tree has others", from.info[one.UID-1].Path)
		}
		if from.nodes[one.UID-1].walks() && one.Cur != 0 {
			cur, ok := next(int(one.Cur))
			if !ok {
				return Snapshot{}, fmt.Errorf("carry a run: %s is under way, and the new tree has no such node", from.info[one.Cur].Path)
			}
			one.Cur = int32(cur)
		}
		one.UID = i + 1
		out.Nodes = append(out.Nodes, one)
	}
	scopes := map[string]string{"": ""}
	for old, info := range from.info {
		if i, ok := is[was[old]]; ok && info.Class == SubTree {
			scopes[info.Path] = to.info[i].Path
		}
	}
	for _, e := range s.Entries {
		scope, ok := scopes[e.Scope]
		if ok && to.has(scope, e.Name) {
			e.Scope = scope
			out.Entries = append(out.Entries, e)
		}
	}
	return out, nil
}

func (p *Program) has(scope, name string) bool {
	for _, k := range p.keys {
		if k.Scope == scope && k.Name == name && !k.Root {
			return true
		}
	}
	return false
}

// ways gives each node a text that does not depend on what stands before it in the file.
func (p *Program) ways() []string {
	list := make([]string, len(p.info))
	seen := map[string]int{}
	for i, info := range p.info {
		var b strings.Builder
		if info.Parent > 0 {
			b.WriteString(list[info.Parent-1])
		}
		fmt.Fprintf(&b, "/%s %q", info.Type, info.Name)
		seen[b.String()]++
		fmt.Fprintf(&b, " %d", seen[b.String()])
		list[i] = b.String()
	}
	return list
}

func (a Info) sameAttrs(b Info) bool {
	if len(a.Attrs) != len(b.Attrs) {
		return false
	}
	for i := range a.Attrs {
		if a.Attrs[i].Name != b.Attrs[i].Name || a.Attrs[i].Value != b.Attrs[i].Value {
			return false
		}
	}
	return true
}
