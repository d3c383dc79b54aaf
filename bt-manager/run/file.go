package run

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

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
	if p.intake, err = compile(reg, f, ""); err != nil {
		return p, err
	}
	if !strings.Contains(f.Text, `ID="`+replicaTree+`"`) {
		return p, nil
	}
	if p.replica, err = compile(reg, f, replicaTree); err != nil {
		return p, err
	}
	if !p.replica.Uses("replica") {
		return p, fmt.Errorf("%s: tree %s does not read {replica}", f.Name, replicaTree)
	}
	return p, nil
}

// compile loads one tree of a file, "" = its main tree.
func compile(reg *bt.Registry, f trees.File, main string) (*bt.Program, error) {
	opt := xmlv4.Options{Main: main}
	if main == replicaTree {
		opt.Given = []string{"replica"}
	}
	prog, faults := xmlv4.Load(oneFile(f), f.Name, reg, opt)
	if faults.Failed() || prog == nil {
		return nil, fmt.Errorf("tree file:\n%s", faults)
	}
	return prog, nil
}

// oneFile is a file system with one file, whose name may be any path: it shows in messages.
type oneFile trees.File

func (f oneFile) Open(string) (fs.File, error) { return nil, fs.ErrNotExist }

func (f oneFile) ReadFile(name string) ([]byte, error) {
	if name != path.Clean(f.Name) {
		return nil, fs.ErrNotExist
	}
	return []byte(f.Text), nil
}
