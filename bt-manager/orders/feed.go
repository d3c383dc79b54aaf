package orders

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
)

// Feed is the progress of one operation, for whoever began it. It keeps every event, so a slow reader loses none and
// holds up nobody; an operation has a few dozen.
type Feed struct {
	mu     sync.Mutex
	events []*api.Event
	ended  bool
	err    error         // a refusal, once ended
	more   chan struct{} // closed, and replaced, with each event and at the end
}

func newFeed() *Feed { return &Feed{more: make(chan struct{})} }

func (f *Feed) add(e *api.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	f.tell()
}

// end closes the feed: with a last event, or with the error of an operation that was refused.
func (f *Feed) end(last *api.Event, end End) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	if end.Code != codes.OK {
		f.err = status.Error(end.Code, end.Error)
	} else {
		f.events = append(f.events, last)
	}
	f.tell()
}

func (f *Feed) tell() {
	close(f.more)
	f.more = make(chan struct{})
}

// Follow sends every event from the first to the last. It ends early with ctx; the operation goes on.
func (f *Feed) Follow(ctx context.Context, send func(*api.Event) error) error {
	for sent := 0; ; {
		f.mu.Lock()
		events, ended, err, more := f.events[sent:], f.ended, f.err, f.more
		f.mu.Unlock()
		for _, e := range events {
			if err := send(e); err != nil {
				return err
			}
		}
		sent += len(events)
		if ended {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
