package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"sonic-netservices/bt-manager/orders"
)

// Clients of line ask one after the other on kept connections, so that nothing piles up at a service that is short of
// processor time: however little it has, it is at its limit. Together they ask for 20 keys a second of 10 ms, which is
// lineDemand; dear keys, so that the clients themselves take nothing of a machine that has little.
const (
	askers   = 4
	askEvery = 200 * time.Millisecond // of each
	keyWork  = "100000"               // rounds of SHA-256
)

// How long line looks on. A spike is over after five samples, an overload is confirmed after six; the rest is for moves
// on a busy machine.
const (
	lookEvery = 250 * time.Millisecond
	quietTime = 8 * time.Second
	moveTime  = 45 * time.Second
)

// overloaded is what was seen of an overload.
type overloaded struct {
	peak   float64 // highest utilisation of the node's compute that the manager saw
	failed error   // of a client
}

// overload lets clients ask until the time that the act gives them has passed, the replica has moved, or the tree has
// found no room twice.
func (l *lineStage) overload(ctx context.Context, a act, skip int) (seen overloaded, err error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	failed := make(chan error, askers)
	for range askers {
		all.Go(func() { failed <- l.ask(asking) })
	}
	began, stopped := time.Now(), time.Time{}
	for stopped.IsZero() || a.asked > 0 && time.Since(stopped) < quietTime {
		if compute, err := l.compute(ctx, l.home); err == nil {
			seen.peak = max(seen.peak, compute.Utilisation())
		}
		over := a.asked > 0 && time.Since(began) >= a.asked
		if a.asked == 0 {
			if over, err = l.over(ctx, a, skip, began); err != nil {
				return seen, err
			}
		}
		if over && stopped.IsZero() {
			stop()
			stopped = time.Now()
		}
		select {
		case <-ctx.Done():
			return seen, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	all.Wait()
	close(failed)
	for err := range failed {
		seen.failed = errors.Join(seen.failed, err)
	}
	return seen, nil
}

// over says whether an overload without a set time has had its effect.
func (l *lineStage) over(ctx context.Context, a act, skip int, began time.Time) (bool, error) {
	if time.Since(began) > moveTime {
		return true, nil
	}
	if len(a.want) == 0 {
		list, err := l.why(ctx, service)
		tries := 0
		for _, e := range list {
			if e.What == "full" && !e.At.Before(began) {
				tries++
			}
		}
		return tries >= 2, err
	}
	since, err := l.managerRecords(skip)
	if err != nil {
		return false, err
	}
	_, outcomes := begun(since, replica, orders.Move)
	return len(outcomes) > 0 && outcomes[0] != "", nil
}

// ask is one client: a key after the other, on one connection. The end of ctx is no failure.
func (l *lineStage) ask(ctx context.Context) error {
	transport := &http.Transport{DialContext: l.dial, MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 10 * time.Second}
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		err := askKey(ctx, &client)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("request %d: %w", n, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func askKey(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+kmsAddress+"/key?client=line", nil)
	if err != nil {
		return err
	}
	reply, err := client.Do(req)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return errors.New(reply.Status)
	}
	return nil
}
