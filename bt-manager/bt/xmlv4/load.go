package xmlv4

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
)

// MaxFile bounds a tree file, in bytes.
const MaxFile = 1 << 20

// Options for loading.
type Options struct {
	Main  string   // run this tree, whatever main_tree_to_execute says
	Given []string // names of the main tree's blackboard the program writes before it ticks
	Dir   string   // what messages put before the names of files
	Lint  bool     // leaf types that are only declared in <TreeNodesModel> are accepted; they fail when ticked
}

// Load reads a file, and those it includes, and compiles its main tree.
func Load(files fs.FS, file string, reg *bt.Registry, opt Options) (*bt.Program, Faults) {
	l := &loader{files: files, dir: opt.Dir, faults: Faults{lines: map[string][]string{}}}
	l.file(path.Clean(file), nil, bt.Pos{File: l.shown(path.Clean(file)), Line: 1, Col: 1})
	if opt.Main != "" {
		l.forest.Main = opt.Main
	}
	if l.broken || len(l.forest.Trees) == 0 && l.faults.Failed() {
		l.faults.Diags = l.faults.Diags.Sorted()
		return nil, l.faults
	}
	if opt.Lint {
		reg = reg.WithModels(l.forest.Models)
	}
	prog, diags := bt.Compile(l.forest, reg, bt.Options{Given: opt.Given})
	l.faults.Diags = append(l.faults.Diags, diags...).Sorted()
	if l.faults.Failed() {
		return nil, l.faults
	}
	return prog, l.faults
}

// IDs lists the trees of a file and of those it includes, as far as they can be read.
func IDs(files fs.FS, file string) (list []string) {
	l := &loader{files: files, faults: Faults{lines: map[string][]string{}}}
	l.file(path.Clean(file), nil, bt.Pos{})
	for _, t := range l.forest.Trees {
		list = append(list, t.ID)
	}
	return list
}

type loader struct {
	files  fs.FS
	dir    string
	forest bt.Forest
	faults Faults
	loaded map[string]bool
	broken bool // a file could not be read: what its trees refer to is unknown
}

func (l *loader) errorf(pos bt.Pos, format string, args ...any) {
	l.faults.Diags = append(l.faults.Diags, bt.Diag{Pos: pos, Msg: fmt.Sprintf(format, args...)})
}

// shown is what messages call a file.
func (l *loader) shown(name string) string { return path.Join(l.dir, name) }

// file reads one file. chain are the files that include it, from is where.
func (l *loader) file(name string, chain []string, from bt.Pos) {
	for i, c := range chain {
		if c == name {
			l.errorf(from, "files include each other: %s", strings.Join(append(chain[i:len(chain):len(chain)], name), " > "))
			return
		}
	}
	if l.loaded[name] {
		return
	}
	if l.loaded == nil {
		l.loaded = map[string]bool{}
	}
	l.loaded[name] = true
	text, err := fs.ReadFile(l.files, name)
	if err != nil {
		why := err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			why = "no such file"
		}
		l.errorf(from, "%s: %s", l.shown(name), why)
		l.broken = true
		return
	}
	if len(text) > MaxFile {
		l.errorf(bt.Pos{File: l.shown(name), Line: 1, Col: 1}, "%d bytes; a tree file has up to %d", len(text), MaxFile)
		l.broken = true
		return
	}
	s := newScanner(l.shown(name), string(text))
	l.faults.lines[s.file] = strings.Split(s.src, "\n")
	root := s.document()
	l.faults.Diags = append(l.faults.Diags, s.diags...)
	if root == nil {
		l.broken = true
		return
	}
	l.root(root, name, chain)
}

func (l *loader) root(root *element, name string, chain []string) {
	if root.name != "root" {
		l.errorf(root.pos, "the root element is <root>, not <%s>", root.name)
		return
	}
	if v := root.attr("BTCPP_format"); v == nil {
		l.errorf(root.pos, "<root> lacks BTCPP_format=\"4\"")
	} else if v.Value != "4" {
		l.errorf(v.ValuePos, "format %q; this engine reads format 4", v.Value)
	}
	for _, a := range root.attrs {
		switch a.Name {
		case "BTCPP_format", "project_name":
		case "main_tree_to_execute":
			if len(chain) == 0 {
				l.forest.Main, l.forest.Pos = a.Value, a.ValuePos
			}
		default:
			l.errorf(a.Pos, "<root> has no attribute %q%s", a.Name, bt.Meant(a.Name, []string{"BTCPP_format", "main_tree_to_execute"}))
		}
	}
	if l.forest.Pos.Line == 0 {
		l.forest.Pos = root.pos
	}
	l.noText(root)
	for _, e := range root.kids {
		switch e.name {
		case "include":
			l.include(e, name, chain)
		case "BehaviorTree":
			l.tree(e)
		case "TreeNodesModel":
			l.models(e)
		default:
			l.errorf(e.pos, "<%s> does not belong into <root>%s", e.name,
				bt.Meant("<"+e.name+">", []string{"<include>", "<BehaviorTree>", "<TreeNodesModel>"}))
		}
	}
}

func (l *loader) noText(e *element) {
	if e.text.Line != 0 {
		l.errorf(e.text, "text inside of <%s>", e.name)
	}
}

func (l *loader) include(e *element, name string, chain []string) {
	a := e.attr("path")
	if a == nil {
		l.errorf(e.pos, "<include> lacks its path")
		return
	}
	if e.attr("ros_pkg") != nil {
		l.errorf(e.attr("ros_pkg").Pos, "ros_pkg is not supported; write the path")
		return
	}
	target := path.Join(path.Dir(name), a.Value)
	if path.IsAbs(a.Value) || !fs.ValidPath(target) {
		l.errorf(a.ValuePos, "%s: the path leaves the folder of the tree files", a.Value)
		l.broken = true
		return
	}
	l.file(target, append(chain[:len(chain):len(chain)], name), a.ValuePos)
}

func (l *loader) tree(e *element) {
	l.noText(e)
	id := e.attr("ID")
	if id == nil || id.Value == "" {
		l.errorf(e.pos, "<BehaviorTree> lacks its ID")
		id = &bt.Attr{}
	}
	for _, a := range e.attrs {
		if a.Name != "ID" && a.Name != "_fullpath" && a.Name != "_description" {
			l.errorf(a.Pos, "<BehaviorTree> has no attribute %q", a.Name)
		}
	}
	t := &bt.Tree{ID: id.Value, Pos: e.pos}
	if len(e.kids) != 1 {
		at := e.pos
		if len(e.kids) > 1 {
			at = e.kids[1].pos
		}
		l.errorf(at, "<BehaviorTree> has exactly 1 child, not %d", len(e.kids))
	}
	if len(e.kids) > 0 {
		t.Root = l.node(e.kids[0])
	}
	if id.Value != "" {
		l.forest.Trees = append(l.forest.Trees, t)
	}
}

func (l *loader) node(e *element) *bt.Def {
	l.noText(e)
	d := &bt.Def{Type: e.name, Attrs: e.attrs, Pos: e.pos}
	if class, explicit := bt.ParseClass(e.name); explicit && class != bt.SubTree {
		d.Explicit, d.Type = e.name, e.value("ID")
		if d.Type == "" {
			l.errorf(e.pos, "<%s> lacks its ID", e.name)
		}
	}
	for _, kid := range e.kids {
		d.Children = append(d.Children, l.node(kid))
	}
	return d
}

var directions = map[string]bt.Dir{"input_port": bt.In, "output_port": bt.Out, "inout_port": bt.InOut}

// models reads <TreeNodesModel>.
func (l *loader) models(e *element) {
	l.noText(e)
	for _, m := range e.kids {
		class, known := bt.ParseClass(m.name)
		id := m.value("ID")
		if !known || id == "" {
			l.errorf(m.pos, "the model of a node is <Action|Condition|Control|Decorator|SubTree ID=\"...\">")
			continue
		}
		model := bt.Model{Class: class, ID: id, Pos: m.pos}
		for _, p := range m.kids {
			dir, known := directions[p.name]
			if !known && p.name == "MetadataFields" {
				continue
			}
			name := p.value("name")
			if !known || name == "" {
				l.errorf(p.pos, "a port is <input_port|output_port|inout_port name=\"...\">")
				continue
			}
			model.Ports = append(model.Ports, bt.Port{Name: name, Dir: dir, Type: portType(p.value("type")), Default: p.value("default")})
		}
		l.forest.Models = append(l.forest.Models, model)
	}
}

// portType maps v4's type names; what is not a plain type may be anything.
func portType(name string) board.Kind {
	switch strings.TrimPrefix(name, "std::") {
	case "int", "unsigned", "unsigned int", "int64_t", "uint64_t", "int32_t", "uint32_t", "long", "short":
		return board.Int
	case "double", "float":
		return board.Real
	case "bool":
		return board.Bool
	case "string":
		return board.Text
	}
	return board.Unset
}
