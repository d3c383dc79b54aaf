package address

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// queueNumber of the hold; queues are per network namespace.
const queueNumber = 77

// Counts of the packets a hold has kept.
type Counts struct {
	In   int // arrived at eth0
	Out  int // sent by the service
	Lost int // dropped by the kernel because 65,535 were waiting already, or faster than they could be counted
}

// Held keeps back all IP traffic of one holder until Release or Drop, each of which ends it.
//
//	holding --Release--> accepting --> closed (open)
//	holding --Drop-----> dropping ---> closed (shut)
//
// It lives in the process: when that dies the kernel drops what waits, and everything that comes after, until Hold is called again.
type Held struct {
	ns    string
	queue *queue
	done  chan struct{} // closed when reading ends

	mu     sync.Mutex
	counts Counts
	last   uint32                // number of the newest packet seen
	some   bool                  // there was one
	now    func(id uint32) error // verdict for packets as they come; nil while holding
	err    error                 // of the reader
}

// Hold keeps back IP in both directions on eth0 of the holder. ARP and neighbour discovery pass, and so does lo. Whatever arrives from now
// on waits in order. If the rule of a dead process is still there, its queue is taken over.
func Hold(ns string) (*Held, error) {
	h := &Held{ns: ns, done: make(chan struct{})}
	err := within(ns, func() error {
		q, err := bindQueue(queueNumber)
		if err != nil {
			return fmt.Errorf("hold traffic: %w", err)
		}
		h.queue = q
		return nil
	})
	if err != nil {
		return nil, err
	}
	go h.read()
	if err := change("hold traffic", ns, func(g gate) { g.pass(toQueue(queueNumber)) }); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// read notes every packet that comes to wait. It must be quick: a full socket loses packets.
func (h *Held) read() {
	defer close(h.done)
	buf := make([]byte, 64<<10)
	var list []waiting
	for {
		var err error
		list, err = h.queue.receive(buf, list[:0])
		if errors.Is(err, unix.ENOBUFS) {
			continue // the kernel counted what it lost
		}
		if err == nil {
			err = h.note(list)
		}
		if err != nil {
			h.mu.Lock()
			if !errors.Is(err, os.ErrClosed) {
				h.err = fmt.Errorf("hold traffic: %w", err)
			}
			h.mu.Unlock()
			return
		}
	}
}

func (h *Held) note(list []waiting) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range list {
		if w.hook == unix.NF_INET_LOCAL_OUT {
			h.counts.Out++
		} else {
			h.counts.In++
		}
		h.last, h.some = w.id, true
	}
	if h.now == nil || len(list) == 0 {
		return nil
	}
	return h.now(h.last)
}

// settle gives what waits, and from now on what comes, the verdict.
func (h *Held) settle(verdict uint32) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = func(id uint32) error { return h.queue.decide(verdict, id) }
	if h.err != nil || !h.some {
		return h.err
	}
	return h.now(h.last)
}

// Release accepts everything held, in order, and lets later traffic flow. The rule goes before the queue, and the queue only when it is
// empty: a packet between the two still gets its verdict, though the one after it may overtake it. After an error it can be called again.
func (h *Held) Release() (Counts, error) {
	if err := h.settle(verdictAccept); err != nil {
		return h.Counts(), fmt.Errorf("release traffic: %w", err)
	}
	if err := change("release traffic", h.ns, func(g gate) { g.pass(nil) }); err != nil {
		return h.Counts(), err
	}
	return h.finish()
}

// Drop drops everything held and leaves the holder shut in both directions, until Reset: an answer of an empty namespace would be a TCP
// reset, and the clients' connections belong to the other holder again. After an error it can be called again.
func (h *Held) Drop() (Counts, error) {
	if err := change("drop traffic", h.ns, func(g gate) { g.pass(verdict(expr.VerdictDrop)) }); err != nil {
		return h.Counts(), err
	}
	if err := h.settle(verdictDrop); err != nil {
		return h.Counts(), fmt.Errorf("drop traffic: %w", err)
	}
	return h.finish()
}

// Abandon ends the hold of a holder that has ended: nobody is left to be given its packets.
func (h *Held) Abandon() { h.close() }

// finish waits until the queue is empty and gives it up. A packet may have met the old rule just before it went, so one look is not enough.
func (h *Held) finish() (Counts, error) {
	for empty := 0; empty < 3; {
		time.Sleep(time.Millisecond)
		var s status
		err := within(h.ns, func() (err error) {
			s, err = queueStatus(queueNumber)
			return err
		})
		h.mu.Lock()
		h.counts.Lost = s.lost
		err = errors.Join(err, h.err)
		h.mu.Unlock()
		if err != nil {
			return h.Counts(), fmt.Errorf("empty packet queue: %w", err)
		}
		if empty++; s.waiting > 0 {
			empty = 0
		}
	}
	h.close()
	return h.Counts(), nil
}

// Counts are the packets held up to now; Lost is known only when the hold has ended.
func (h *Held) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

// close gives the queue up; the kernel drops what still waits.
func (h *Held) close() {
	h.queue.file.Close()
	<-h.done
}
