package address

import (
	"bufio"
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// TestYieldConnections: a yielded address takes no new connection, from a client that knows its MAC, and keeps those it has.
func TestYieldConnections(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	dial := func(timeout time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		return Dial(ctx, f.ns("c"), "tcp4", service+":80")
	}
	kept, err := dial(5 * time.Second)
	must(t, err)
	defer kept.Close()
	kept.SetDeadline(time.Now().Add(5 * time.Second))
	answers := bufio.NewReader(kept)
	if hello, err := answers.ReadString(' '); err != nil || hello != "h1 " {
		t.Fatalf("first answer: %q, %v", hello, err)
	}
	must(t, Yield(f.ns("h1")))
	if c, err := dial(300 * time.Millisecond); err == nil {
		c.Close()
		t.Error("a yielded address took a new connection")
	}
	if _, err := kept.Write([]byte("still\n")); err != nil {
		t.Error(err)
	}
	if echo, err := answers.ReadString('\n'); err != nil || echo != "still\n" {
		t.Errorf("over the connection from before: %q, %v", echo, err)
	}
	must(t, Own(f.ns("h1"), serviceAddr))
	again, err := dial(5 * time.Second)
	must(t, err)
	again.Close()
}

// TestAwaitAccepted waits for a service that is slow to accept, and gives up on one that does not.
func TestAwaitAccepted(t *testing.T) {
	f := up(t)
	var l net.Listener
	must(t, within(f.ns("h1"), func() (err error) {
		l, err = net.Listen("tcp4", ":80")
		return err
	}))
	defer l.Close()
	must(t, AwaitAccepted(t.Context(), f.ns("h1"))) // nothing to wait for
	client, err := Dial(t.Context(), f.ns("c"), "tcp4", service+":80")
	must(t, err)
	defer client.Close()

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := AwaitAccepted(short, f.ns("h1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a connection in the queue: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- AwaitAccepted(t.Context(), f.ns("h1")) }()
	server, err := l.Accept()
	must(t, err)
	defer server.Close()
	must(t, <-waited)
}

const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0A00140A:1F90 6400140A:D431 03 00000000:00000000 01:00000063 00000000     0        0 0 1 0000000000000000
   2: 0A00140A:1F90 6400140A:D430 01 00000010:00000020 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
`

func TestUnaccepted(t *testing.T) {
	if n := unaccepted(procTCP); n != 3 {
		t.Errorf("counted %d, want the two in the queue and the half-open one", n)
	}
}

const procUDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
  102: 00000000:005A 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 4712 2 0000000000000000 0
`

func TestUnread(t *testing.T) {
	if n := unread(procUDP); n != 1 {
		t.Errorf("counted %d, want the one socket with something to read", n)
	}
}

func FuzzUnaccepted(f *testing.F) {
	f.Add(procTCP)
	f.Add("0: a b 0A ffffffff:ffffffff")
	f.Add("0: a b 0A x:y")
	f.Add(procUDP)
	f.Fuzz(func(t *testing.T, text string) {
		if n := unaccepted(text); n < 0 {
			t.Errorf("counted %d", n)
		}
		if n := unread(text); n < 0 {
			t.Errorf("counted %d sockets", n)
		}
	})
}

// TestAwaitClosed waits for a client that stays, and not for one on the holder's own loopback.
func TestAwaitClosed(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	inside, err := f.dial("h1", "127.0.0.1", "", time.Second)
	must(t, err)
	defer inside.Close()
	must(t, AwaitClosed(t.Context(), f.ns("h1")))
	client, err := f.dial("c", service, "", time.Second)
	must(t, err)
	defer client.Close()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := AwaitClosed(short, f.ns("h1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a connection open: %v, want %v", err, context.DeadlineExceeded)
	}
	client.Close()
	must(t, AwaitClosed(t.Context(), f.ns("h1")))
}
