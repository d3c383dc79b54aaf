package board

import (
	"fmt"
	"sort"
)

// Entry is one named place. Trees hold pointers to entries, resolved when an instance is made, so an entry is never
// looked up by name during a tick.
type Entry struct {
	Value
	want  Kind   // type every value must have; Unset = that of the first value
	dirty bool   // in the log
	id    int32  // in the log
	log   *Log   // nil = nobody asks
	seq   uint64 // writes so far
	stamp int64  // unix ns of the last write
}

// Log lists the entries that were written since it was last cleared, each once, by the numbers that Note gave them.
type Log struct {
	Written []int32
	All     bool // also what was written as it was; else only what is another value now
}

// Note makes the log list the entry under a number when it is written.
func (e *Entry) Note(log *Log, id int32) { e.log, e.id = log, id }

func (e *Entry) Seq() uint64  { return e.seq }
func (e *Entry) Stamp() int64 { return e.stamp }

// Lock fixes the type of the entry. Called by the first strongly typed port that uses it.
func (e *Entry) Lock(want Kind) { e.want = want }

// Put writes a value. Text is converted to the entry's type, numbers to each other where nothing is lost.
func (e *Entry) Put(v Value, now int64) error {
	want := e.want
	if want == Unset {
		want = e.kind
	}
	if v.kind != want && want != Unset {
		if want == Text && e.want == Unset || v.kind == Opaque || want == Opaque {
			return fmt.Errorf("a %v entry takes no %v", want, v.kind)
		}
		converted, err := v.Convert(want)
		if err != nil {
			return err
		}
		v = converted
	}
	same := v.Same(e.Value)
	e.Value = v
	e.touch(now, same)
	return nil
}

// PutText writes text. What is there already is written again without allocating.
func (e *Entry) PutText(s string, now int64) error {
	if e.kind == Text && e.ref == any(s) {
		e.touch(now, true)
		return nil
	}
	return e.Put(OfText(s), now)
}

// Clear takes the value away; the type lock stays.
func (e *Entry) Clear(now int64) {
	same := e.kind == Unset
	e.Value = Value{}
	e.touch(now, same)
}

// touch counts a write, of the same value as before or of another.
func (e *Entry) touch(now int64, same bool) {
	e.seq++
	e.stamp = now
	if !same || e.seq == 1 || e.log != nil && e.log.All {
		e.note()
	}
}

func (e *Entry) note() {
	if !e.dirty && e.log != nil {
		e.dirty = true
		e.log.Written = append(e.log.Written, e.id)
	}
}

// Restored puts back what a snapshot held, sequence number included, without counting as a write.
func (e *Entry) Restored(v Value, seq uint64, stamp int64) {
	e.Value, e.seq, e.stamp = v, seq, stamp
	e.note()
}

// Seen takes the entry off its log; whoever clears the log calls it for each entry there.
func (e *Entry) Seen() { e.dirty = false }

// Board is a set of entries by name: the blackboard shared by the trees of one manager, reached as {@key}. All trees on
// one board must be ticked by one goroutine.
type Board struct {
	entries map[string]*Entry
	names   []string // by number in the log
	log     Log
}

func New() *Board { return &Board{entries: map[string]*Entry{}, log: Log{All: true}} }

// Entry gives the entry of that name and makes it when there is none.
func (b *Board) Entry(name string) *Entry {
	e := b.entries[name]
	if e == nil {
		e = &Entry{}
		e.Note(&b.log, int32(len(b.names)))
		b.names = append(b.names, name)
		b.entries[name] = e
	}
	return e
}

// Get is the value by name, unset when there is none.
func (b *Board) Get(name string) Value {
	if e := b.entries[name]; e != nil {
		return e.Value
	}
	return Value{}
}

// Set writes a plain Go value.
func (b *Board) Set(name string, v any, now int64) error {
	if err := b.Entry(name).Put(Of(v), now); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// Names lists the entries that have a value, sorted.
func (b *Board) Names() []string {
	var names []string
	for n, e := range b.entries {
		if e.kind != Unset {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names
}

// Changes hands over every entry written since it was asked last, sorted by name; a cleared one comes unset.
func (b *Board) Changes(each func(name string, v Value)) {
	if len(b.log.Written) == 0 {
		return
	}
	var names []string
	for _, id := range b.log.Written {
		names = append(names, b.names[id])
	}
	b.log.Written = b.log.Written[:0]
	sort.Strings(names)
	for _, n := range names {
		e := b.entries[n]
		e.Seen()
		each(n, e.Value)
	}
}
