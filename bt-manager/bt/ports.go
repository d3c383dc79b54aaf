package bt

import (
	"slices"
	"time"

	"sonic-netservices/bt-manager/bt/board"
)

// Bound lists the entries that ports of these names are bound to, each once.
func (p *Program) Bound(names ...string) []Key {
	var list []Key
	seen := map[int32]bool{}
	for i := range p.nodes {
		for k, port := range p.nodes[i].ports {
			if port.slot < 0 || seen[port.slot] || !slices.Contains(names, p.portNames[p.info[i].Type][k]) {
				continue
			}
			seen[port.slot] = true
			at := slices.IndexFunc(p.keys, func(key Key) bool { return key.Slot == int(port.slot) })
			list = append(list, p.keys[at])
		}
	}
	return list
}

// Read is a port of a node with what is in it now.
type Read struct {
	Port  string
	Value board.Value
}

// Reads gives the ports of a node that have a value, in the order they were registered.
func (in *Instance) Reads(uid int) (list []Read) {
	n := &in.nodes[uid-1]
	for k := range n.ports {
		if v := in.input(n, k); v.Kind() != board.Unset {
			list = append(list, Read{in.portName(int32(uid-1), k), v})
		}
	}
	return list
}

// Written tells who wrote an entry and when: the UID of the node whose port did it last, 0 when a script did, or nobody of
// this tree.
func (in *Instance) Written(k Key) (uid int, at time.Time) {
	e := in.frame.Slots[k.Slot]
	if e.Stamp() > 0 {
		at = time.Unix(0, e.Stamp())
	}
	return int(in.writers[k.Slot]), at
}
