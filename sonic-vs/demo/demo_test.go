package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClearTakesOnlyADemosFolder(t *testing.T) {
	top := t.TempDir()
	begin := func(dir string) error {
		d := &demo{Options: Options{Dir: dir}, facts: facts{path: filepath.Join(dir, factsFile)}}
		return d.clear()
	}
	fresh := filepath.Join(top, "a/b")
	if err := begin(fresh); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(fresh, "report.json")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := begin(fresh); err != nil {
		t.Errorf("the folder of an earlier demo: %v", err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("a report of an earlier demo is still there")
	}
	foreign := filepath.Join(top, "thesis.tex")
	if err := os.WriteFile(foreign, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := begin(top); err == nil {
		t.Error("a folder of somebody else was taken")
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
}

func TestFacts(t *testing.T) {
	f := facts{path: filepath.Join(t.TempDir(), factsFile)}
	seen := map[string]string{}
	for _, err := range []error{
		f.equal("before", "images", "", ""),
		f.atLeast("under load", "connections", 50, 50),
		f.add(unlike("before", "ID", "x", "leaf1", seen)),
		f.add(unlike("before", "ID", "y", "leaf2", seen)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.broken(); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		f.equal("after", "images", 0, 1),
		f.atLeast("under load", "connections", 50, 49),
		f.add(unlike("before", "ID", "x", "leaf3", seen)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err := f.broken()
	if err == nil || strings.Count(err.Error(), "\n") != 3 || !strings.Contains(err.Error(), `ID: got "x, as leaf1"`) {
		t.Errorf("%v", err)
	}
}
