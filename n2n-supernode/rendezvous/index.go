package rendezvous

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"sonic-netservices/internal/n2n"
)

// index finds edges by MAC. One writer at a time, any number of readers, which neither lock nor wait: a table of pointers
// with linear probing that grows by being replaced.
type index struct {
	seed  uint64
	table atomic.Pointer[slots]
	live  int // edges in the table
	used  int // slots that are not empty
}

type slots []atomic.Pointer[edge]

// gone stands where an edge was, so that searches go on behind it.
var gone = new(edge)

func (x *index) hash(m n2n.MAC) uint64 {
	v := uint64(binary.BigEndian.Uint32(m[:]))<<16 | uint64(binary.BigEndian.Uint16(m[4:]))
	hi, lo := bits.Mul64(v^x.seed, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

// get gives the edge, nil when there is none.
func (x *index) get(m n2n.MAC) *edge {
	t := x.table.Load()
	if t == nil {
		return nil
	}
	mask := uint64(len(*t) - 1)
	for i := x.hash(m) & mask; ; i = (i + 1) & mask {
		switch e := (*t)[i].Load(); {
		case e == nil:
			return nil
		case e != gone && e.mac == m:
			return e
		}
	}
}

// put adds an edge whose MAC is not in the index.
func (x *index) put(e *edge) {
	if t := x.table.Load(); t == nil || 2*(x.used+1) > len(*t) {
		x.rebuild()
	}
	x.insert(*x.table.Load(), e)
	x.live++
}

func (x *index) insert(t slots, e *edge) {
	mask := uint64(len(t) - 1)
	for i := x.hash(e.mac) & mask; ; i = (i + 1) & mask {
		if t[i].Load() == nil {
			t[i].Store(e)
			x.used++
			return
		}
	}
}

// remove takes an edge out.
func (x *index) remove(e *edge) {
	t := x.table.Load()
	if t == nil {
		return
	}
	mask := uint64(len(*t) - 1)
	for i := x.hash(e.mac) & mask; ; i = (i + 1) & mask {
		switch (*t)[i].Load() {
		case nil:
			return
		case e:
			(*t)[i].Store(gone)
			x.live--
			return
		}
	}
}

// rebuild makes a table with room for as many edges again, without the traces of those that are gone.
func (x *index) rebuild() {
	size := 16
	for size < 4*(x.live+1) {
		size *= 2
	}
	t := make(slots, size)
	x.used = 0
	for e := range x.all {
		x.insert(t, e)
	}
	x.table.Store(&t)
}

// all gives every edge, in no order that means something.
func (x *index) all(yield func(*edge) bool) {
	t := x.table.Load()
	if t == nil {
		return
	}
	for i := range *t {
		if e := (*t)[i].Load(); e != nil && e != gone && !yield(e) {
			return
		}
	}
}
