package bt

import (
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/script"
)

// node is one compiled node. Nodes lie in the order of a walk (parent first), so the first child of node i is i+1 and a
// child's next sibling starts where the child ends. Index+1 is the node's UID.
type node struct {
	op    opcode
	attrs bool  // has scripts before or after
	deco  bool  // clears its child's SUCCESS or FAILURE after each tick
	kids  int32 // children
	end   int32 // index after the last node below
	aux   int32 // leaf, script or cell, by op
	parm  int32 // a status parameter, by op
	x     int32 // scripts, when attrs
	ports []port
}

// port is what one port of one node is bound to.
type port struct {
	slot int32 // entry, or one of the two below
	want board.Kind
	lit  board.Value
}

const (
	literalPort = -1
	noPort      = -2
)

// scripts are the pre and post attributes of a node, nil where it has none.
type scripts struct {
	guards                     []guard          // asked in this order before it begins
	while                      script.Condition // asked alone while it runs; also one of the guards
	onSuccess, onFailure, post script.Code
	halted                     script.Code
}

// guard decides in place of a node.
type guard struct {
	asks  script.Condition
	when  bool // it decides when the answer is this
	gives Status
}

// Info is what a person wants to know about a node.
type Info struct {
	UID    int
	Parent int // UID, 0 at the root
	Depth  int
	Name   string // as written, else the type (of a SubTree: the tree's ID)
	Type   string
	Class  Class
	Path   string // unique: subtree names, then the node's name or Type::UID
	Pos    Pos
	Attrs  []Attr
}

// Key is a name in a subtree's blackboard. Names that are remapped share a slot.
type Key struct {
	Scope string // path of the subtree, "" = the main tree
	Name  string
	Slot  int
	Root  bool // lies on the root blackboard: {@Name}
}

// Program is a compiled tree. It is immutable and may be shared.
type Program struct {
	main    string
	nodes   []node
	info    []Info
	scripts []scripts
	code    []script.Code      // of Script
	conds   []script.Condition // of ScriptCondition, Precondition
	funcs   []Func             // leaves without memory are shared
	sync    []*NodeType        // the others are made for each instance
	slow    []*NodeType
	cells   int // int64s an instance needs: deadlines, sequence numbers
	slots   int
	types   []board.Kind // of slots, Unset = by first value
	keys    []Key
	keysOf  [][]int32 // of keys: all of a slot
	kept    []int32   // of keys: one for each entry of its own, for Keeper
	keptAt  []int32   // by slot: place in kept, -1 without
	counted bool      // a node looks at sequence numbers of entries
	initial []initial
	enums   map[string]int64
	known   []*NodeType

	portNames map[string][]string // by type, for messages
	hash      uint64
}

// initial is a literal given to a SubTree's port.
type initial struct {
	slot  int
	value board.Value
}

// Main is the ID of the tree that runs.
func (p *Program) Main() string { return p.main }

// Nodes describes all nodes in the order of their UIDs, beginning with 1.
func (p *Program) Nodes() []Info { return p.info }

// Types are the node types it was compiled with, by name.
func (p *Program) Types() []*NodeType { return p.known }

// Keys lists the blackboard names the tree uses.
func (p *Program) Keys() []Key { return p.keys }

// Hash tells trees apart: saved runs belong to the tree they were made with.
func (p *Program) Hash() uint64 { return p.hash }

// Uses says whether the main tree's blackboard has such an entry.
func (p *Program) Uses(key string) bool { return p.slotOf(key) >= 0 }
