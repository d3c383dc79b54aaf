package run

import (
	"fmt"
	"io/fs"
	"path"
	"slices"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/xmlv4"
	"sonic-netservices/bt-manager/trees"
)

// Builtin is the file of trees that comes with the manager.
func Builtin() trees.File { return trees.File{Name: "manager.xml", Text: string(trees.Manager)} }

// replicaTree is the ID of the tree that runs once for each replica.
const replicaTree = "Replica"

// programs are the trees of a file.
type programs struct {
	intake  *bt.Program
	replica *bt.Program // nil when the file has no such tree
}

// of gives the program of a tree, "" = intake; nil when there is none.
func (p programs) of(tree string) *bt.Program {
	if tree == "" {
		return p.intake
	}
	return p.replica
}

// load compiles a file. Its error names every fault, with file:line:col.
func load(reg *bt.Registry, f trees.File) (p programs, err error) {
	dir, name := path.Split(f.Name)
	files := memory{name: f.Text}
	for _, one := range f.Includes {
		files[one.Path] = one.Text
	}
	compile := func(opt xmlv4.Options) (*bt.Program, error) {
		opt.Dir = dir
		prog, faults := xmlv4.Load(files, name, reg, opt)
		if faults.Failed() || prog == nil {
			return nil, fmt.Errorf("tree file:\n%s", faults)
		}
		return prog, nil
	}
	if p.intake, err = compile(xmlv4.Options{}); err != nil { // its main tree
		return p, err
	}
	if !slices.Contains(xmlv4.IDs(files, name), replicaTree) {
		return p, nil
	}
	if p.replica, err = compile(xmlv4.Options{Main: replicaTree, Given: []string{"replica"}}); err != nil {
		return p, err
	}
	if !p.replica.Uses("replica") {
		return p, fmt.Errorf("%s: tree %s does not read {replica}", f.Name, replicaTree)
	}
	return p, nil
}

// memory is a file system of texts by path.
type memory map[string]string

func (m memory) Open(string) (fs.File, error) { return nil, fs.ErrNotExist }

func (m memory) ReadFile(name string) ([]byte, error) {
	text, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}
