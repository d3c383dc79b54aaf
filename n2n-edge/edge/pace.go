package edge

import (
	"context"
	"time"

	"sonic-netservices/n2n-edge/edge/udp"
)

const (
	// paceBurst is how many packets a peer that is not ours gets at once. ntop reads one packet at a time into the kernel's
	// default buffer, which holds some eighty.
	paceBurst = 16
	// paceQueue is how many batches wait. More would only be older when they are sent.
	paceQueue = 8
)

// pacer sends to peers that take their time, some packets at a time. It waits where the sender must not: the others would
// wait with it.
type pacer struct {
	e     *Edge
	full  chan *batch
	empty chan *batch
	one   [1]udp.Burst
}

func newPacer(e *Edge) *pacer {
	p := &pacer{e: e, full: make(chan *batch, paceQueue), empty: make(chan *batch, paceQueue)}
	for range paceQueue {
		p.empty <- newBatch()
	}
	return p
}

// take takes over a batch and gives an empty one. A batch that would have to wait too long is dropped, as by any link that
// is slower than what comes; TCP knows what that means.
func (p *pacer) take(b *batch) *batch {
	select {
	case next := <-p.empty:
		p.full <- b // as many as empty ones are gone: it has room
		return next
	default:
		p.e.count.drop(dropPace)
		b.reset()
		return b
	}
}

func (p *pacer) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-p.full:
			for i := range b.bursts {
				p.send(&b.bursts[i])
			}
			b.reset()
			p.empty <- b
		}
	}
}

// send sends a burst in small ones, and after each waits as long as its bits take at the rate of the peer.
func (p *pacer) send(b *udp.Burst) {
	step := len(b.Data)
	if b.Segment > 0 {
		step = b.Segment * paceBurst
	}
	for at := 0; at < len(b.Data); at += step {
		part := b.Data[at:min(at+step, len(b.Data))]
		p.one[0] = udp.Burst{To: b.To, Data: part, Segment: b.Segment}
		if err := p.e.doors.Socket.Send(p.one[:]); err != nil {
			p.e.count.drop(dropSend)
		}
		if len(part) > b.Segment && b.Segment > 0 {
			time.Sleep(time.Duration(len(part)) * 8 * time.Second / time.Duration(p.e.cfg.PaceRate))
		}
	}
}
