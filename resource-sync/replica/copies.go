package replica

import (
	"cmp"
	"maps"
	"strconv"
	"strings"

	"sonic-netservices/resourdb"
)

// Changes gives what is to be written to the local database, and forgets it.
func (n *Node) Changes() []resourdb.Change {
	var list []resourdb.Change
	for id := range n.dirty {
		delete(n.dirty, id)
		r, here := n.shown(id)
		if here {
			continue
		}
		c := resourdb.Change{Key: id.key}
		if r.Fields != nil {
			c.Row = withVersion(r)
		}
		list = append(list, c)
	}
	return list
}

// writtenHere: the writer of these rows is on this node; they are not copies.
func (n *Node) writtenHere(owner string) bool {
	return n.ours(owner) || owner == manager && n.leading
}

// shown gives the row that belongs into the local database, without fields when none does, and says whether its writer is
// on this node. Of rows that supernodes have under one key it is that of the supernode here, else the newest.
func (n *Node) shown(id rowID) (shown Row, here bool) {
	if !isSupernode(id.owner) {
		shown, _ = n.store.get(id.owner, id.key)
		return shown, n.writtenHere(id.owner)
	}
	for owner, o := range n.store.owners {
		r := o.rows[id.key]
		switch {
		case !isSupernode(owner) || r.Fields == nil:
		case n.ours(owner):
			return r, true
		case shown.Fields == nil || cmp.Or(strings.Compare(r.Fields[resourdb.SinceField], shown.Fields[resourdb.SinceField]), strings.Compare(owner, shown.Owner)) > 0:
			shown = r
		}
	}
	return shown, false
}

// Reconcile compares all rows of the local database with what they should be, and gives what mends them: Redis may have
// been emptied, may have been away, or somebody wrote what is not his. The rows of a manager that may well lead are
// left alone, whether or not we have heard of it already.
func (n *Node) Reconcile(rows map[string]map[string]string) []resourdb.Change {
	here := n.writtenHere
	if _, _, copied := versionOf(rows[leaderKey]); !copied {
		m, err := resourdb.ParseManager(leaderKey, rows[leaderKey])
		if err == nil && m.Epoch >= n.store.owner(manager).incarnation {
			here = func(owner string) bool { return owner == n.self || owner == manager }
		}
	}
	want := map[string]map[string]string{}
	for owner, o := range n.store.owners {
		for key, r := range o.rows {
			switch {
			case isSupernode(owner):
				shown, here := n.shown(rowID{owner, key})
				_, _, copied := versionOf(rows[key])
				if shown.Fields != nil && !here {
					want[key] = withVersion(shown)
				} else if here && copied {
					want[key] = shown.Fields // a copy was written just as the supernode here wrote
				}
			case r.Fields != nil && !here(owner):
				want[key] = withVersion(r)
			}
		}
	}
	var list []resourdb.Change
	for key, row := range want {
		if !maps.Equal(rows[key], row) {
			list = append(list, resourdb.Change{Key: key, Row: row})
		}
	}
	for key, row := range rows {
		scope, _ := resourdb.ScopeOf(key)
		_, _, copied := versionOf(row)
		switch {
		case scope == resourdb.Local || want[key] != nil:
		case scope == resourdb.ManagerOwned && !copied && rows[leaderKey] == nil: // a manager that has not said yet whether it leads
		case scope == resourdb.SupernodeOwned && !copied: // of the supernode here
		case scope == resourdb.SupernodeOwned || !here(ownerOf(key, row)):
			list = append(list, resourdb.Change{Key: key})
		}
	}
	return list
}

func withVersion(r Row) map[string]string {
	row := make(map[string]string, len(r.Fields)+2)
	maps.Copy(row, r.Fields)
	row[incarnationField] = strconv.FormatUint(r.Version.Incarnation, 10)
	row[revField] = strconv.FormatUint(r.Version.Rev, 10)
	return row
}

// versionOf reads the version of a copy and gives the row without it. A row that has none was written on this node.
func versionOf(row map[string]string) (Version, map[string]string, bool) {
	inc, err1 := strconv.ParseUint(row[incarnationField], 10, 64)
	rev, err2 := strconv.ParseUint(row[revField], 10, 64)
	if err1 != nil || err2 != nil {
		return Version{}, row, false
	}
	fields := maps.Clone(row)
	delete(fields, incarnationField)
	delete(fields, revField)
	return Version{inc, rev}, fields, true
}
