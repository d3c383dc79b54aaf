package testbed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// preferred is how many times the default weight the switches' cgroups get. A switch has its cores to itself. Here it
// shares them with whatever runs on this machine, so whoever measures has the scheduler prefer the switches and the
// clients. The services' budgets are quotas: they stay what they are.
const preferred = 10

// ClientsNice is the nice value of the process that plays the clients: about ten times the default weight, too.
const ClientsNice = "-10"

// Prefer raises the weight of the switches' cgroups, from theirs up to the testbed's top. Undo gives back what was.
func (t *Testbed) Prefer() (undo func(), err error) {
	var undos []func()
	undo = func() {
		for _, u := range undos {
			u()
		}
	}
	node := t.Nodes[0]
	dir, file := node.Cgroups["cpu"], "cpu.shares"
	if dir == "" {
		dir, file = node.Cgroups[""], "cpu.weight"
	}
	for _, dir := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} { // the set of switches, all sets
		path := filepath.Join(dir, file)
		u, err := raiseWeight(path)
		if err != nil {
			undo()
			return nil, fmt.Errorf("prefer the switches: %w", err)
		}
		undos = append(undos, u)
	}
	return undo, nil
}

// raiseWeight of one cgroup to the preferred one, if it is lower.
func raiseWeight(path string) (undo func(), err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) { // the kernel weighs nothing here
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	old := strings.TrimSpace(string(text))
	now, err := strconv.Atoi(old)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	want := preferred * map[string]int{"cpu.shares": 1024, "cpu.weight": 100}[filepath.Base(path)]
	if now >= want {
		return func() {}, nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(want)), 0o644); err != nil {
		return nil, err
	}
	return func() { os.WriteFile(path, []byte(old), 0o644) }, nil // gone with the switches: fine
}
