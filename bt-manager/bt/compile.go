package bt

import (
	"fmt"
	"hash/fnv"
	"strings"

	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/script"
)

// Size limits of a tree: UIDs have 16 bits, and everything that walks a tree is recursive.
const (
	MaxNodes = 65535
	MaxDepth = 256
)

// Options say what the loader cannot see in the file.
type Options struct {
	Given []string // names in the main tree's blackboard the program writes before it ticks
}

// Compile checks a forest and compiles its main tree. It reports every fault it finds; without errors (warnings do not
// count) there is a program.
func Compile(f Forest, reg *Registry, opt Options) (*Program, Diags) {
	c := &compiler{reg: reg, given: map[string]bool{}, scripts: map[*Attr]*script.Script{},
		trees: map[string]*Tree{}, models: map[string]*Model{}, fast: map[*Tree]bool{},
		p: &Program{enums: reg.enums, known: reg.Types(), portNames: map[string][]string{}}}
	for _, g := range opt.Given {
		c.given[g] = true
	}
	main := c.check(f)
	if main != nil && !c.recursive {
		c.build(main)
	}
	diags := c.diags.Sorted()
	if diags.Failed() || main == nil {
		return nil, diags
	}
	return c.p, diags
}

type compiler struct {
	reg       *Registry
	given     map[string]bool
	trees     map[string]*Tree
	models    map[string]*Model // of subtrees
	scripts   map[*Attr]*script.Script
	fast      map[*Tree]bool // answers of instant
	diags     Diags
	recursive bool
	p         *Program
	uses      []slotUse // by slot
	root      *scope
	tooBig    bool
	hints     int
}

// slotUse collects who touches a slot, for what cannot be right.
type slotUse struct {
	written bool
	reads   []useAt
	kind    board.Kind // of the first typed port
	kindAt  Pos
	root    bool
	given   bool
}

type useAt struct {
	key string
	pos Pos
}

// scope is the blackboard of one subtree while compiling.
type scope struct {
	path   string
	parent *scope
	remap  map[string]string
	auto   bool
	keys   map[string]int
}

func (c *compiler) errorf(pos Pos, format string, args ...any) {
	c.diags = append(c.diags, Diag{Pos: pos, Msg: fmt.Sprintf(format, args...)})
}

func (c *compiler) warnf(pos Pos, format string, args ...any) {
	c.diags = append(c.diags, Diag{Pos: pos, Msg: fmt.Sprintf(format, args...), Warning: true})
}

func (c *compiler) build(main *Tree) {
	c.p.main = main.ID
	c.root = &scope{keys: map[string]int{}}
	if m := c.models[main.ID]; m != nil {
		for _, p := range m.Ports {
			c.given[p.Name] = c.given[p.Name] || p.Dir != Out
		}
	}
	c.node(main.Root, c.root, 0, 0)
	c.p.slots = len(c.uses)
	for slot := range c.uses {
		u := &c.uses[slot]
		c.p.types = append(c.p.types, u.kind)
		if !u.written && !u.root && !u.given {
			for _, r := range u.reads {
				c.errorf(r.pos, "entry %q is read here but nothing writes it%s", r.key, Meant(r.key, c.written(slot)))
			}
		}
	}
	c.p.hash = c.hash()
	c.p.keeping()
}

// maxHints bounds how many entries without a writer get a hint: each costs a look at all names.
const maxHints = 50

// written lists the names beside a slot's own, in the same subtree, that have a value.
func (c *compiler) written(slot int) (names []string) {
	if c.hints++; c.hints > maxHints {
		return nil
	}
	for _, own := range c.p.keys {
		if own.Slot != slot {
			continue
		}
		for _, k := range c.p.keys {
			if u := c.uses[k.Slot]; k.Scope == own.Scope && (u.written || u.given) {
				names = append(names, k.Name)
			}
		}
	}
	return names
}

// slot finds or makes the slot a key means in a scope.
func (c *compiler) slot(sc *scope, key string) int {
	if s, ok := sc.keys[key]; ok {
		return s
	}
	s := -1
	if name, root := strings.CutPrefix(key, "@"); root {
		if sc != c.root {
			return c.slot(c.root, key)
		}
		c.slot(c.root, name) // what {@name} means to an instance without a root blackboard
		s = c.newSlot(Key{Name: name, Root: true})
	} else if sc.parent != nil {
		if outer, ok := sc.remap[key]; ok {
			s = c.slot(sc.parent, outer)
		} else if sc.auto && !strings.HasPrefix(key, "_") {
			s = c.slot(sc.parent, key)
		}
	}
	if s < 0 {
		s = c.newSlot(Key{Scope: sc.path, Name: key})
	} else if !strings.HasPrefix(key, "@") {
		c.p.keys = append(c.p.keys, Key{Scope: sc.path, Name: key, Slot: s, Root: c.uses[s].root})
	}
	sc.keys[key] = s
	return s
}

func (c *compiler) newSlot(k Key) int {
	k.Slot = len(c.uses)
	c.uses = append(c.uses, slotUse{root: k.Root, given: !k.Root && k.Scope == "" && c.given[k.Name]})
	c.p.keys = append(c.p.keys, k)
	return k.Slot
}

// node appends a node and everything below it.
func (c *compiler) node(d *Def, sc *scope, parent, depth int) {
	if c.tooBig {
		return
	}
	if len(c.p.nodes) >= MaxNodes || depth >= MaxDepth {
		c.tooBig = true
		c.errorf(d.Pos, "the tree has more than %d nodes or is deeper than %d", MaxNodes, MaxDepth)
		return
	}
	t := c.reg.Type(d.Type)
	if d.Type == "SubTree" {
		t = &subTreeType
	}
	if t == nil {
		t = &NodeType{Name: d.Type, op: opAlwaysFailure} // reported by check; goes on for the other faults
	}
	i := len(c.p.nodes)
	info := Info{UID: i + 1, Parent: parent, Depth: depth, Name: d.value("name"), Type: t.Name, Class: t.Class, Pos: d.Pos, Attrs: d.Attrs}
	last := info.Name
	if last == "" {
		last = fmt.Sprintf("%s::%d", t.Name, i+1)
		info.Name = t.Name
		if t.op == opSubTree {
			last = fmt.Sprintf("%s::%d", d.value("ID"), i+1)
			info.Name = d.value("ID")
		}
	}
	info.Path = last
	if sc.path != "" {
		info.Path = sc.path + "/" + last
	}
	c.p.nodes = append(c.p.nodes, node{op: t.op, deco: t.Class == Decorator || t.op == opSubTree})
	c.p.info = append(c.p.info, info)
	n := node{op: t.op, deco: c.p.nodes[i].deco}
	c.attributes(&n, d, sc)
	n.kids = int32(len(d.Children))
	if t.op == opSubTree {
		c.enter(d, sc, info.Path, i+1, depth)
		n.kids = 1
	} else {
		c.ports(&n, t, d, sc)
		c.payload(&n, t, d, sc)
		for _, kid := range d.Children {
			c.node(kid, sc, i+1, depth+1)
		}
	}
	n.end = int32(len(c.p.nodes))
	c.p.nodes[i] = n
}

var subTreeType = NodeType{Name: "SubTree", Class: SubTree, op: opSubTree}

// enter compiles the inside of a SubTree node with a scope of its own.
func (c *compiler) enter(d *Def, outer *scope, path string, uid, depth int) {
	tree := c.trees[d.value("ID")]
	if tree == nil || tree.Root == nil {
		return // reported by check
	}
	sc := &scope{path: path, parent: outer, remap: map[string]string{}, keys: map[string]int{},
		auto: strings.EqualFold(d.value("_autoremap"), "true") || d.value("_autoremap") == "1"}
	given := map[string]bool{}
	for i := range d.Attrs {
		a := &d.Attrs[i]
		if a.Name == "name" || a.Name == "ID" || strings.HasPrefix(a.Name, "_") {
			continue
		}
		given[a.Name] = true
		if key, pointer := pointerKey(a.Value, a.Name); pointer {
			sc.remap[a.Name] = key
		} else {
			c.literal(sc, a.Name, a.Value)
		}
	}
	if m := c.models[tree.ID]; m != nil {
		for _, p := range m.Ports {
			if p.Default == "" || given[p.Name] {
				continue
			}
			if key, pointer := pointerKey(p.Default, p.Name); pointer {
				sc.remap[p.Name] = key
			} else {
				c.literal(sc, p.Name, p.Default)
			}
		}
	}
	c.node(tree.Root, sc, uid, depth+1)
}

func (c *compiler) literal(sc *scope, key, text string) {
	s := c.newSlot(Key{Scope: sc.path, Name: key})
	sc.keys[key] = s
	c.uses[s].written = true
	c.p.initial = append(c.p.initial, initial{s, board.Guess(text)})
}

// pointerKey reads {key} and {=}.
func pointerKey(value, own string) (key string, pointer bool) {
	v := strings.TrimSpace(value)
	if len(v) < 3 || v[0] != '{' || v[len(v)-1] != '}' {
		return "", false
	}
	if key = v[1 : len(v)-1]; key == "=" {
		key = own
	}
	return key, true
}

// hash covers what a saved run depends on: shape, types, names and parameters.
func (c *compiler) hash() uint64 {
	h := fnv.New64a()
	for i, info := range c.p.info {
		fmt.Fprintf(h, "%s|%s|%d|%d\n", info.Path, info.Type, info.Parent, c.p.nodes[i].end)
		for _, a := range info.Attrs {
			if a.Name != "_description" {
				fmt.Fprintf(h, " %s=%q", a.Name, a.Value)
			}
		}
	}
	return h.Sum64()
}
