package run

import (
	"fmt"
	"strings"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
)

// Standing is which file of trees is in effect, and what stands in the way of a newer one.
type Standing struct {
	File    string
	Hash    uint64 // of its trees
	Since   time.Time
	Waiting []Waiting // trees that still run the file before

	Problem string    // why the file as it is now is not in effect: every fault, with file:line:col
	Refused time.Time // when that was found
}

// Waiting is a tree that cannot change yet.
type Waiting struct{ Tree, Why string }

// Standing tells which trees are in effect.
func (r *Runner) Standing() Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.standing
	s.File, s.Hash = r.file.Name, r.programs.hash()
	for _, name := range r.names() {
		if t := r.trees[name]; t.waits != "" {
			s.Waiting = append(s.Waiting, Waiting{orIntakeName(name), t.waits})
		}
	}
	return s
}

// hash of all trees of a file.
func (p programs) hash() uint64 {
	hash := p.intake.Hash()
	if p.replica != nil {
		hash = hash*1099511628211 ^ p.replica.Hash()
	}
	return hash
}

// Reload puts a file of trees into effect. A bad one changes nothing: the error names its faults. With a good one each
// tree goes on where it is, at once if everything that runs is in the new file too, else as soon as it waits for no
// operation; never in a cut-over. Force halts those that would have to wait. By is who asked for it, "" = the file changed.
func (r *Runner) Reload(f trees.File, by string, force bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.audit.now = now
	next, err := load(r.reg, f)
	if err == nil && !f.Equal(r.file) {
		err = r.rehearse(f, now)
	}
	if err != nil {
		r.refused.Add(1)
		if r.standing.Problem != err.Error() {
			r.log.Error("the file of trees is not taken; the one before stays in effect", "file", f.Name, "by", by, "err", err)
			r.note("", decide.Entry{What: "not reloaded", Text: withBy(fmt.Sprintf("%s has faults", f.Name), by), Detail: err.Error()})
		}
		r.standing.Problem, r.standing.Refused = err.Error(), now
		return err
	}
	r.standing.Problem, r.standing.Refused = "", time.Time{}
	r.force = r.force || force
	if !f.Equal(r.file) {
		if r.store != nil {
			if err := r.store.KeepFile(f); err != nil {
				return fmt.Errorf("keep the file of trees: %w", err)
			}
		}
		r.file, r.programs, r.standing.Since, r.older = f, next, now, true
		r.reloads.Add(1)
		r.note("", decide.Entry{What: "reloaded", Text: withBy(fmt.Sprintf("%s is in effect, hash %016x", f.Name, next.hash()), by)})
	}
	r.Wake()
	return nil
}

// withBy adds who wanted it.
func withBy(text, by string) string {
	if by == "" {
		return text
	}
	return text + ", by " + by
}

// rehearse ticks the trees of a file once on the world as it is, without a hand in it. That a leaf fails is no fault; a
// panic is one, and a tree that never rests.
func (r *Runner) rehearse(f trees.File, now time.Time) error {
	if r.trees[""] == nil { // nothing is known of the world yet
		return nil
	}
	shared, err := decide.NewShared(r.config.Params, r.config.Balance, r.config.Epoch)
	if err != nil {
		return err
	}
	reg := bt.NewRegistry()
	decide.Register(reg, rehearsal{r.world}, shared)
	p, err := load(reg, f)
	if err != nil {
		return err
	}
	root := board.New()
	for key, value := range shared.Root() {
		if err := root.Set(key, value, now.UnixNano()); err != nil {
			return err
		}
	}
	shared.Observe(rehearsal{r.world}, now)
	for _, name := range r.names() {
		program := p.of(name)
		if program == nil {
			continue
		}
		in := program.New(root)
		if name != "" {
			_ = in.Set("replica", name, now)
		}
		if _, spun := drive(in, now, nil); spun {
			return fmt.Errorf("%s: tree of %s: rehearsal: it goes on at once without end, at %s", f.Name, orIntakeName(name), turning(in))
		}
		for _, n := range program.Nodes() {
			if in.Panics() > 0 && strings.HasPrefix(in.Note(n.UID), "panic: ") {
				return fmt.Errorf("%s: tree of %s: rehearsal: %s: %s", n.Pos, orIntakeName(name), n.Path, in.Note(n.UID))
			}
		}
	}
	return nil
}

// rehearsal is the world without consequences.
type rehearsal struct{ decide.World }

var errRehearsal = fmt.Errorf("%w: nothing is begun in a rehearsal", decide.ErrRefused)

func (rehearsal) Admit(string) (int, error)         { return 0, errRehearsal }
func (rehearsal) Begin(decide.Operation) error      { return errRehearsal }
func (rehearsal) Advance(string, decide.Step) error { return errRehearsal }
func (rehearsal) Rest(string, decide.Rest)          {}
func (rehearsal) Audit(string, decide.Entry)        {}

// replant lets every tree of an older file go on in the present one, if it can now.
func (r *Runner) replant(now time.Time) {
	r.older = false
	for _, name := range r.names() {
		t := r.trees[name]
		program := r.programs.of(name)
		if t.run.Program() == program {
			continue
		}
		next, why := r.transplant(name, t, program, now)
		if t.waits = why; why != "" {
			r.older = true
			continue
		}
		if next == nil {
			r.end(t)
			continue
		}
		t.due = never
		r.trees[name] = next
		r.hold(next)
		r.wakeTree(next, byBegin, now)
		if delta, changed := next.keep.Changed(); changed {
			r.keep(name, &delta)
		}
	}
	r.force = r.force && r.older
}

// transplant makes the tree of a new program from one that runs, nil when the program is none. It says why it cannot be
// yet.
func (r *Runner) transplant(name string, t *tree, to *bt.Program, now time.Time) (next *tree, why string) {
	if leaf := runningLeaf(t.run); decide.InCutover(leaf.Type) {
		return nil, "in a cut-over, at " + leaf.Path
	}
	if to != nil {
		next = r.newTree(name, to, now)
		carried, err := bt.Carry(t.run.Snapshot(), t.run.Program(), to)
		if err == nil {
			err = next.run.Restore(carried)
		}
		if err == nil {
			return next, ""
		}
		why = err.Error()
		next = r.newTree(name, to, now)
	}
	if op := opOf(t.run); op != "" && !r.force {
		return nil, fmt.Sprintf("waits for operation %s: %s", op, why)
	}
	t.run.Halt(now, bt.HaltTree)
	r.log.Info("tree begins anew", "replica", name, "why", why)
	if next != nil && r.store != nil {
		r.keep(name, nil)
	}
	return next, ""
}
