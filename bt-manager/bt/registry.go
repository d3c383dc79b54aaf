package bt

import (
	"fmt"
	"sort"

	"sonic-netservices/bt-manager/bt/board"
)

// Class is what kind of node a type is.
type Class uint8

const (
	Action Class = iota
	Condition
	Control
	Decorator
	SubTree
)

var classNames = [...]string{"Action", "Condition", "Control", "Decorator", "SubTree"}

func (c Class) String() string { return classNames[c] }

// ParseClass reads the element names of the explicit form and of the model.
func ParseClass(s string) (Class, bool) {
	for i, n := range classNames {
		if s == n {
			return Class(i), true
		}
	}
	return 0, false
}

// Dir says whether a node reads or writes a port.
type Dir uint8

const (
	In Dir = iota
	Out
	InOut
)

// Port is one named value a node reads from or writes to the blackboard.
type Port struct {
	Name     string
	Dir      Dir
	Type     board.Kind // Unset = any
	Default  string     // of an input that is left out
	Optional bool       // an input that may be left out: its value is then unset. Outputs always may
	Min, Max float64    // bounds of a literal number; both 0 = none
}

// Leaf is what a leaf type makes: a Sync or a Stateful, perhaps Durable.
type Leaf any

// Sync is a leaf that answers at once. RUNNING is an error.
type Sync interface{ Tick(*Ctx) Status }

// Func is the usual Sync leaf: one without memory. All instances of a program share it.
type Func func(*Ctx) Status

func (f Func) Tick(c *Ctx) Status { return f(c) }

// Stateful is a leaf that takes time. OnStart begins it, OnRunning is asked at each tick until it ends, OnHalted stops
// it. Between them it may answer RUNNING.
type Stateful interface {
	OnStart(*Ctx) Status
	OnRunning(*Ctx) Status
	OnHalted(*Ctx, HaltWhy)
}

// OpID names an operation that goes on outside of the process.
type OpID string

// Durable is a leaf whose operation lives on when the process dies. It notes the operation with Ctx.SetOp before it
// starts it; after a crash OnResume, instead of OnRunning, finds out what became of it.
type Durable interface {
	Stateful
	OnResume(*Ctx, OpID) Status
}

// NodeType is a registered type of node.
type NodeType struct {
	Name  string
	Class Class
	Ports []Port
	New   func() Leaf // one leaf for each node of each instance; nil for built-in types and for types only linted

	op             opcode
	minKids, maxKs int
}

// Registry knows node types by name. Fill it before loading, do not change it after.
type Registry struct {
	types map[string]*NodeType
	enums map[string]int64
}

// NewRegistry knows the built-in types.
func NewRegistry() *Registry {
	r := &Registry{types: map[string]*NodeType{}, enums: map[string]int64{}}
	for _, t := range builtin() {
		r.types[t.Name] = &t
	}
	return r
}

// Add registers a leaf type. A name twice is a mistake of the program, so it panics.
func (r *Registry) Add(name string, class Class, ports []Port, make func() Leaf) {
	if r.types[name] != nil || class != Action && class != Condition {
		panic(fmt.Sprintf("bt: leaf type %s is registered twice or is no leaf", name))
	}
	r.types[name] = &NodeType{Name: name, Class: class, Ports: ports, New: make, op: opLeaf}
}

// AddFunc registers a leaf without memory.
func (r *Registry) AddFunc(name string, class Class, ports []Port, tick Func) {
	r.Add(name, class, ports, func() Leaf { return tick })
}

// Enum gives a number a name scripts and Switch may use.
func (r *Registry) Enum(name string, value int64) { r.enums[name] = value }

// Type finds a type, nil when there is none.
func (r *Registry) Type(name string) *NodeType { return r.types[name] }

// Types lists all types by name.
func (r *Registry) Types() []*NodeType {
	list := make([]*NodeType, 0, len(r.types))
	for _, t := range r.types {
		list = append(list, t)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// WithModels gives a registry that also knows the leaf types a file declares but nobody implements, for linting: their
// nodes fail when ticked.
func (r *Registry) WithModels(models []Model) *Registry {
	more := &Registry{types: map[string]*NodeType{}, enums: r.enums}
	for n, t := range r.types {
		more.types[n] = t
	}
	for _, m := range models {
		if more.types[m.ID] == nil && (m.Class == Action || m.Class == Condition) {
			more.types[m.ID] = &NodeType{Name: m.ID, Class: m.Class, Ports: m.Ports, op: opLeaf}
		}
	}
	return more
}
