// Package trees holds the behaviour trees bt-manager ships with, as text. It reads nothing at run time, writes nothing,
// and is told by nobody: package run compiles what Manager says, or a file an operator gives in its place.
package trees

import _ "embed"

// File is a file of trees, and what messages call it.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Manager is manager.xml, the product's trees.
//
//go:embed manager.xml
var Manager []byte

// Paper is paper.xml, the tree as the paper draws it.
//
//go:embed paper.xml
var Paper []byte
