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
	left, err := awaitNone(ctx, ns, 200*time.Microsecond, unaccepted, "tcp", "tcp6")
	if err != nil && left > 0 {
		err = fmt.Errorf("%d connections are not accepted: %w", left, err)
	}
	return err
}

// AwaitClosed returns when nobody outside the holder's namespace has a TCP connection with it, or when ctx ends.
func AwaitClosed(ctx context.Context, ns string) error {
	left, err := awaitNone(ctx, ns, 2*time.Millisecond, connected, "tcp", "tcp6")
	if err != nil && left > 0 {
		err = fmt.Errorf("%d connections are open: %w", left, err)
	}
	return err
}

// AwaitRead returns when no datagram waits in a socket of the holder's namespace to be read, or when ctx ends. What waits
// at the freeze is lost: CRIU carries no queue of a UDP socket.
func AwaitRead(ctx context.Context, ns string) error {
	left, err := awaitNone(ctx, ns, 200*time.Microsecond, unread, "udp", "udp6")
	if err != nil && left > 0 {
		err = fmt.Errorf("%d sockets have datagrams to read: %w", left, err)
	}
	return err
}

// awaitNone looks at the namespace's tables of sockets until count finds nothing in them, or ctx ends.
func awaitNone(ctx context.Context, ns string, every time.Duration, count func(text string) int, tables ...string) (left int, err error) {
	err = within(ns, func() error {
		for {
			left = 0
			for _, file := range tables {
				text, err := os.ReadFile("/proc/thread-self/net/" + file)
				if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6 has one of each
					return fmt.Errorf("list sockets: %w", err)
				}
				left += count(string(text))
			}
			if left == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(every):
			}
		}
	})
	return left, err
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
			n += receiveQueue(f[4])
		}
	}
	return n
}

// connected counts in the text of /proc/net/tcp the connections with other hosts on which one of the two may still say something.
func connected(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		switch f[3] {
		case "01", "03", "04", "08", "09", "0B": // established, being opened, being closed with data under way
			if !loopbackPeer(f[2]) {
				n++
			}
		}
	}
	return n
}

// loopbackPeer reads an address as /proc/net/tcp and tcp6 have it: words of four bytes, each in the machine's order.
func loopbackPeer(address string) bool {
	host, _, _ := strings.Cut(address, ":")
	switch {
	case len(host) == 8:
		return strings.HasSuffix(host, "7F") // 127.x.x.x
	case host == "00000000000000000000000001000000":
		return true // ::1
	}
	return strings.HasPrefix(host, "0000000000000000FFFF0000") && strings.HasSuffix(host, "7F")
}

// unread counts in the text of /proc/net/udp the sockets with something to read.
func unread(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 5 && receiveQueue(f[4]) > 0 {
			n++
		}
	}
	return n
}

// receiveQueue is the second of tx_queue:rx_queue.
func receiveQueue(queues string) int {
	var tx, rx uint32
	if _, err := fmt.Sscanf(queues, "%x:%x", &tx, &rx); err != nil {
		return 0
	}
	return int(rx)
}
