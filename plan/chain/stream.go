package chain

import "math"

// loads is who takes what while a solution is worked out. Everything taken can be given back exactly: it is written down
// first.
type loads struct {
	m    *model
	free []float64 // by resource
	undo []saved

	// Deadlines of streams that were admitted hold also when later ones load the same nodes; a node's processing time
	// may rise to its limit without a look at them. For each stream: link delays and the limits of its hosts add up to
	// its deadline at most.
	guarded bool
	limit   []float64 // ms, by node
	streams []stream
	through [][]int32 // by node: streams, once for each of their functions there
}

type saved struct {
	resource int32
	free     float64
}

// stream is the part of a request that takes one replica.
type stream struct {
	request, replica int32
	share            int32   // of units
	hosts            []int32 // of the replica
	delay            float64 // ms, links only
	cost             float64
	ways             int32 // where its choices of paths begin in evaluator.ways, -1: the first everywhere
}

func (l *loads) reset() {
	copy(l.free, l.m.free)
	l.undo, l.streams = l.undo[:0], l.streams[:0]
	if l.guarded {
		for n := range l.limit {
			l.limit[n] = math.Inf(1)
			l.through[n] = l.through[n][:0]
		}
	}
}

func (l *loads) take(resource int32, amount float64) bool {
	free := l.free[resource]
	if amount > free+l.m.slack[resource] {
		return false
	}
	l.undo = append(l.undo, saved{resource, free})
	l.free[resource] = free - amount
	return true
}

func (l *loads) takeAll(resources []int32, amount float64) bool {
	for _, r := range resources {
		if !l.take(r, amount) {
			return false
		}
	}
	return true
}

// back gives back what was taken since the mark.
func (l *loads) back(mark int) {
	for i := len(l.undo) - 1; i >= mark; i-- {
		l.free[l.undo[i].resource] = l.undo[i].free
	}
	l.undo = l.undo[:mark]
}

// processing is how long a function takes at a node now, ms (eq. 14).
func (l *loads) processing(node int32) float64 {
	d := l.m.working[node]
	if l.m.steady || d == 0 {
		return d
	}
	if l.free[node] <= l.m.slack[node] {
		return math.Inf(1)
	}
	return d * l.m.capacity[node] / l.free[node]
}

// delay of a stream now.
func (l *loads) delay(s *stream) float64 {
	d := s.delay
	for _, h := range s.hosts {
		d += l.processing(h)
	}
	return d
}

// inTime says whether the stream that was just taken keeps its deadline and, if guarded, lets all others keep theirs. The
// stream is then among l.streams.
func (l *loads) inTime(s stream) bool {
	d := l.delay(&s)
	left := l.m.requests[s.request].deadline - d
	if left < 0 || math.IsNaN(left) {
		return false
	}
	if !l.guarded {
		l.streams = append(l.streams, s)
		return true
	}
	for _, h := range s.hosts {
		if l.processing(h) > l.limit[h] && !l.widen(h) {
			return false
		}
	}
	number := int32(len(l.streams))
	l.streams = append(l.streams, s)
	l.allow(&s, left)
	for _, h := range s.hosts {
		l.through[h] = append(l.through[h], number)
	}
	return true
}

// allow gives a stream's hosts equal parts of the time it has left.
func (l *loads) allow(s *stream, left float64) {
	part := left / float64(len(s.hosts))
	for _, h := range s.hosts {
		l.limit[h] = min(l.limit[h], l.processing(h)+part)
	}
}

// widen looks at every stream through a node and sets its limit anew; false when one of them is late now.
func (l *loads) widen(node int32) bool {
	now, limit := l.processing(node), math.Inf(1)
	for _, i := range l.through[node] {
		s := &l.streams[i]
		left := l.m.requests[s.request].deadline - l.delay(s)
		if left < 0 || math.IsNaN(left) {
			return false
		}
		l.allow(s, left)
		limit = min(limit, now+left/float64(len(s.hosts)))
	}
	l.limit[node] = limit
	return true
}

// leave takes out the streams from the given number on.
func (l *loads) leave(from int) {
	for i := len(l.streams) - 1; i >= from; i-- {
		if l.guarded {
			hosts := l.streams[i].hosts
			for k := len(hosts) - 1; k >= 0; k-- {
				l.through[hosts[k]] = l.through[hosts[k]][:len(l.through[hosts[k]])-1]
			}
		}
	}
	l.streams = l.streams[:from]
}

// late counts the requests that miss their deadline now that all are in.
func (l *loads) late() int {
	count, last := 0, int32(-1)
	for i := range l.streams {
		s := &l.streams[i]
		if s.request != last && l.delay(s) > l.m.requests[s.request].deadline+1e-9 {
			count, last = count+1, s.request
		}
	}
	return count
}
