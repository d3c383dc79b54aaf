package bt

// Change is one status change of one node.
type Change struct {
	At       int64 // unix ns
	UID      uint16
	From, To Status
}

// Ring keeps the last status changes.
type Ring struct {
	list  []Change // a power of two; the place of change k is (k-begun) & (len-1)
	begun uint64   // changes before the newest Rewind
	all   uint64
	now   int64
}

// NewRing keeps the last n changes, or up to twice as many.
func NewRing(n int) *Ring {
	size := 1
	for size < n {
		size *= 2
	}
	return &Ring{list: make([]Change, size)}
}

// Rewind forgets what there is, and takes up the same memory again. Of ten thousand trees hardly one does much in a tick,
// and rings are most of what they take: so most of it is never touched.
func (r *Ring) Rewind() { r.begun = r.all }

func (r *Ring) add(i int32, from, to Status) {
	r.list[(r.all-r.begun)&uint64(len(r.list)-1)] = Change{r.now, uint16(i + 1), from, to}
	r.all++
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
	n = max(n, r.begun)
	if size := uint64(len(r.list)); r.all-r.begun > size {
		n = max(n, r.all-size)
	}
	for ; n < r.all; n++ {
		do(r.list[(n-r.begun)&uint64(len(r.list)-1)])
	}
}
