// Package lint says of a tree file what a manager would say when it loads it, without a manager: with the leaves of package
// decide and their ports, for the tree that runs and for the one that runs once for each replica. It reads the file system
// it is given, writes nothing, and ticks nothing. nsctl may use it (arch_test.go), so it stays as pure as what it imports.
package lint

import (
	"fmt"
	"io/fs"
	"slices"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/xmlv4"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/plan/balance"
)

// replica is the tree a manager runs once for each replica, with {replica} set.
const replica = "Replica"

// File checks a tree file and those it includes. dir is what messages put before the names of files.
func File(files fs.FS, name, dir string) (xmlv4.Faults, error) {
	shared, err := decide.NewShared(decide.Defaults(), balance.Defaults(), 1)
	if err != nil {
		return xmlv4.Faults{}, fmt.Errorf("lint: %w", err)
	}
	reg := bt.NewRegistry()
	decide.Register(reg, nil, shared) // leaves need a world to be ticked, not to be known
	_, faults := xmlv4.Load(files, name, reg, xmlv4.Options{Dir: dir})
	if !slices.Contains(xmlv4.IDs(files, name), replica) {
		return faults, nil
	}
	tree, more := xmlv4.Load(files, name, reg, xmlv4.Options{Dir: dir, Main: replica, Given: []string{"replica"}})
	if tree != nil && !tree.Uses("replica") {
		more.Diags = append(more.Diags, bt.Diag{Pos: tree.Nodes()[0].Pos, Msg: "tree Replica does not read {replica}"})
	}
	return faults.And(more), nil
}
