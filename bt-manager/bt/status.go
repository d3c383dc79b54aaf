// Package bt is a behaviour-tree engine with the semantics of BehaviorTree.CPP v4 (docs/decisions/0010-*.md lists where it
// differs on purpose). A Program is a compiled tree, immutable and shared; an Instance is the state of one run of it.
// It reads its blackboard and the time it is given, writes its blackboard and what its leaves do, and is told by Tick and
// Halt. It has no goroutine, lock, clock or file: the caller ticks an instance when one of its wake reasons is due, never
// from two goroutines at once.
//
//	prog, diags := xmlv4.Load(files, "manager.xml", registry)
//	run := prog.New(nil)
//	status, next := run.Tick(now) // tick again at next, or when something it waits for has happened
package bt

import "fmt"

// Status is the answer of a node. The numbers are wire values: logs and monitors carry them.
type Status uint8

const (
	Idle Status = iota // not ticked, or reset by its parent; never an answer
	Running
	Success
	Failure
	Skipped // an answer only: the node itself keeps the status it had
)

var statusNames = [...]string{"IDLE", "RUNNING", "SUCCESS", "FAILURE", "SKIPPED"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// ParseStatus reads what String prints.
func ParseStatus(s string) (Status, error) {
	for i, n := range statusNames {
		if s == n {
			return Status(i), nil
		}
	}
	return Idle, fmt.Errorf("status %q: want one of %v", s, statusNames)
}

// Done says whether the node ended: SUCCESS or FAILURE.
func (s Status) Done() bool { return s == Success || s == Failure }

// HaltWhy tells a leaf why it is stopped.
type HaltWhy uint8

const (
	HaltBranch  HaltWhy = iota // its parent went another way
	HaltGuard                  // its or an ancestor's _while became false
	HaltTimeout                // a Timeout above it is over
	HaltTree                   // somebody halted the whole tree
	HaltDeposed                // another manager owns the tree now: let go, undo nothing
)

var haltNames = [...]string{"branch", "guard", "timeout", "tree", "deposed"}

func (w HaltWhy) String() string {
	if int(w) < len(haltNames) {
		return haltNames[w]
	}
	return fmt.Sprintf("halt %d", uint8(w))
}
