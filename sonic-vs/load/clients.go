package load

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// clients are all who ask for keys: kept connections with a queue each, and one passing client for each new connection.
type clients struct {
	target  *url.URL
	out     *recordWriter
	kept    []*keptConn
	start   time.Time
	conns   atomic.Int64 // connections so far, their numbers
	failed  atomic.Int64
	broken  atomic.Int64
	running sync.WaitGroup
}

// keptConn is the place of one kept connection. A request whose turn has not come waits here, and its time runs.
type keptConn struct {
	slot    int // 1, 2, ...
	request []byte
	queue   chan Slot
	waiting atomic.Int32 // in the queue or on the connection
	conn    *conn        // nil: dial anew. Only its own goroutine uses it
}

func newClients(target *url.URL, c Config, out *recordWriter) *clients {
	cs := &clients{target: target, out: out}
	// Each request leaves its queue Patience after it was due at the latest, so the queues never hold more together.
	room := c.Schedule.peak() * int(Patience/time.Second+1)
	for i := range c.Kept {
		cs.kept = append(cs.kept, &keptConn{
			slot:    i + 1,
			request: keyRequest(target, fmt.Sprintf("kept-%d", i+1), false),
			queue:   make(chan Slot, room),
		})
	}
	return cs
}

// dialKept opens the kept connections before the load begins. One that fails is dialled again by its first request.
func (cs *clients) dialKept(ctx context.Context) {
	var all sync.WaitGroup
	for _, k := range cs.kept {
		all.Go(func() { k.conn, _ = dial(ctx, cs.target, int(cs.conns.Add(1))) })
	}
	all.Wait()
}

// play sends each request when it is due and returns how many there were, once each has its record.
func (cs *clients) play(ctx context.Context, start time.Time, s Schedule) int {
	cs.start = start
	for _, k := range cs.kept {
		cs.running.Go(func() { cs.serveQueue(k) })
	}
	sent, turn := 0, 0
	wake := time.NewTimer(0)
	defer wake.Stop()
	for slot := range s.Slots() {
		wake.Reset(time.Until(start.Add(slot.Due)))
		select {
		case <-wake.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		sent++
		if slot.New {
			cs.running.Go(func() { cs.passBy(slot) })
			continue
		}
		k := cs.leastBusy(turn)
		turn++
		k.waiting.Add(1)
		k.queue <- slot
	}
	for _, k := range cs.kept {
		close(k.queue)
	}
	cs.running.Wait()
	return sent
}

// leastBusy takes the connections in turn, so that none stays unused, and skips those with more waiting than others.
func (cs *clients) leastBusy(turn int) *keptConn {
	var best *keptConn
	var least int32
	for i := range cs.kept {
		k := cs.kept[(turn+i)%len(cs.kept)]
		waiting := k.waiting.Load()
		if best == nil || waiting < least {
			best, least = k, waiting
		}
		if least == 0 {
			break
		}
	}
	return best
}

// serveQueue is the life of one kept connection.
func (cs *clients) serveQueue(k *keptConn) {
	for slot := range k.queue {
		r := Record{N: slot.N, Due: slot.Due, Slot: k.slot}
		k.conn = cs.ask(k.conn, k.request, &r)
		cs.out.records <- r
		k.waiting.Add(-1)
	}
	if k.conn != nil {
		k.conn.close()
	}
}

// passBy is a client that comes with one request on a connection of its own.
func (cs *clients) passBy(slot Slot) {
	r := Record{N: slot.N, Due: slot.Due}
	request := keyRequest(cs.target, "new", true)
	if c := cs.ask(nil, request, &r); c != nil {
		c.close()
	}
	cs.out.records <- r
}

// ask puts one request on c, or on a connection it dials, and fills the record. It returns the connection if it can
// carry another request. A request is never repeated.
func (cs *clients) ask(c *conn, request []byte, r *Record) *conn {
	deadline := cs.start.Add(r.Due + Patience)
	if !time.Now().Before(deadline) {
		return cs.fail(c, r, fmt.Errorf("not sent within %v", Patience))
	}
	if c != nil && c.idleEnded() {
		c.close()
		c = nil
	}
	if c == nil {
		var err error
		if c, err = cs.dialBy(deadline); err != nil {
			return cs.fail(nil, r, err)
		}
	}
	r.Conn, r.Port = c.id, c.port
	r.Sent = time.Since(cs.start)
	o := c.exchange(request, deadline)
	now := time.Since(cs.start)
	r.Status = o.status
	if o.last {
		c.close()
		c = nil
	}
	if o.err != nil {
		if r.Broken = o.broken; o.broken {
			cs.broken.Add(1)
		}
		return cs.fail(c, r, o.err)
	}
	r.Answered, r.Latency, r.Answer = now, now-r.Due, o.answer
	return c
}

func (cs *clients) fail(c *conn, r *Record, err error) *conn {
	cs.failed.Add(1)
	r.Failed, r.Error = time.Since(cs.start), err.Error()
	return c
}

// dialBy names the reason shortly: the record's error is what failures are counted by.
func (cs *clients) dialBy(deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	c, err := dial(ctx, cs.target, int(cs.conns.Add(1)))
	var call *os.SyscallError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &call):
		return nil, fmt.Errorf("dial: %w", call.Err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return nil, fmt.Errorf("dial: %w", errNoAnswer)
	}
	return nil, fmt.Errorf("dial: %w", err)
}
