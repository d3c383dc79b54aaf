package orders

import (
	"context"
	"sync"
	"time"
)

// pacer spaces what is sent so that it takes no more than a share of the links. Several senders share one fairly: each
// takes its place in the line, chunk by chunk.
type pacer struct {
	mu   sync.Mutex
	bps  int64     // bits a second; 0 = no limit
	next time.Time // when the next chunk may go
}

// set changes the rate, also of senders at work.
func (p *pacer) set(bps int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bps = bps
}

// wait returns when n bytes may go, or when ctx ends.
func (p *pacer) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	if p.bps <= 0 {
		p.mu.Unlock()
		return ctx.Err()
	}
	now := time.Now()
	if p.next.Before(now) { // idle time is not saved up
		p.next = now
	}
	turn := p.next
	p.next = turn.Add(time.Duration(float64(n) * 8 / float64(p.bps) * float64(time.Second)))
	p.mu.Unlock()
	pause(ctx, time.Until(turn))
	return ctx.Err()
}
