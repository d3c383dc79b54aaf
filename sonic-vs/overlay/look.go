package overlay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// Meet waits until one edge reaches the other, and says how long that took.
func (b *Bed) Meet(ctx context.Context, from, to *Edge, limit time.Duration) (time.Duration, error) {
	began := time.Now()
	for time.Since(began) < limit {
		for _, e := range []*Edge{from, to} {
			if !e.Alive() {
				return 0, fmt.Errorf("the edge at %s has ended; its log ends:\n%s", e.Site, e.Tail())
			}
		}
		p, err := b.ping(ctx, from, to, 1, 0, time.Second)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err == nil && p.Received == 1 {
			return time.Since(began), nil
		}
		if err != nil { // no route yet: the device is not there
			time.Sleep(200 * time.Millisecond)
		}
	}
	return 0, fmt.Errorf("%s does not reach %s within %v; their logs end:\n%s\n%s", from.Site, to.Site, limit, from.Tail(), to.Tail())
}

// Transfer sends so many bytes of chance by TCP from one edge to the other and compares their checksums.
func (b *Bed) Transfer(ctx context.Context, from, to *Edge, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	const door = 5000
	var ln net.Listener
	err := b.InNetns(to.Site, func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", netip.AddrPortFrom(to.Address, door).String())
		return err
	})
	if err != nil {
		return err
	}
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	type arrived struct {
		sum  [sha256.Size]byte
		size int64
		err  error
	}
	came := make(chan arrived, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			came <- arrived{err: err}
			return
		}
		defer conn.Close()
		deadline, _ := ctx.Deadline()
		conn.SetDeadline(deadline)
		h := sha256.New()
		n, err := io.Copy(h, conn)
		came <- arrived{[sha256.Size]byte(h.Sum(nil)), n, err}
	}()
	var conn net.Conn
	err = b.InNetns(from.Site, func() (err error) {
		conn, err = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from.Address.AsSlice()}}).DialContext(ctx, "tcp4", netip.AddrPortFrom(to.Address, door).String())
		return err
	})
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	random := rand.NewChaCha8([32]byte{byte(size), byte(from.Port)})
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(conn, h), random, size)
	if err := errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	got := <-came
	switch {
	case got.err != nil:
		return fmt.Errorf("receive: %w", got.err)
	case got.size != size || got.sum != [sha256.Size]byte(h.Sum(nil)):
		return fmt.Errorf("%d bytes were sent, %d came, and their checksums differ", size, got.size)
	}
	return nil
}
