package line

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// patience is for how long frames may wait for a line of limited rate; more are dropped, as a router's queue does.
const patience = 50 * time.Millisecond

// frame waits until it is due.
type frame struct {
	due   time.Duration // since the line was begun
	n     uint64        // of frames due at the same time the earlier one goes first
	bytes []byte
}

// queue holds the frames of one direction. Time comes from outside.
type queue struct {
	shape  Shape
	random *rand.Rand
	frames frames
	count  uint64
	busy   time.Duration // until then the line is sending what came before
	spare  [][]byte
}

// put takes a frame that came now, unless it is lost.
func (q *queue) put(now time.Duration, bytes []byte) {
	if q.shape.Loss > 0 && q.random.Float64()*100 < q.shape.Loss {
		return
	}
	sent := now
	if q.shape.Rate > 0 {
		if q.busy-now > patience {
			return
		}
		q.busy = max(q.busy, now) + time.Duration(float64(len(bytes)*8)/q.shape.Rate*float64(time.Microsecond))
		sent = q.busy
	}
	delay := q.shape.Delay
	if j := q.shape.Jitter; j > 0 {
		delay += time.Duration(q.random.Int64N(int64(2*j)+1)) - j
	}
	q.count++
	heap.Push(&q.frames, frame{sent + delay, q.count, append(q.buffer(), bytes...)})
}

// next is when the next frame is due; false: there is none.
func (q *queue) next() (time.Duration, bool) {
	if len(q.frames) == 0 {
		return 0, false
	}
	return q.frames[0].due, true
}

// take gives a frame that is due; nil: none is. The bytes are the caller's until it gives them back.
func (q *queue) take(now time.Duration) []byte {
	if due, ok := q.next(); !ok || due > now {
		return nil
	}
	return heap.Pop(&q.frames).(frame).bytes
}

// giveBack takes the bytes of a frame for another one.
func (q *queue) giveBack(bytes []byte) {
	if len(q.spare) < 1024 {
		q.spare = append(q.spare, bytes[:0])
	}
}

func (q *queue) buffer() []byte {
	if n := len(q.spare); n > 0 {
		b := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return b
	}
	return nil
}

// frames is a heap by due time.
type frames []frame

func (f frames) Len() int      { return len(f) }
func (f frames) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *frames) Push(x any)   { *f = append(*f, x.(frame)) }
func (f frames) Less(i, j int) bool {
	return f[i].due < f[j].due || f[i].due == f[j].due && f[i].n < f[j].n
}

func (f *frames) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	*f = (*f)[:last]
	return x
}
