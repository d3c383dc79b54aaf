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
	dirty bool   // written since Changes was asked last
	seq   uint64 // writes so far
	stamp int64  // unix ns of the last write
}

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
	e.Value = v
	e.touch(now)
	return nil
}

// Clear takes the value away; the type lock stays.
func (e *Entry) Clear(now int64) {
	e.Value = Value{}
	e.touch(now)
}

func (e *Entry) touch(now int64) {
	e.seq++
	e.stamp = now
	e.dirty = true
}

// Restored puts back what a snapshot held, sequence number included, without counting as a write.
func (e *Entry) Restored(v Value, seq uint64, stamp int64) {
	e.Value, e.seq, e.stamp, e.dirty = v, seq, stamp, true
}

// Fresh says whether the entry was written since the last call.
func (e *Entry) Fresh() bool {
	was := e.dirty
	e.dirty = false
	return was
}

// Board is a set of entries by name: the blackboard shared by the trees of one manager, reached as {@key}. All trees on
// one board must be ticked by one goroutine.
type Board struct {
	entries map[string]*Entry
}

func New() *Board { return &Board{entries: map[string]*Entry{}} }

// Entry gives the entry of that name and makes it when there is none.
func (b *Board) Entry(name string) *Entry {
	e := b.entries[name]
	if e == nil {
		e = &Entry{}
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
	var names []string
	for n, e := range b.entries {
		if e.Fresh() {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	for _, n := range names {
		each(n, b.entries[n].Value)
	}
}
