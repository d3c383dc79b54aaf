package address

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// AwaitAccepted returns when no connection to a listener in the holder's namespace is half open or waits to be accepted,
// or when ctx ends. A yielded holder gets no new ones, so this takes a round trip. What is left then is lost in a move:
// the client counts the connection as open, and the copy has never heard of it.
func AwaitAccepted(ctx context.Context, ns string) error {
	return within(ns, func() error {
		for {
			left := 0
			for _, file := range []string{"tcp", "tcp6"} {
				text, err := os.ReadFile("/proc/thread-self/net/" + file)
				if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6 has one of them
					return fmt.Errorf("await accepted connections: %w", err)
				}
				left += unaccepted(string(text))
			}
			if left == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%d connections are not accepted: %w", left, ctx.Err())
			case <-time.After(200 * time.Microsecond):
			}
		}
	})
}

// unaccepted counts in the text of /proc/net/tcp: half-open connections, and those in the queues of listeners, which
// stand as their rx_queue.
func unaccepted(text string) int {
	const synReceived, listen = "03", "0A"
	n := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // sl local_address rem_address st tx_queue:rx_queue ...
		if len(f) < 5 {
			continue
		}
		switch f[3] {
		case synReceived:
			n++
		case listen:
			var tx, rx uint32
			if _, err := fmt.Sscanf(f[4], "%x:%x", &tx, &rx); err == nil {
				n += int(rx)
			}
		}
	}
	return n
}
