package orders

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
)

// What lasts of the trees: where each run of them is (run.Store), and the files they were made of.

// keptFiles bounds the files of trees remembered: a run of an older one than these begins anew.
const keptFiles = 4

// Runs implements run.Store.
func (t *Trees) Runs() (all map[string]bt.Snapshot) {
	t.m.View(func(s *State) {
		all = map[string]bt.Snapshot{}
		for tree, kept := range s.Runs {
			all[tree] = bt.Snapshot{Tree: kept.Tree, Nodes: slices.Clone(kept.Nodes), Entries: slices.Clone(kept.Entries)}
		}
	})
	return all
}

// KeepRun implements run.Store.
func (t *Trees) KeepRun(tree string, delta *bt.Snapshot) error {
	return t.m.decide(func() ([]Record, error) {
		if _, known := t.m.state.Runs[tree]; !known && delta == nil {
			return nil, nil
		}
		return []Record{{Kind: Ran, At: time.Now(), ID: tree, Run: delta}}, nil
	}, nil)
}

// Files implements run.Store.
func (t *Trees) Files() (list []trees.File) {
	t.m.View(func(s *State) { list = slices.Clone(s.Files) })
	return list
}

// KeepFile implements run.Store.
func (t *Trees) KeepFile(f trees.File) error {
	return t.m.decide(func() ([]Record, error) { return []Record{{Kind: Planted, At: time.Now(), File: &f}}, nil }, nil)
}

// Holds implements run.Store.
func (t *Trees) Holds() (all map[string]decide.Hold) {
	t.m.View(func(s *State) {
		if all = maps.Clone(s.Holds); all == nil {
			all = map[string]decide.Hold{}
		}
	})
	return all
}

// KeepHold implements run.Store.
func (t *Trees) KeepHold(tree string, h decide.Hold) error {
	return t.m.decide(func() ([]Record, error) { return []Record{{Kind: Told, At: time.Now(), ID: tree, Hold: &h}}, nil }, nil)
}

// applyHold notes what a tree was told.
func (s *State) applyHold(r Record) {
	delete(s.Holds, r.ID)
	if r.Hold.Paused != "" || len(r.Hold.Forced) > 0 {
		s.Holds[r.ID] = *r.Hold
	}
}

// applyRun changes where a tree is.
func (s *State) applyRun(r Record) {
	if r.Run == nil {
		delete(s.Runs, r.ID)
		return
	}
	kept := s.Runs[r.ID]
	kept.Apply(*r.Run)
	s.Runs[r.ID] = kept
}

// applyFile takes a file of trees in.
func (s *State) applyFile(f trees.File) {
	s.Files = append(slices.DeleteFunc(s.Files, func(old trees.File) bool { return old.Equal(f) }), f)
	s.Files = s.Files[max(0, len(s.Files)-keptFiles):]
}

// applyRuns takes what a sum says of the trees.
func (s *State) applyRuns(sum *Sum) error {
	s.Files = sum.Files
	maps.Copy(s.Holds, sum.Holds)
	maps.Copy(s.Runs, sum.Runs)
	for tree, kept := range s.Runs {
		if kept.Tree == 0 {
			return fmt.Errorf("the run of %q is of no tree", tree)
		}
	}
	return nil
}
