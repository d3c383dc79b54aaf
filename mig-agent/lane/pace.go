package lane

import (
	"context"
	"io"
	"sync"
	"time"
)

// Pacer spaces what is sent so that it takes no more than a share of the links. Several senders share one fairly: each
// takes its place in the line, chunk by chunk. The zero value has no limit.
type Pacer struct {
	mu   sync.Mutex
	bps  int64     // bits a second; 0 = no limit
	next time.Time // when the next chunk may go
}

// Set changes the rate, also of senders at work.
func (p *Pacer) Set(bps int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bps = bps
}

// Limit in bits a second; 0: none.
func (p *Pacer) Limit() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bps
}

// Wait until it is the turn of so many bytes.
func (p *Pacer) Wait(ctx context.Context, n int) error {
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
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(turn)):
	}
	return ctx.Err()
}

// Writer is w at this pace.
func (p *Pacer) Writer(ctx context.Context, w io.Writer) io.Writer { return paced{ctx, p, w} }

type paced struct {
	ctx context.Context
	p   *Pacer
	w   io.Writer
}

func (w paced) Write(b []byte) (int, error) {
	if err := w.p.Wait(w.ctx, len(b)); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}
