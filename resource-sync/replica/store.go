// Package replica is resource-sync: it brings one node's rows of resour_DB to all nodes, and all nodes' rows to this one.
//
// It reads the rows that programs on this node write and CONFIG_DB's rows about the network, and writes copies of the
// other nodes' rows, RESOUR_NODE, RESOUR_SEEN and RESOUR_HEALTH. It is told by keyspace events, by the other nodes'
// resource-sync over mutual-TLS streams, and by the clock.
//
// store.go, node.go, copies.go, members.go, overlay.go, monitor.go and health.go decide and have no clock, socket or
// goroutine; run.go, link.go, rows.go and probes.go connect them to the machine.
package replica

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"sonic-netservices/resourdb"
)

// Version orders the copies of one row.
type Version struct {
	Incarnation uint64 // of the owner: a node's and a supernode's grow with each start, the manager's is its epoch
	Rev         uint64 // of the row in it
}

func (v Version) compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Incarnation, w.Incarnation), cmp.Compare(v.Rev, w.Rev))
}

// Row is one row as it travels.
type Row struct {
	Key     string
	Owner   string // node; manager for rows of the leading manager; supernodeOf(node) for those of a supernode
	Version Version
	Fields  map[string]string // nil: removed
}

// Stamp is a row without its fields.
type Stamp struct {
	Key     string
	Owner   string
	Version Version
}

// manager owns the rows of bt-manager, wherever it leads. No node has the empty name.
const manager = ""

// supernodes own the rows of the overlay, each its own, with its node behind this name. No node has an @ in its name.
const supernodes = "n2n-supernode@"

func supernodeOf(node string) string { return supernodes + node }

func isSupernode(owner string) bool { return strings.HasPrefix(owner, supernodes) }

// isNode says whether an owner is a node, of which there is news or silence.
func isNode(owner string) bool { return owner != manager && !isSupernode(owner) }

// ownerOf gives the owner of a row.
func ownerOf(key string, fields map[string]string) string {
	scope, node := resourdb.ScopeOf(key)
	if scope == resourdb.SupernodeOwned {
		return supernodeOf(fields[resourdb.SupernodeField])
	}
	return node // manager is the owner without a name
}

// Store holds the newest copy of every row. Merging is a join: whatever the order and however often rows are delivered,
// all stores that got the same rows are equal.
//
// For each owner: the highest incarnation seen, and by key the row with the highest revision in it. Rows of older
// incarnations are void, so a node that starts anew needs no tombstones for what it had before.
type Store struct {
	base   uint64 // revisions of this life are above it
	owners map[string]*owned
}

type owned struct {
	incarnation uint64
	rev         uint64 // highest seen
	rows        map[string]Row
	removed     int // tombstones among rows
}

// newStore makes an empty store. The base must differ from that of any former life, best by being later: then no two
// lives ever give one version to different rows.
func newStore(base uint64) *Store { return &Store{base: base, owners: map[string]*owned{}} }

func (s *Store) owner(name string) *owned {
	o := s.owners[name]
	if o == nil {
		o = &owned{rows: map[string]Row{}}
		s.owners[name] = o
	}
	return o
}

// merge takes a row over if it is newer than what is here. It gives the keys whose live rows changed or went.
func (s *Store) merge(r Row) (changed []string, newer bool) {
	o := s.owner(r.Owner)
	switch {
	case r.Version.Incarnation < o.incarnation:
		return nil, false
	case r.Version.Incarnation > o.incarnation:
		for key, old := range o.rows {
			if old.Fields != nil && key != r.Key {
				changed = append(changed, key)
			}
		}
		*o = owned{incarnation: r.Version.Incarnation, rows: map[string]Row{}}
	default:
		if old, ok := o.rows[r.Key]; ok && !supersedes(r, old) {
			return nil, false
		}
	}
	o.put(r)
	return append(changed, r.Key), true
}

// supersedes: two rows of one version are a fault of their writer, and every store must still choose the same one.
func supersedes(r, old Row) bool {
	return cmp.Or(r.Version.compare(old.Version), strings.Compare(canonical(r.Fields), canonical(old.Fields))) > 0
}

func canonical(fields map[string]string) string {
	if fields == nil {
		return ""
	}
	var b strings.Builder
	b.WriteByte(1)
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		b.WriteString(f + "\x00" + fields[f] + "\x00")
	}
	return b.String()
}

func (o *owned) put(r Row) {
	if old, ok := o.rows[r.Key]; ok && old.Fields == nil {
		o.removed--
	}
	if r.Fields == nil {
		o.removed++
	}
	o.rows[r.Key] = r
	o.rev = max(o.rev, r.Version.Rev)
}

// set gives a row of ours new content under the next revision; nil fields remove it. It says whether anything changed.
func (s *Store) set(owner, key string, fields map[string]string) bool {
	o := s.owner(owner)
	old, ok := o.rows[key]
	if fields == nil && (!ok || old.Fields == nil) || fields != nil && ok && old.Fields != nil && maps.Equal(old.Fields, fields) {
		return false
	}
	s.touch(owner, key, fields)
	return true
}

// touch is set of what may be equal.
func (s *Store) touch(owner, key string, fields map[string]string) {
	o := s.owner(owner)
	o.put(Row{Key: key, Owner: owner, Version: Version{o.incarnation, max(o.rev, s.base) + 1}, Fields: fields})
}

// reincarnate gives all live rows of ours a newer incarnation. Tombstones go: the older rows are void by it.
func (s *Store) reincarnate(owner string, incarnation uint64) (keys []string) {
	old := s.owner(owner)
	s.owners[owner] = &owned{incarnation: incarnation, rows: map[string]Row{}}
	for _, key := range slices.Sorted(maps.Keys(old.rows)) {
		if fields := old.rows[key].Fields; fields != nil {
			s.touch(owner, key, fields)
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *Store) get(owner, key string) (Row, bool) {
	o := s.owners[owner]
	if o == nil {
		return Row{}, false
	}
	r, ok := o.rows[key]
	return r, ok
}

// digest lists the versions of everything here, tombstones included, sorted.
func (s *Store) digest() []Stamp {
	var list []Stamp
	for _, name := range slices.Sorted(maps.Keys(s.owners)) {
		o := s.owners[name]
		for _, key := range slices.Sorted(maps.Keys(o.rows)) {
			list = append(list, Stamp{key, name, o.rows[key].Version})
		}
	}
	return list
}

// lacking lists what a peer with this digest does not have, or has older.
func (s *Store) lacking(digest []Stamp) (missing []Stamp) {
	type id struct{ owner, key string }
	has := make(map[id]Version, len(digest))
	newest := map[string]uint64{}
	for _, d := range digest {
		has[id{d.Owner, d.Key}] = d.Version
		newest[d.Owner] = max(newest[d.Owner], d.Version.Incarnation)
	}
	for _, own := range s.digest() {
		if own.Version.Incarnation < newest[own.Owner] {
			continue // void there
		}
		if there, ok := has[id{own.Owner, own.Key}]; !ok || there.compare(own.Version) < 0 {
			missing = append(missing, own)
		}
	}
	return missing
}
