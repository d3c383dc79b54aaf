package sonicdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrEventsOff says that the server does not send keyspace events (notify-keyspace-events lacks K, or h and A).
var ErrEventsOff = errors.New("keyspace events are off")

// retryWatch is the pause before a broken subscription is tried again. A redis restart takes about a second.
const retryWatch = 200 * time.Millisecond

// Watch sends the key of every row that matches one of the glob patterns and was written or removed; the reader reads the row
// and compares, because an event fires also when nothing changed. At the start, and again whenever the connection was
// lost, every existing key is sent, and every key that is gone since, so nothing is missed. A key that changes several times before the reader takes it is sent once. The channel closes with ctx.
func (d *DB) Watch(ctx context.Context, patterns ...string) (<-chan string, error) {
	conf, err := d.client.ConfigGet(ctx, "notify-keyspace-events").Result()
	if err != nil {
		return nil, d.wrap("watch", strings.Join(patterns, " "), err)
	}
	if on := conf["notify-keyspace-events"]; !strings.Contains(on, "K") || !strings.ContainsAny(on, "Ah") {
		return nil, fmt.Errorf("%s: watch %s: %w (%q)", d.name, strings.Join(patterns, " "), ErrEventsOff, on)
	}
	heard := make(chan string)
	go d.listen(ctx, patterns, heard)
	out := make(chan string)
	go coalesce(heard, out)
	return out, nil
}

// listen keeps one subscription after another until ctx ends.
func (d *DB) listen(ctx context.Context, patterns []string, heard chan<- string) {
	defer close(heard)
	known := map[string]bool{}
	for ctx.Err() == nil {
		_ = d.follow(ctx, patterns, known, heard) // whatever ended it, the next one scans
		sleep(ctx, retryWatch)
	}
}

// follow turns the keyspace events of one subscription into keys until its connection breaks. It scans once the server
// has confirmed the subscription: what was missed lies before the scan, what comes after it is an event.
func (d *DB) follow(ctx context.Context, patterns []string, known map[string]bool, heard chan<- string) error {
	channel := fmt.Sprintf("__keyspace@%d__:", d.id)
	channels := make([]string, len(patterns))
	for i, pattern := range patterns {
		channels[i] = channel + pattern
	}
	sub := d.client.PSubscribe(ctx, channels...)
	defer sub.Close()
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() }) // Receive does not end with its context
	defer stop()
	for {
		event, err := sub.Receive(ctx)
		if err != nil {
			return err
		}
		switch event := event.(type) {
		case *redis.Subscription: // one for each pattern
			if event.Count < len(patterns) {
				continue
			}
			if err := d.rescan(ctx, patterns, known, heard); err != nil {
				return err
			}
		case *redis.Message:
			key := strings.TrimPrefix(event.Channel, channel)
			known[key] = true
			if event.Payload == "del" || event.Payload == "expired" {
				delete(known, key)
			}
			send(ctx, heard, key)
		}
	}
}

// rescan sends every key that exists now or was known before, and leaves in known those that exist.
func (d *DB) rescan(ctx context.Context, patterns []string, known map[string]bool, heard chan<- string) error {
	now := map[string]bool{}
	for _, pattern := range patterns {
		keys, err := d.Scan(ctx, pattern)
		if err != nil {
			return err
		}
		for _, k := range keys {
			now[k] = true
			known[k] = true
		}
	}
	for k := range known {
		send(ctx, heard, k)
		if !now[k] {
			delete(known, k)
		}
	}
	return nil
}

// coalesce holds the keys a slow reader has not taken yet, each once, in the order of their first change.
func coalesce(heard <-chan string, out chan<- string) {
	defer close(out)
	var queue []string
	waiting := map[string]bool{}
	for {
		var next string
		var ready chan<- string
		if len(queue) > 0 {
			next, ready = queue[0], out
		}
		select {
		case key, ok := <-heard:
			if !ok {
				return
			}
			if !waiting[key] {
				waiting[key] = true
				queue = append(queue, key)
			}
		case ready <- next:
			queue = queue[1:]
			delete(waiting, next)
		}
	}
}

func send(ctx context.Context, to chan<- string, key string) {
	select {
	case to <- key:
	case <-ctx.Done():
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
