package btlog

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Node is one node of a tree that ran.
type Node struct {
	UID    int
	Parent int // UID, 0 at the root
	Depth  int
	Name   string // its type when it has no name of its own; of a SubTree its name, else the tree's ID
	Type   string
	Class  string   // Action, Condition, Control, Decorator, SubTree; "" when the models do not tell
	Path   string   // subtree names, then the node's name or Type::UID
	Guards []string // attributes that decide whether it runs, as "skipIf: x > 1"
}

// Tree is a tree as it ran: every subtree in each place it is used at.
type Tree struct {
	Main  string
	Nodes []Node // in the order of their UIDs, which begin with 1; a parent comes before its children
}

// Limits of a tree that is read.
const (
	MaxXML   = 64 << 20 // bytes
	maxNodes = 65535    // UIDs have 16 bits
	maxDepth = 1 << 10  // nodes inside nodes
)

// element is one node as the XML has it.
type element struct {
	kind  string
	attrs map[string]string
	kids  []*element
}

// ParseTree reads the XML that a monitor or a log gives of a tree: one <BehaviorTree> for each use of a subtree, found by
// its _fullpath, and a _uid at every node.
func ParseTree(text []byte) (*Tree, error) {
	p := &treeParser{trees: map[string]*element{}, classes: map[string]string{}}
	if err := p.read(text); err != nil {
		return nil, fmt.Errorf("XML of the tree: %w", err)
	}
	if err := p.place(p.trees[""], "", 0, 0); err != nil {
		return nil, fmt.Errorf("XML of the tree: %w", err)
	}
	for i, n := range p.tree.Nodes {
		if n.UID != i+1 {
			return nil, fmt.Errorf("XML of the tree: node %d has _uid %d", i+1, n.UID)
		}
	}
	return &p.tree, nil
}

type treeParser struct {
	tree    Tree
	trees   map[string]*element // by _fullpath
	classes map[string]string   // by type
}

func (p *treeParser) read(text []byte) error {
	if len(text) > MaxXML {
		return fmt.Errorf("%d bytes, %d are allowed", len(text), MaxXML)
	}
	dec := xml.NewDecoder(strings.NewReader(string(text)))
	var open []*element
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(open) > maxDepth {
				return fmt.Errorf("line %d: more than %d elements inside each other", line(dec), maxDepth)
			}
			e := &element{kind: t.Name.Local, attrs: map[string]string{}}
			for _, a := range t.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			if len(open) > 0 {
				up := open[len(open)-1]
				up.kids = append(up.kids, e)
			}
			open = append(open, e)
		case xml.EndElement:
			e := open[len(open)-1]
			open = open[:len(open)-1]
			if err := p.closed(e, len(open)); err != nil {
				return fmt.Errorf("line %d: %w", line(dec), err)
			}
		}
	}
	if p.trees[""] == nil {
		return errors.New("no <BehaviorTree> with an empty _fullpath")
	}
	return nil
}

func line(dec *xml.Decoder) int {
	n, _ := dec.InputPos()
	return n
}

// closed looks at an element that is complete.
func (p *treeParser) closed(e *element, depth int) error {
	switch {
	case depth == 1 && e.kind == "BehaviorTree":
		path := e.attrs["_fullpath"]
		if len(e.kids) != 1 {
			return fmt.Errorf("<BehaviorTree> has %d children, want 1", len(e.kids))
		}
		if p.trees[path] != nil {
			return fmt.Errorf("two <BehaviorTree> of _fullpath %q", path)
		}
		p.trees[path] = e
		if path == "" {
			p.tree.Main = e.attrs["ID"]
		}
	case depth == 1 && e.kind == "TreeNodesModel":
		for _, m := range e.kids {
			p.classes[m.attrs["ID"]] = m.kind
		}
	}
	return nil
}

// place adds the nodes of a subtree, and of those that it uses.
func (p *treeParser) place(tree *element, path string, parent, depth int) error {
	delete(p.trees, path) // a subtree inside of itself is found missing
	return p.node(tree.kids[0], path, parent, depth)
}

// Guards are the attributes that decide whether a node runs.
var Guards = []string{"_failureIf", "_successIf", "_skipIf", "_while"}

func (p *treeParser) node(e *element, path string, parent, depth int) error {
	if len(p.tree.Nodes) == maxNodes || depth > maxDepth {
		return fmt.Errorf("more than %d nodes, or more than %d inside each other", maxNodes, maxDepth)
	}
	uid, err := strconv.Atoi(e.attrs["_uid"])
	if err != nil {
		return fmt.Errorf("<%s> %q has _uid %q", e.kind, e.attrs["name"], e.attrs["_uid"])
	}
	n := Node{UID: uid, Parent: parent, Depth: depth, Name: e.attrs["name"], Type: e.kind, Class: p.classes[e.kind]}
	if n.Name == "" {
		n.Name = n.Type
	}
	last := n.Name
	if n.Name == n.Type {
		last = fmt.Sprintf("%s::%d", n.Type, uid)
	}
	n.Path = last
	if path != "" {
		n.Path = path + "/" + last
	}
	for _, g := range Guards {
		if v, is := e.attrs[g]; is {
			n.Guards = append(n.Guards, g[1:]+": "+v)
		}
	}
	if e.kind == "SubTree" {
		n.Class, n.Path = "SubTree", e.attrs["_fullpath"]
		n.Name = n.Path[strings.LastIndexByte(n.Path, '/')+1:]
		if n.Name == fmt.Sprintf("%s::%d", e.attrs["ID"], uid) {
			n.Name = e.attrs["ID"]
		}
		inside := p.trees[n.Path]
		if inside == nil || n.Path == "" {
			return fmt.Errorf("<SubTree> with _uid %d: no <BehaviorTree> of _fullpath %q is left", uid, n.Path)
		}
		p.tree.Nodes = append(p.tree.Nodes, n)
		return p.place(inside, n.Path, uid, depth+1)
	}
	p.tree.Nodes = append(p.tree.Nodes, n)
	for _, kid := range e.kids {
		if err := p.node(kid, path, uid, depth+1); err != nil {
			return err
		}
	}
	return nil
}
