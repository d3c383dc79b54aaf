// Package journal keeps what bt-manager must not forget: a sequence of records, the same on every manager of an AS.
//
// It reads and writes a folder under /host/netservices/bt-manager, speaks to the journals of the other managers, and is
// told by bt-manager/orders, which appends a record before it acts on it, and by bt-manager/serve, which adds and
// removes managers. Behind Log stands Raft: hashicorp/raft with its log in raft-wal, and nobody else sees either.
package journal

import (
	"context"
	"errors"
	"time"
)

// Log is a sequence of records that several managers agree on. One of them leads; it alone can append.
type Log interface {
	// Run takes part until ctx ends, and calls lead whenever this manager begins to lead, after its machine has heard of
	// everything that was ever stored. The context that lead gets ends when others may lead; lead must return soon then,
	// and is not called again before it has. Run's error is that of a journal that cannot be read or written.
	Run(ctx context.Context, lead func(ctx context.Context)) error
	// Append stores records, JSON values, all or none of them. When it returns nil a majority has them on its disks, and
	// the machine has applied them. ErrDeposed: this manager does not lead any more; who leads next may have them.
	Append(records ...[]byte) error
	// Status says who the managers are, as this one knows.
	Status() Status

	// Add makes a manager that waits to be joined one of the voters. applied asks it how far it has come: until it has
	// caught up its vote is not needed. One whose journal had a former life takes its own place. Only the leader can.
	Add(ctx context.Context, m Member, applied func(context.Context) (uint64, error)) error
	// Remove takes the vote from another manager. Only the leader can.
	Remove(node string) error
	// Transfer lets another manager lead, "" = any. Only the leader can.
	Transfer(node string) error
}

// Machine is what follows from the records, the same on every manager. Its methods are called by one goroutine, while
// others append.
type Machine interface {
	// Apply lets records that were stored together count. An error ends the journal: this version cannot go on.
	Apply(records [][]byte) error
	// Sum gives one record, a JSON value, that says what all records so far say.
	Sum() ([]byte, error)
	// Restore puts what a sum says in the place of everything so far.
	Restore(sum []byte) error
}

// ErrDeposed says that this manager does not lead, or not any more.
var ErrDeposed = errors.New("this manager does not lead any more")

// Member is one manager.
type Member struct {
	Node   string // name of its certificate
	Addr   string // host:port of its journal
	Serves string // host:port where operators and agents find it
	Life   string // of its journal: another one after its disk was lost
	Voter  bool   // false: it is being added, and catches up
}

// Status of the managers as one of them sees it.
type Status struct {
	Leader  string    // node, "" = unknown
	Since   time.Time // when this manager has heard of that
	Leads   bool      // it is this one
	Role    Role
	Heard   time.Time // when a follower has last heard from its leader; zero = never, or it is no follower
	Term    uint64
	Last    uint64 // index of the newest entry in this manager's log
	Applied uint64 // of the newest entry its machine has heard of
	Life    string // of this manager's journal
	Members []Member
}

// Role is what Raft has a manager do.
type Role string

const (
	Leader    Role = "leader" // also before it has heard of everything, so before it Leads
	Candidate Role = "candidate"
	Follower  Role = "follower"
)

// Roles are all of them.
var Roles = [...]Role{Leader, Candidate, Follower}

// Member gives the manager of a node.
func (s Status) Member(node string) (Member, bool) {
	for _, m := range s.Members {
		if m.Node == node {
			return m, true
		}
	}
	return Member{}, false
}
