package replica

import (
	"time"

	"sonic-netservices/resourdb"
)

// Bounds on what a peer may make us keep, far above what an AS has.
const (
	maxOwners = 4096
	maxRows   = 4096      // of one owner
	maxFields = 256       // of one row
	maxBytes  = 64 << 10  // of one row
	batchRows = 256       // in one frame
	batchKeys = 1024      // of a digest in one frame
	maxDigest = 1_000_000 // keys
	maxTombs  = 1000      // of ours; then the incarnation grows and they go
	maxCount  = 1 << 62   // of incarnations and revisions: what is larger is garbage
)

// Frame is what travels over a link.
type Frame struct {
	Digest    []Stamp
	DigestEnd bool
	Rows      []SentRow
}

// SentRow is a row and how long ago its sender heard from the owner.
type SentRow struct {
	Row
	Age time.Duration
}

// Limits are how long a node may be silent.
type Limits struct {
	Periods int           // push intervals without a word: stale
	Dead    time.Duration // without a word: dead
	Slowest time.Duration // push interval of a node that says none, or an absurd one
}

// Node is the state of one node's resource-sync, a value machine: rows, links and times go in, frames and changes of
// the local database come out. Times are of this node's monotonic clock, since any moment.
type Node struct {
	self    string
	limits  Limits
	store   *Store
	leading bool // bt-manager writes its rows on this node
	links   map[int]*link
	heard   map[string]time.Duration // by node: when its newest row was young
	dirty   map[rowID]bool           // rows whose copies in the database are to be written or removed
}

type rowID struct{ owner, key string }

// link is one stream to a peer.
//
//	connected -> our digest goes out, theirs comes in -> what they lack goes out -> what is new goes out
type link struct {
	peer    string
	digest  []Stamp // of ours, still to be sent
	ended   bool    // the end of the digest was sent
	theirs  []Stamp // so far
	pending map[rowID]bool
}

// NewNode makes a node that begins its life with this incarnation, and with revisions above base.
func NewNode(self string, incarnation, base uint64, limits Limits) *Node {
	n := &Node{self: self, limits: limits, store: newStore(base), links: map[int]*link{},
		heard: map[string]time.Duration{}, dirty: map[rowID]bool{}}
	n.store.owner(self).incarnation = incarnation
	n.store.owner(supernodeOf(self)).incarnation = incarnation
	return n
}

// ours: nobody but this node gives these rows their versions.
func (n *Node) ours(owner string) bool { return owner == n.self || owner == supernodeOf(n.self) }

// Incarnation of this node now.
func (n *Node) Incarnation() uint64 { return n.store.owner(n.self).incarnation }

// Load takes over a copy of another's row that a former life left in the database. Its owner counts as silent until
// it speaks.
func (n *Node) Load(r Row, now time.Duration) {
	if n.ours(r.Owner) || !fits(r) {
		return
	}
	n.store.merge(r)
	if _, ok := n.heard[r.Owner]; !ok && isNode(r.Owner) {
		n.heard[r.Owner] = now - time.Duration(n.limits.Periods+1)*n.limits.Slowest
	}
}

// Put is a row of this node as its writer left it, or nil fields when it was removed. Heartbeats are new revisions of
// an equal row.
func (n *Node) Put(key string, fields map[string]string, heartbeat bool) {
	n.put(n.self, key, fields, heartbeat)
	n.compact(n.self, key)
}

// PutSupernode is a row of the supernode on this node.
func (n *Node) PutSupernode(key string, fields map[string]string) {
	owner := supernodeOf(n.self)
	n.put(owner, key, fields, false)
	n.compact(owner, key)
	if other, _ := n.shown(rowID{owner, key}); fields == nil && other.Fields != nil {
		n.dirty[rowID{owner, key}] = true // the edge has gone to another supernode
	}
}

// compact rids rows of ours of their tombstones when there are too many.
func (n *Node) compact(owner, key string) {
	if o := n.store.owner(owner); o.removed > maxTombs {
		n.renew(owner, o.incarnation+1, key)
	}
}

// renew gives rows of ours a newer incarnation, which voids what others have of older ones. A node always has a row that
// says so, a supernode may have none: then a tombstone says it.
func (n *Node) renew(owner string, incarnation uint64, key string) {
	keys := n.store.reincarnate(owner, incarnation)
	if len(keys) == 0 && isSupernode(owner) {
		n.store.touch(owner, key, nil)
		keys = []string{key}
	}
	n.announce(owner, keys)
}

// Lead says that bt-manager writes its rows on this node, under this epoch. It is refused when the AS has heard of a
// newer one.
func (n *Node) Lead(epoch uint64) bool {
	o := n.store.owner(manager)
	switch {
	case epoch < o.incarnation:
		n.leading = false
	case epoch > o.incarnation:
		if !n.leading { // rows of another leader are not ours to pass on
			n.store.owners[manager] = &owned{incarnation: epoch, rows: map[string]Row{}}
		}
		n.announce(manager, n.store.reincarnate(manager, epoch))
		n.leading = true
	default:
		n.leading = true
	}
	return n.leading
}

// Leading says whether rows of the manager begin their way here.
func (n *Node) Leading() bool { return n.leading }

// PutManager is a row of bt-manager on this node; it counts only while Lead was granted.
func (n *Node) PutManager(key string, fields map[string]string) {
	if !n.leading {
		return
	}
	n.put(manager, key, fields, false)
	if o := n.store.owner(manager); o.removed > maxTombs {
		for key, r := range o.rows { // an epoch cannot grow by itself; what everybody has forgotten may go
			if r.Fields == nil {
				delete(o.rows, key)
			}
		}
		o.removed = 0
	}
}

func (n *Node) put(owner, key string, fields map[string]string, always bool) {
	if !fits(Row{Key: key, Owner: owner, Fields: fields}) {
		return
	}
	if always {
		n.store.touch(owner, key, fields)
	} else if !n.store.set(owner, key, fields) {
		return
	}
	n.announce(owner, []string{key})
}

// announce queues rows of ours for all links.
func (n *Node) announce(owner string, keys []string) {
	for _, l := range n.links {
		for _, key := range keys {
			l.pending[rowID{owner, key}] = true
		}
	}
}

// Connect begins a link.
func (n *Node) Connect(id int, peer string) {
	n.links[id] = &link{peer: peer, digest: n.store.digest(), pending: map[rowID]bool{}}
}

// Disconnect ends it. What was pending is found again by the digests of the next link.
func (n *Node) Disconnect(id int) { delete(n.links, id) }

// Receive takes a frame.
func (n *Node) Receive(id int, f Frame, now time.Duration) {
	l := n.links[id]
	if l == nil {
		return
	}
	for _, d := range f.Digest {
		if !fits(Row{Key: d.Key, Owner: d.Owner, Version: d.Version}) {
			continue
		}
		n.reclaim(d)
		if len(l.theirs) < maxDigest {
			l.theirs = append(l.theirs, d)
		}
	}
	for _, r := range f.Rows {
		n.take(id, r, now)
	}
	if f.DigestEnd {
		for _, s := range n.store.lacking(l.theirs) {
			l.pending[rowID{s.Owner, s.Key}] = true
		}
		l.theirs = nil
	}
}

// take merges one row of a peer and passes it on if it is new.
func (n *Node) take(from int, r SentRow, now time.Duration) {
	if !fits(r.Row) || n.full(r.Row) || n.reclaim(Stamp{r.Key, r.Owner, r.Version}) {
		return
	}
	changed, newer := n.store.merge(r.Row)
	if !newer {
		return
	}
	if isNode(r.Owner) {
		at := now - max(r.Age, 0)
		if before, ok := n.heard[r.Owner]; !ok || at > before {
			n.heard[r.Owner] = at
		}
	}
	for _, key := range changed {
		n.dirty[rowID{r.Owner, key}] = true
	}
	id := rowID{r.Owner, r.Key}
	for other, l := range n.links {
		if other == from {
			delete(l.pending, id) // it has what we have now
		} else if l.peer != r.Owner {
			l.pending[id] = true
		}
	}
}

// reclaim deals with a version of a row that only we can write. When it is newer than ours it is from a former life,
// and ours must become newer still. True: the row is ours and is not to be merged.
func (n *Node) reclaim(s Stamp) bool {
	switch {
	case n.ours(s.Owner):
		o := n.store.owner(s.Owner)
		r, ok := o.rows[s.Key]
		switch {
		case s.Version.Incarnation > o.incarnation || s.Version.Incarnation == o.incarnation && (!ok || r.Version.Rev < s.Version.Rev):
			n.renew(s.Owner, s.Version.Incarnation+1, s.Key)
		case s.Version.Incarnation < o.incarnation && len(o.rows) == 0 && isSupernode(s.Owner):
			n.renew(s.Owner, o.incarnation, s.Key)
		}
		return true
	case s.Owner == manager && n.leading:
		o := n.store.owner(manager)
		if s.Version.Incarnation > o.incarnation {
			n.leading = false // another manager leads
			return false
		}
		r, ok := o.rows[s.Key]
		if s.Version.Incarnation == o.incarnation && (!ok || r.Version.Rev < s.Version.Rev) {
			o.rev = max(o.rev, s.Version.Rev)
			n.store.touch(manager, s.Key, r.Fields)
			n.announce(manager, []string{s.Key})
		}
		return true
	}
	return false
}

// full says that a row would make its owner, or the number of owners, too large.
func (n *Node) full(r Row) bool {
	o := n.store.owners[r.Owner]
	if o == nil {
		return len(n.store.owners) >= maxOwners
	}
	_, known := o.rows[r.Key]
	return !known && r.Version.Incarnation == o.incarnation && len(o.rows) >= maxRows
}

// fits says whether a row may travel: of the right table, of the owner its key names, and not too large. Tables that
// this version does not know are passed on.
func fits(r Row) bool {
	scope, node := resourdb.ScopeOf(r.Key)
	switch {
	case scope == resourdb.NodeOwned && node != r.Owner,
		scope == resourdb.ManagerOwned && r.Owner != manager,
		scope == resourdb.SupernodeOwned && (!isSupernode(r.Owner) || r.Fields != nil && r.Owner != ownerOf(r.Key, r.Fields)),
		scope == resourdb.Local && !resourdb.Foreign(r.Key),
		len(r.Fields) > maxFields, r.Version.Incarnation > maxCount, r.Version.Rev > maxCount:
		return false
	}
	size := len(r.Key) + len(r.Owner)
	for f, v := range r.Fields {
		size += len(f) + len(v)
	}
	return size <= maxBytes
}

// Next gives the frame a link should carry now, nil when it has nothing to say. The rows in it are the newest: a slow
// peer gets fewer revisions, never more memory of ours.
func (n *Node) Next(id int, now time.Duration) *Frame {
	l := n.links[id]
	switch {
	case l == nil:
		return nil
	case !l.ended:
		part := l.digest[:min(batchKeys, len(l.digest))]
		l.digest = l.digest[len(part):]
		l.ended = len(l.digest) == 0
		return &Frame{Digest: part, DigestEnd: l.ended}
	case len(l.pending) == 0:
		return nil
	}
	f := &Frame{}
	for id := range l.pending {
		delete(l.pending, id)
		if r, ok := n.store.get(id.owner, id.key); ok {
			f.Rows = append(f.Rows, SentRow{Row: r, Age: n.age(id.owner, now)})
		}
		if len(f.Rows) == batchRows {
			break
		}
	}
	if len(f.Rows) == 0 {
		return nil
	}
	return f
}

func (n *Node) age(owner string, now time.Duration) time.Duration {
	if at, ok := n.heard[owner]; ok && owner != n.self {
		return now - at
	}
	return 0
}

// Fields in which a copy of another's row carries its version.
const (
	incarnationField = "incarnation"
	revField         = "rev"
)
