package bt

import (
	"fmt"
	"sort"
	"strings"
)

// Pos is a place in a file, counted from 1; columns count characters.
type Pos struct {
	File      string
	Line, Col int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// Diag is one fault of a tree, with its place. A tree with warnings only is usable.
type Diag struct {
	Pos     Pos
	Msg     string
	Warning bool
}

func (d Diag) String() string {
	if d.Warning {
		return d.Pos.String() + ": warning: " + d.Msg
	}
	return d.Pos.String() + ": " + d.Msg
}

// Diags are all faults found, in the order of the text.
type Diags []Diag

func (d Diags) Error() string {
	lines := make([]string, len(d))
	for i := range d {
		lines[i] = d[i].String()
	}
	return strings.Join(lines, "\n")
}

// Failed says whether any of them is more than a warning.
func (d Diags) Failed() bool {
	for _, one := range d {
		if !one.Warning {
			return true
		}
	}
	return false
}

// Sorted puts them in the order of the text, each once.
func (d Diags) Sorted() Diags {
	sort.SliceStable(d, func(i, j int) bool {
		a, b := d[i].Pos, d[j].Pos
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	var once Diags
	for _, one := range d {
		if len(once) == 0 || once[len(once)-1] != one {
			once = append(once, one)
		}
	}
	return once
}

// Attr is an attribute as written.
type Attr struct {
	Name, Value string
	Pos         Pos                  // of the name
	ValuePos    Pos                  // of the value's first character
	Place       func(offset int) Pos // of a byte of the value; nil when the value was not read from a file
}

// At is the place of one byte of the value.
func (a *Attr) At(offset int) Pos {
	if a.Place == nil {
		return a.ValuePos
	}
	return a.Place(offset)
}

// Def is one node as written: what a tree file, or a Go program, says before it is compiled.
type Def struct {
	Type     string // registered name, or SubTree
	Explicit string // how the file called the class: Action, Condition, Control, Decorator; "" in compact form
	Attrs    []Attr
	Children []*Def
	Pos      Pos
}

// Attr gives an attribute, nil when it is not written.
func (d *Def) Attr(name string) *Attr {
	for i := range d.Attrs {
		if d.Attrs[i].Name == name {
			return &d.Attrs[i]
		}
	}
	return nil
}

// value is the text of an attribute, "" without.
func (d *Def) value(name string) string {
	if a := d.Attr(name); a != nil {
		return a.Value
	}
	return ""
}

// Tree is one <BehaviorTree>.
type Tree struct {
	ID   string
	Root *Def
	Pos  Pos
}

// Model is what a <TreeNodesModel> says about a node or a subtree.
type Model struct {
	Class Class
	ID    string
	Ports []Port
	Pos   Pos
}

// Forest is a set of trees that may use each other, and the one to run.
type Forest struct {
	Trees  []*Tree
	Main   string // "" = the only tree
	Pos    Pos    // of Main
	Models []Model
}
