package decide

import (
	"errors"
	"time"

	"sonic-netservices/netmap"
)

// World is what the leaves see of everything outside their tree, and all they can do to it. No call blocks: an
// operation is begun here and goes on elsewhere, and whoever drives the trees ticks them again when anything changed.
//
// package run implements it on resour_DB and the orders of the manager; tests implement it in memory.
type World interface {
	// Snapshot is the network now, with what is reserved for operations in flight. It is never changed.
	Snapshot() *netmap.Snapshot

	// Requests are services that an operator wants and that have not been admitted, oldest first.
	Requests() []string
	// Admit takes a requested service on. Its index pairs ServiceN and PolicyN on the blackboard and is never used again.
	Admit(service string) (index int, err error)
	// Replicas lists every replica that is desired, by ID, with where it stands.
	Replicas() []Replica

	// Begin starts an operation under the given ID; the same ID again is no second operation. ErrRefused says that it
	// cannot be, another error that it could not be now.
	Begin(op Operation) error
	// Advance lets a resting move go on: Prewarm after Transferred, Cutover after TargetReady, Cancel from both.
	Advance(id string, to Step) error
	// Progress tells how far an operation is. Unknown operations are Gone.
	Progress(id string) Progress

	// Rest keeps until when something is not tried again, over the manager's death; without tries it is over. Rests gives
	// what was kept.
	Rest(key string, r Rest)
	Rests() map[string]Rest
	// Landed lists the moves that have ended, oldest first, whoever ordered them: those that cool down are among them.
	Landed() []Landing

	// Audit notes a decision for `nsctl why`: of a replica or, with an empty one, of the whole.
	Audit(replica string, d Entry)
}

// ErrRefused says that somebody said no to an operation: the target of a move, a manager that has another one in
// flight for the replica.
var ErrRefused = errors.New("refused")

// Replica is one desired replica.
type Replica struct {
	ID        netmap.ReplicaID
	Index     int    // of its service; 0 until it is admitted
	Node      string // "" when it is nowhere
	Op        string // in flight, "" for none; the trees leave such a replica alone unless the operation is theirs
	Demand    netmap.Demand
	DataBytes float64 // a move would carry
	Pin       []string
	Avoid     []string
	Together  bool        // may share a node with another replica of its service
	Mode      netmap.Mode // of its moves
	Wanted    string      // node an operator asked for, "" when the tree chooses
	Redeploy  bool        // on_lost_node
	LeaseOver bool        // its node cannot be serving it any more: the lease and the margin have passed
}

// Rest of a replica, or of a service that waits to be admitted, after failures.
type Rest struct {
	Tries int       `json:"tries"` // that failed in a row
	Until time.Time `json:"until"` // by the wall: no other clock outlives a machine
}

// Hold is what operators have told a tree, until they tell it otherwise.
type Hold struct {
	Paused string            `json:"paused,omitempty"` // by whom; "" = it is not
	Forced map[string]Forced `json:"forced,omitempty"` // by path of the node
}

// Forced is what a node answers instead of being run.
type Forced struct {
	Status string `json:"status"` // bt.ParseStatus
	By     string `json:"by"`
}

// Landing is the end of a move.
type Landing struct {
	Replica  netmap.ReplicaID
	From, To string
	At       time.Time
}

// Verb of an operation.
type Verb string

const (
	Deploy Verb = "deploy"
	Move   Verb = "move"
)

// Operation is what the tree orders.
type Operation struct {
	ID      string // issued by the leaf: the same after a crash
	Verb    Verb
	Replica netmap.ReplicaID
	To      string
	Mode    netmap.Mode // of a move
	Reason  string      // in words, for RESOUR_POLICY and the audit
	Gain    float64
	Lost    bool // deploy: the node it ran on counts as lost, with what its memory and volumes held
}

// Step is where a move may be sent.
type Step string

const (
	Prewarm Step = "prewarm"
	Cutover Step = "cutover"
	Cancel  Step = "cancel"
)

// Stage is how far an operation is.
type Stage string

const (
	Gone        Stage = "gone"        // nobody knows it
	Working     Stage = "working"     // towards the next resting place or the end
	Transferred Stage = "transferred" // a move rests: image and volumes are at the target
	TargetReady Stage = "ready"       // a move rests: the target is ready
	Committed   Stage = "committed"   // it ended well
	Aborted     Stage = "aborted"     // it ended, nothing changed
	Denied      Stage = "refused"     // the target said no: nothing was begun
)

// Progress of an operation.
type Progress struct {
	Stage  Stage
	Detail string // newest phase, or why it ended
	Node   string // where the replica is after a good end
}

// Entry is one line of the audit.
type Entry struct {
	What   string // confirmed, chosen, refused, moved, deployed, waits, ...
	Text   string // one line for people
	Op     string // the operation it is about, "" without
	Path   string // of the leaf that says it
	Detail any    // balance.Decision, Judgement, ...: for --json and the long form
}
