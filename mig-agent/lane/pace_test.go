package lane

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Two senders share the rate; a change counts at once, and none at all is no limit.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{}
		began := time.Now()
		send := func(chunks int) {
			for range chunks {
				if err := p.Wait(t.Context(), 125_000); err != nil { // 1 Mbit
					t.Error(err)
				}
			}
		}
		send(100)
		if took := time.Since(began); took != 0 {
			t.Errorf("without a limit it took %v", took)
		}
		p.Set(10_000_000)
		var all sync.WaitGroup
		all.Go(func() { send(10) })
		all.Go(func() { send(11) })
		all.Wait()
		if took := time.Since(began); took != 2*time.Second { // the first chunk goes at once
			t.Errorf("21 Mbit at 10 Mbit/s took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.Wait(ctx, 1) == nil {
			t.Error("a wait went on after its context")
		}
	})
}
