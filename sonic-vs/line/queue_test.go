package line

import (
	"math/rand/v2"
	"testing"
	"time"
)

func newQueue(s Shape) *queue {
	return &queue{shape: s, random: rand.New(rand.NewPCG(1, 2))}
}

// A frame comes out when its delay is over and no sooner, in the order of the due times.
func TestDelay(t *testing.T) {
	q := newQueue(Shape{Delay: 10 * time.Millisecond})
	q.put(0, []byte("first"))
	q.put(time.Millisecond, []byte("second"))
	if b := q.take(10*time.Millisecond - 1); b != nil {
		t.Fatalf("%q came early", b)
	}
	for _, want := range []string{"first", "", "second", ""} {
		at := 10 * time.Millisecond
		if want == "second" {
			at = 11 * time.Millisecond
		}
		if b := q.take(at); string(b) != want {
			t.Fatalf("at %v: %q, want %q", at, b, want)
		}
	}
}

// The delay of each frame lies within the jitter, and takes more than one value.
func TestJitter(t *testing.T) {
	q := newQueue(Shape{Delay: 10 * time.Millisecond, Jitter: 4 * time.Millisecond})
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		q.put(0, []byte{1})
		due, _ := q.next()
		least, most = min(least, due), max(most, due)
		q.giveBack(q.take(time.Hour))
	}
	if least < 6*time.Millisecond || most > 14*time.Millisecond || most-least < 7*time.Millisecond {
		t.Errorf("delays from %v to %v, want about 6ms to 14ms", least, most)
	}
}

func TestLoss(t *testing.T) {
	q := newQueue(Shape{Loss: 20})
	for range 10_000 {
		q.put(0, []byte{1})
	}
	if n := len(q.frames); n < 7800 || n > 8200 {
		t.Errorf("%d of 10000 frames came through a loss of 20 %%", n)
	}
}

// At 8 Mbit/s a byte takes a microsecond; what would wait for longer than 50 ms is dropped.
func TestRate(t *testing.T) {
	q := newQueue(Shape{Rate: 8})
	for range 100 {
		q.put(0, make([]byte, 1000))
	}
	var last time.Duration
	for n := 1; ; n++ {
		due, ok := q.next()
		if !ok {
			if n-1 != 51 {
				t.Errorf("%d frames were taken, want 51", n-1)
			}
			break
		}
		if want := time.Duration(n) * time.Millisecond; due != want {
			t.Fatalf("frame %d is due at %v, want %v", n, due, want)
		}
		last = due
		q.take(due)
	}
	q.put(last+time.Second, make([]byte, 1000))
	if due, _ := q.next(); due != last+time.Second+time.Millisecond {
		t.Errorf("after a rest: due at %v", due)
	}
}
