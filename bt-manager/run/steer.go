package run

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
)

// ErrUnknown says that there is no such tree or node, ErrUnsafe that a hand in the tree now could do harm.
var (
	ErrUnknown = errors.New("unknown")
	ErrUnsafe  = errors.New("refused")
)

// Steering is what an operator tells a tree.
type Steering struct {
	By     string // the name in the operator's certificate
	Act    Act
	Node   string // of Force, Release: path, name if only one has it, or UID; "" of Release: all
	Status bt.Status
	Once   bool // Force: at the node's next tick only
}

// Act is what is done.
type Act string

const (
	Pause   Act = "pause"   // it is not ticked; what it has begun goes on, and so do its deadlines
	Resume  Act = "resume"  // ends Pause
	Halt    Act = "halt"    // everything that runs is halted, and the tree begins anew
	Force   Act = "force"   // a node answers without being run
	Release Act = "release" // ends Force
)

// Steer does what an operator tells a tree, "" = intake, and says what it was. Pauses, and forces that are not for once,
// last until they are ended, over restarts as well.
func (r *Runner) Steer(tree string, s Steering) (text string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.trees[tree]
	if t == nil {
		return "", fmt.Errorf("%w: no tree of %q: no such replica is desired", ErrUnknown, tree)
	}
	hold := r.holds[tree]
	hold.Forced = maps.Clone(hold.Forced)
	leaf := runningLeaf(t.run)
	switch s.Act {
	case Pause:
		hold.Paused = s.By
		text = "paused; what it has begun goes on, and so do deadlines"
	case Resume:
		hold.Paused = ""
		text = "resumed"
	case Halt:
		if decide.InCutover(leaf.Type) {
			return "", fmt.Errorf("%w: %s is in a cut-over, at %s: nothing can be taken back, and its outcome has to be heard", ErrUnsafe, orIntakeName(tree), leaf.Path)
		}
		text = "halted; it begins anew"
		if leaf.Path != "" {
			text = fmt.Sprintf("halted at %s; it begins anew", leaf.Path)
		}
		if op := opOf(t.run); op != "" {
			text += fmt.Sprintf(", and takes operation %s up where it is", op)
		}
	case Force, Release:
		if text, err = r.tell(t, &hold, s, leaf); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("%w: nothing is called %q", ErrUnknown, s.Act)
	}
	if err := r.keepHold(tree, hold); err != nil {
		return "", err
	}
	now := time.Now()
	r.audit.now = now
	r.note(tree, decide.Entry{What: string(s.Act), Text: withBy(text, s.By), Path: s.Node})
	if s.Act == Halt {
		t.run.Halt(now, bt.HaltTree)
		if delta, changed := t.keep.Changed(); changed {
			r.keep(tree, &delta)
		}
	}
	if hold.Paused != "" {
		t.due = never
	} else {
		t.why = ""
		r.wakeTree(t, byOperator, now)
	}
	r.Wake()
	return text, nil
}

// tell makes a node answer, or ends that.
func (r *Runner) tell(t *tree, hold *decide.Hold, s Steering, leaf bt.Info) (text string, err error) {
	if s.Act == Release && s.Node == "" {
		for path := range hold.Forced {
			if n, err := find(t.run.Program(), path); err == nil {
				t.run.Release(n.UID)
			}
		}
		text = fmt.Sprintf("%d nodes run again", len(hold.Forced))
		hold.Forced = nil
		return text, nil
	}
	n, err := find(t.run.Program(), s.Node)
	if err != nil {
		return "", err
	}
	if s.Act == Release {
		delete(hold.Forced, n.Path)
		t.run.Release(n.UID)
		return n.Path + " runs again", nil
	}
	switch holds := s.Status == bt.Running; {
	case decide.InCutover(leaf.Type):
		return "", fmt.Errorf("%w: %s is in a cut-over, at %s: its outcome has to be heard", ErrUnsafe, orIntakeName(t.name), leaf.Path)
	case !holds && decide.Tells(n.Type):
		return "", fmt.Errorf("%w: %s tells what became of an operation; what it says in its place would be wrong. RUNNING holds the tree there", ErrUnsafe, n.Path)
	}
	if err := t.run.Force(n.UID, s.Status, s.Once); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if s.Once {
		return fmt.Sprintf("%s answers %v at its next tick", n.Path, s.Status), nil
	}
	if hold.Forced == nil {
		hold.Forced = map[string]decide.Forced{}
	}
	hold.Forced[n.Path] = decide.Forced{Status: s.Status.String(), By: s.By}
	return fmt.Sprintf("%s answers %v until it is released", n.Path, s.Status), nil
}

// find finds a node by its path, its UID, or a name or type that only it has.
func find(p *bt.Program, node string) (bt.Info, error) {
	var named []bt.Info
	known := []string{}
	for _, n := range p.Nodes() {
		if n.Path == node || strconv.Itoa(n.UID) == node {
			return n, nil
		}
		if n.Name == node || n.Type == node {
			named = append(named, n)
		}
		known = append(known, n.Path, n.Name)
	}
	switch len(named) {
	case 0:
		return bt.Info{}, fmt.Errorf("%w: no node %s%s", ErrUnknown, node, bt.Meant(node, known))
	case 1:
		return named[0], nil
	}
	var paths []string
	for _, n := range named {
		paths = append(paths, n.Path)
	}
	return bt.Info{}, fmt.Errorf("%w: %d nodes are called %s: %s", ErrUnknown, len(named), node, strings.Join(paths, ", "))
}

// hold lets a tree that begins hear what operators have told it before.
func (r *Runner) hold(t *tree) {
	for path, f := range r.holds[t.name].Forced {
		st, err := bt.ParseStatus(f.Status)
		n, found := find(t.run.Program(), path)
		if err = errors.Join(err, found); err == nil {
			err = t.run.Force(n.UID, st, false)
		}
		if err != nil {
			r.log.Warn("a node is not forced any more", "replica", t.name, "path", path, "by", f.By, "err", err)
		}
	}
}

// keepHold keeps what a tree has been told.
func (r *Runner) keepHold(tree string, h decide.Hold) error {
	before := r.holds[tree]
	if h.Paused == before.Paused && maps.Equal(h.Forced, before.Forced) {
		return nil
	}
	if r.store != nil {
		if err := r.store.KeepHold(tree, h); err != nil {
			return fmt.Errorf("keep what a tree is told: %w", err)
		}
	}
	r.holds[tree] = h
	if h.Paused == "" && len(h.Forced) == 0 {
		delete(r.holds, tree)
	}
	return nil
}

// told words what operators have told a tree, one line each.
func (r *Runner) told(tree string) (lines []string) {
	h := r.holds[tree]
	if h.Paused != "" {
		lines = append(lines, "paused by "+h.Paused)
	}
	for _, path := range slices.Sorted(maps.Keys(h.Forced)) {
		lines = append(lines, fmt.Sprintf("%s answers %s, by %s", path, h.Forced[path].Status, h.Forced[path].By))
	}
	return lines
}

// Told words what operators have told a tree.
func (r *Runner) Told(tree string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told(tree)
}
