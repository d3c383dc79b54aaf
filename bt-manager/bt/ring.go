package bt

// Change is one status change of one node.
type Change struct {
	At       int64 // unix ns
	UID      uint16
	From, To Status
}

// Ring keeps the last status changes.
type Ring struct {
	list   []Change // a power of two, so that the place of change k is k & (len-1)
	most   int      // that list grows to
	marked uint64   // changes before Mark
	all    uint64
	now    int64
}

// NewRing keeps the last n changes, or up to twice as many.
func NewRing(n int) *Ring {
	size := 1
	for size < n {
		size *= 2
	}
	return &Ring{list: make([]Change, size)}
}

// Grow lets the ring become larger where it would lose changes since the newest Mark, up to most. Of ten thousand trees
// hardly one does much in a tick, and rings are most of what they take.
func (r *Ring) Grow(most int) { r.most = most }

// Mark gives the number of changes so far, for Since, and has the ring keep those that come.
func (r *Ring) Mark() uint64 {
	r.marked = r.all
	return r.all
}

func (r *Ring) add(i int32, from, to Status) {
	if len(r.list) < r.most && r.all-r.marked >= uint64(len(r.list)) {
		r.grow()
	}
	r.list[r.all&uint64(len(r.list)-1)] = Change{r.now, uint16(i + 1), from, to}
	r.all++
}

func (r *Ring) grow() {
	list := make([]Change, 2*len(r.list))
	for n := r.all - min(r.all, uint64(len(r.list))); n < r.all; n++ {
		list[n&uint64(len(list)-1)] = r.list[n&uint64(len(r.list)-1)]
	}
	r.list = list
}

// Total counts all changes ever recorded.
func (r *Ring) Total() uint64 { return r.all }

// Changes gives what is kept, oldest first.
func (r *Ring) Changes() []Change { return r.Since(0) }

// Since gives the changes after the first n ever recorded, as far as they are kept.
func (r *Ring) Since(n uint64) (list []Change) {
	r.Each(n, func(c Change) { list = append(list, c) })
	return list
}

// Each hands over the changes after the first n ever recorded, as far as they are kept.
func (r *Ring) Each(n uint64, do func(Change)) {
	if size := uint64(len(r.list)); r.all > size {
		n = max(n, r.all-size)
	}
	for ; n < r.all; n++ {
		do(r.list[n&uint64(len(r.list)-1)])
	}
}
