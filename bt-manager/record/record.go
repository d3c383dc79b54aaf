// Package record is the flight recorder of the trees: it writes what each did to .btlog files, which nsctl replay and
// Groot2 read.
//
// It reads the status changes it is told of (Ticked, Ended, RoundEnded), writes
//
//	<dir>/<replica>.btlog        the newest changes of a tree
//	<dir>/<replica>.N.btlog      the files before it, N = 1 the newest of them
//
// and is told to end by a context. A tick in which a tree did the same as in the one before is not written: a tree that only
// watches writes nothing. A file begins with the statuses of that moment, so each can be read without the others.
package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/xmlv4"
	"sonic-netservices/internal/btlog"
)

// Config of a Recorder. Zero fields have the defaults.
type Config struct {
	// Dir is the folder of the files; it is made.
	Dir string
	// FileBytes is how far a file grows behind its XML before the next begins: 28,000 changes in 256 KiB.
	FileBytes int
	// Files is how many files before the newest are kept of a tree: 3.
	Files int
	// DirBytes is what all files may take together, 64 MiB: beyond, the oldest go.
	DirBytes int64
	// Trees is how many trees are recorded at most, 256: those that began first.
	Trees int
}

func (c *Config) fill() {
	if c.FileBytes == 0 {
		c.FileBytes = 256 << 10
	}
	if c.Files == 0 {
		c.Files = 3
	}
	if c.DirBytes == 0 {
		c.DirBytes = 64 << 20
	}
	if c.Trees == 0 {
		c.Trees = 256
	}
}

// behind is how many bytes may wait for the disk before what more comes is left out.
const behind = 32 << 20

// Recorder writes the logs. It never makes who ticks the trees wait for the disk.
type Recorder struct {
	cfg Config
	log *slog.Logger

	// touched by the goroutine that ticks the trees only
	trees map[string]*tree
	full  bool // that there are too many trees has been said
	next  []write

	wake chan struct{}

	mu      sync.Mutex // guards all below
	pending []write
	waiting int // bytes in pending
	lost    bool
}

// tree is one that is recorded.
type tree struct {
	run   *bt.Instance
	ring  *bt.Ring
	xml   []byte
	seen  uint64
	began time.Time
	size  int // bytes of records in the file
	last  []bt.Change
}

// write is one piece for the file of a tree.
type write struct {
	name  string
	fresh bool // it begins a file
	data  []byte
}

// New makes a recorder and its folder.
func New(cfg Config, log *slog.Logger) (*Recorder, error) {
	cfg.fill()
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Recorder{cfg: cfg, log: log, trees: map[string]*tree{}, wake: make(chan struct{}, 1)}, nil
}

// Ticked takes in a tick of a tree; "" is the intake tree.
func (r *Recorder) Ticked(replica string, run *bt.Instance, ring *bt.Ring) {
	name := Name(replica)
	t := r.trees[name]
	if t == nil {
		if len(r.trees) >= r.cfg.Trees {
			if !r.full {
				r.log.Warn("too many trees to record all", "recorded", len(r.trees), "first left out", name)
			}
			r.full = true
			return
		}
		t = &tree{}
		r.trees[name] = t
	}
	sameRing := t.ring == ring
	if !sameRing {
		t.ring, t.seen = ring, 0
	}
	total := ring.Total()
	changes := ring.Since(t.seen)
	whole := uint64(len(changes)) == total-t.seen
	t.seen = total
	switch {
	case !whole || t.run != run && sameRing: // too quick for its ring, or they are in part another tree's
		r.begin(name, t, run, nil)
	case t.run != run:
		r.begin(name, t, run, changes)
	case len(changes) == 0 || slices.EqualFunc(changes, t.last, sameChange):
		return
	case t.size > r.cfg.FileBytes:
		r.begin(name, t, run, changes)
	default:
		r.next = append(r.next, write{name, false, t.append(nil, changes)})
	}
	t.last = changes
}

func sameChange(a, b bt.Change) bool { return a.UID == b.UID && a.From == b.From && a.To == b.To }

// begin begins a file with the statuses before the changes, or where they are not whole, with those after them.
func (r *Recorder) begin(name string, t *tree, run *bt.Instance, changes []bt.Change) {
	if t.run == nil || t.run.Program() != run.Program() {
		t.xml = xmlv4.Write(run.Program())
	}
	t.run, t.size, t.began = run, 0, time.Now()
	if len(changes) > 0 {
		t.began = time.Unix(0, changes[0].At)
	}
	statuses := make([]bt.Status, len(run.Program().Nodes()))
	for i := range statuses {
		statuses[i] = run.Status(i + 1)
	}
	for _, c := range slices.Backward(changes) {
		statuses[c.UID-1] = c.From
	}
	b := btlog.Header(t.xml, t.began)
	for i, st := range statuses {
		if st != bt.Idle {
			b = btlog.AppendRecord(b, 0, uint16(i+1), btlog.Status(st))
		}
	}
	r.next = append(r.next, write{name, true, t.append(b, changes)})
}

// append adds changes as records.
func (t *tree) append(b []byte, changes []bt.Change) []byte {
	before := len(b)
	for _, c := range changes {
		b = btlog.AppendRecord(b, time.Duration(c.At-t.began.UnixNano()), c.UID, btlog.Status(c.To))
	}
	t.size += len(b) - before
	return b
}

// Ended makes room for another tree.
func (r *Recorder) Ended(replica string) { delete(r.trees, Name(replica)) }

// RoundEnded hands what was taken in to the goroutine that writes.
func (r *Recorder) RoundEnded() {
	if len(r.next) == 0 {
		return
	}
	r.mu.Lock()
	for _, w := range r.next {
		if r.waiting += len(w.data); r.waiting > behind {
			r.lost = true
			break
		}
		r.pending = append(r.pending, w)
	}
	if r.lost { // the next tick of each tree begins a file
		clear(r.trees)
	}
	r.mu.Unlock()
	r.next = r.next[:0]
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends, and then what is left.
func (r *Recorder) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			r.flush()
			return
		case <-r.wake:
			r.flush()
		}
	}
}

func (r *Recorder) flush() {
	r.mu.Lock()
	pending, lost := r.pending, r.lost
	r.pending, r.waiting, r.lost = nil, 0, false
	r.mu.Unlock()
	if lost {
		r.log.Warn("the disk is too slow: some of what the trees did is not recorded")
	}
	for _, w := range pending {
		if err := r.write(w); err != nil {
			r.log.Warn("a tree is not recorded", "tree", w.name, "err", err)
		}
	}
}

// write appends a piece to the newest file of its tree. One that somebody has removed does not come back without its head.
func (r *Recorder) write(w write) error {
	flags := os.O_WRONLY | os.O_APPEND
	if w.fresh {
		if err := r.turn(w.name); err != nil {
			return err
		}
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(r.path(w.name, 0), flags, 0o640)
	if errors.Is(err, os.ErrNotExist) && !w.fresh {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(w.data)
	return errors.Join(err, f.Close())
}
