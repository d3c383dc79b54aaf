package edge

import (
	"context"
	"sync"
	"time"

	"sonic-netservices/n2n-edge/edge/udp"
)

const (
	// paceBurst is how many packets a peer that is not ours gets at once. ntop reads one packet at a time into the kernel's
	// default buffer, which holds some eighty.
	paceBurst = 16
	// paceQueue is how many batches may wait, of outBuffer bytes. More would only be older when they are sent.
	paceQueue = 8
)

// pacer sends to peers that take their time, some packets at a time. What has to wait waits here and not in the sender: the
// others would wait with it.
type pacer struct {
	e     *Edge
	rung  chan struct{}
	one   [1]udp.Burst
	clock time.Time // when the next burst may go; belongs to run, and to the sender while the queue is empty

	mu    sync.Mutex
	queue []*batch // the first one is being sent
	free  []*batch
}

func newPacer(e *Edge) *pacer { return &pacer{e: e, rung: make(chan struct{}, 1)} }

// room gives the batch that a frame's packets have to be added to, nil when too much waits already: then the frame is
// dropped, as by any link that is slower than what comes, and TCP knows what that means. mu is held.
func (p *pacer) room(s *sealer) *batch {
	if n := len(p.queue); n > 1 && s.fits(p.queue[n-1]) {
		return p.queue[n-1] // not the first one: that is being sent
	}
	if len(p.queue) == paceQueue {
		return nil
	}
	var b *batch
	if n := len(p.free); n > 0 {
		b, p.free = p.free[n-1], p.free[:n-1]
	} else {
		b = newBatch()
	}
	p.queue = append(p.queue, b)
	return b
}

// ring tells that there is something to send.
func (p *pacer) ring() {
	select {
	case p.rung <- struct{}{}:
	default:
	}
}

// direct says whether a frame need not wait: nothing does, it is small, and the last burst is over.
func (p *pacer) direct(now time.Time, packets, bytes int) bool {
	if packets > paceBurst {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 || p.clock.Sub(now) > p.time(paceBurst*bytes/packets) {
		return false
	}
	p.spend(now, bytes)
	return true
}

// time is how long bytes take at the rate of the peers.
func (p *pacer) time(bytes int) time.Duration {
	return time.Duration(int64(bytes) * 8 * int64(time.Second) / p.e.cfg.PaceRate)
}

// spend lets the clock go on by what was sent. Time in which nothing was sent is lost.
func (p *pacer) spend(now time.Time, bytes int) {
	if p.clock.Before(now) {
		p.clock = now
	}
	p.clock = p.clock.Add(p.time(bytes))
}

func (p *pacer) run(ctx context.Context) error {
	for {
		b := p.first()
		if b == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-p.rung:
			}
			continue
		}
		for i := range b.bursts {
			p.send(&b.bursts[i])
		}
		p.done(b)
	}
}

// first gives the batch to be sent. From now on nothing is added to it.
func (p *pacer) first() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	return p.queue[0]
}

func (p *pacer) done(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.reset()
	p.free = append(p.free, b)
	p.queue = append(p.queue[:0], p.queue[1:]...)
}

// send sends a burst in small ones, each when the one before is over.
func (p *pacer) send(b *udp.Burst) {
	step := len(b.Data)
	if b.Segment > 0 {
		step = b.Segment * paceBurst
	}
	for at := 0; at < len(b.Data); at += step {
		part := b.Data[at:min(at+step, len(b.Data))]
		now := time.Now()
		if wait := p.clock.Sub(now); wait > 50*time.Microsecond { // less is not worth a sleep, and is waited for later
			time.Sleep(wait)
			now = time.Now()
		}
		p.one[0] = udp.Burst{To: b.To, Data: part, Segment: b.Segment}
		if err := p.e.transmit(p.one[:]); err != nil {
			p.e.count.drop(dropSend)
		}
		p.mu.Lock()
		p.spend(now, len(part))
		p.mu.Unlock()
	}
}
