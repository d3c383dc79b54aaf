package overlay

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// peer answers what comes by a socket: each request is given to answer, which says when its answer is sent, if at all.
func peer(t *testing.T, answer func(seq int) (after time.Duration, ok bool)) int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]) })
	go func() {
		defer unix.Close(fds[1])
		for seq := 0; ; seq++ {
			packet := make([]byte, 20+64)
			if n, err := unix.Read(fds[1], packet[20:]); n <= 0 || err != nil {
				return
			}
			after, ok := answer(seq)
			if !ok {
				continue
			}
			packet[0], packet[20] = 0x45, 0
			time.AfterFunc(after, func() { unix.Write(fds[1], packet) })
		}
	}()
	return fds[0]
}

// An answer that comes long after all others is no loss: the machine was busy.
func TestLateAnswers(t *testing.T) {
	fd := peer(t, func(seq int) (time.Duration, bool) {
		if seq > 15 {
			return 300 * time.Millisecond, true
		}
		return 0, true
	})
	p, err := ping(t.Context(), fd, 20, time.Millisecond, 5*time.Second)
	if err != nil || p.Sent != 20 || p.Received != 20 {
		t.Errorf("%+v, %v", p, err)
	}
	if p.RTT < 50 {
		t.Errorf("four of twenty took 300 ms, the mean is %v ms", p.RTT)
	}
}

// What is not answered is lost.
func TestLostAnswers(t *testing.T) {
	fd := peer(t, func(seq int) (time.Duration, bool) { return 0, seq%4 != 1 })
	p, err := ping(t.Context(), fd, 20, time.Millisecond, 100*time.Millisecond)
	if err != nil || p.Sent != 20 || p.Received != 15 {
		t.Errorf("%+v, %v", p, err)
	}
}

// The kernel takes what is sent for pings.
func TestPingThisHost(t *testing.T) {
	fd, err := pingSocket(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p, err := ping(t.Context(), fd, 3, time.Millisecond, time.Second)
	if err != nil || p.Received != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}
