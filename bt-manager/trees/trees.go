// Package trees holds the behaviour trees bt-manager ships with, as text. It reads nothing at run time, writes nothing,
// and is told by nobody: package run compiles what Manager says, or a file an operator gives in its place.
package trees

import (
	_ "embed"
	"slices"
)

// File is a file of trees, what messages call it, and the files it includes.
type File struct {
	Name     string     `json:"name"`
	Text     string     `json:"text"`
	Includes []Included `json:"includes,omitempty"` // each once, also what they include, in the order they are read
}

// Included is a file that another one includes.
type Included struct {
	Path string `json:"path"` // from the folder of the File, with slashes
	Text string `json:"text"`
}

// Equal says whether two files, and all they include, are the same.
func (f File) Equal(o File) bool {
	return f.Name == o.Name && f.Text == o.Text && slices.Equal(f.Includes, o.Includes)
}

// Manager is manager.xml, the product's trees.
//
//go:embed manager.xml
var Manager []byte

// Paper is paper.xml, the tree as the paper draws it.
//
//go:embed paper.xml
var Paper []byte
