package bt

// Change is one status change of one node.
type Change struct {
	At       int64 // unix ns
	UID      uint16
	From, To Status
}

// Ring keeps the last status changes.
type Ring struct {
	list []Change
	next int
	all  uint64
	now  int64
}

// NewRing keeps up to n changes.
func NewRing(n int) *Ring { return &Ring{list: make([]Change, 0, max(n, 1))} }

func (r *Ring) add(i int32, from, to Status) {
	c := Change{r.now, uint16(i + 1), from, to}
	r.all++
	if len(r.list) < cap(r.list) {
		r.list = append(r.list, c)
		return
	}
	r.list[r.next] = c
	if r.next++; r.next == len(r.list) {
		r.next = 0
	}
}

// Total counts all changes ever recorded.
func (r *Ring) Total() uint64 { return r.all }

// Changes gives what is kept, oldest first.
func (r *Ring) Changes() []Change {
	return append(append([]Change(nil), r.list[r.next:]...), r.list[:r.next]...)
}

// Since gives the changes after the first n ever recorded, as far as they are kept.
func (r *Ring) Since(n uint64) []Change {
	list := r.Changes()
	if skip := int(n) - int(r.all) + len(list); skip > 0 {
		return list[min(skip, len(list)):]
	}
	return list
}
