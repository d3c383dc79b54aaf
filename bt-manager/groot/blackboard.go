package groot

import (
	"strings"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
)

// rootName is what a reply calls the blackboard of {@key}.
const rootName = "ROOT"

// blackboards packs those that are asked for by the paths of their subtrees, the main tree's by its ID. One that nobody
// knows is left out. The root blackboard comes along where one of them has another behind it.
func (m *Monitor) blackboards(names string) []byte {
	scopes := map[string]string{m.run.Program().Main(): ""}
	for _, n := range m.run.Program().Nodes() {
		if n.Class == bt.SubTree {
			scopes[n.Path] = n.Path
		}
	}
	all := map[string]any{}
	for name := range strings.SplitSeq(names, ";") {
		scope, known := scopes[name]
		if !known {
			continue
		}
		all[name] = m.entries(scope)
		switch root := m.run.Root(); {
		case root != nil:
			entries := map[string]any{}
			for _, key := range root.Names() {
				entries[key] = root.Get(key)
			}
			all[rootName] = entries
		case scope != "":
			all[rootName] = m.entries("")
		}
	}
	if len(all) == 0 {
		return msgpack(nil, nil)
	}
	return msgpack(nil, all)
}

// entries of one subtree's own blackboard, without those that are a parent's under another name.
func (m *Monitor) entries(scope string) map[string]any {
	entries := map[string]any{}
	keys := m.run.Program().Keys()
	shared, taken := map[string]bool{}, map[int]bool{}
	for _, k := range keys {
		if k.Root && k.Scope == "" {
			shared[k.Name] = m.run.Root() != nil // its namesake here is only there for trees without a root blackboard
		}
	}
	for _, k := range keys {
		if k.Scope == scope && !k.Root && !taken[k.Slot] && !(shared[k.Name] && scope == "" && m.run.Value(k).Kind() == board.Unset) {
			entries[k.Name] = m.run.Value(k)
		}
		taken[k.Slot] = true
	}
	return entries
}
