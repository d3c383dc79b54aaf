package overlay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// probeGap is between two questions of a probe.
const probeGap = 100 * time.Millisecond

// Probe asks from one edge's site to the other's all the time, by UDP and over one TCP connection, and notes the answers. It
// lives through the death of the edges between: its own ends stay.
type Probe struct {
	began  time.Time
	cancel context.CancelFunc
	ends   []io.Closer
	all    sync.WaitGroup
	tcp    atomic.Int64 // when the newest answer over TCP came, in nanoseconds since began
	broken atomic.Bool  // the connection

	mu       sync.Mutex
	asked    []time.Duration // when, since began; the index is the question's number
	answered []time.Duration // 0: not yet
}

// StartProbe begins to ask, at a door (a port of both protocols) that nobody else uses at the second site. The edges have to
// reach each other.
func (b *Bed) StartProbe(ctx context.Context, from, to *Edge, door uint16) (*Probe, error) {
	p := &Probe{began: time.Now()}
	ctx, p.cancel = context.WithCancel(ctx)
	at := netip.AddrPortFrom(to.Address, door)
	everywhere := fmt.Sprintf(":%d", door) // not the edge's address: that comes and goes
	var echo, ask net.PacketConn
	var ln net.Listener
	err := b.InNetns(to.Site, func() (err error) {
		if echo, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp4", everywhere); err == nil {
			p.ends = append(p.ends, echo)
			ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", everywhere)
		}
		return err
	})
	if err == nil {
		p.ends = append(p.ends, ln)
		p.all.Go(func() { echoAll(echo) })
		p.all.Go(func() { p.serve(ln) })
		err = b.InNetns(from.Site, func() (err error) {
			if ask, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp4", ":0"); err != nil {
				return err
			}
			p.ends = append(p.ends, ask)
			conn, err := (&net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: from.Address.AsSlice()}}).DialContext(ctx, "tcp4", at.String())
			if err == nil {
				p.ends = append(p.ends, conn)
				p.all.Go(func() { p.converse(ctx, conn) })
			}
			return err
		})
	}
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("probe from %s to %s: %w", from.Site, to.Site, err)
	}
	p.all.Go(func() { p.ask(ctx, ask, net.UDPAddrFromAddrPort(at)) })
	p.all.Go(func() { p.listen(ask) })
	return p, nil
}

// Stop ends it.
func (p *Probe) Stop() {
	p.cancel()
	for _, c := range p.ends {
		c.Close()
	}
	p.all.Wait()
}

func echoAll(conn net.PacketConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = conn.WriteTo(buf[:n], from) // no way back right now: no answer
		}
	}
}

// ask sends a numbered question each gap. What cannot be sent is not answered, and counts so.
func (p *Probe) ask(ctx context.Context, conn net.PacketConn, to net.Addr) {
	t := time.NewTicker(probeGap)
	defer t.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p.mu.Lock()
		p.asked, p.answered = append(p.asked, time.Since(p.began)), append(p.answered, 0)
		p.mu.Unlock()
		_, _ = conn.WriteTo(binary.BigEndian.AppendUint64(nil, n), to)
	}
}

func (p *Probe) listen(conn net.PacketConn) {
	buf := make([]byte, 64)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 8 {
			continue
		}
		p.mu.Lock()
		if i := binary.BigEndian.Uint64(buf); i < uint64(len(p.answered)) && p.answered[i] == 0 {
			p.answered[i] = time.Since(p.began)
		}
		p.mu.Unlock()
	}
}

// serve gives back what comes over TCP.
func (p *Probe) serve(ln net.Listener) {
	conn, err := ln.Accept()
	if err != nil {
		return
	}
	p.mu.Lock()
	p.ends = append(p.ends, conn)
	p.mu.Unlock()
	_, _ = io.Copy(conn, conn) // how it ends is seen at the other end
	conn.Close()
}

// converse asks over TCP, and waits for the answer before it asks again.
func (p *Probe) converse(ctx context.Context, conn net.Conn) {
	var question, answer [8]byte
	for n := uint64(0); ctx.Err() == nil; n++ {
		binary.BigEndian.PutUint64(question[:], n)
		_, err := conn.Write(question[:])
		if err == nil {
			_, err = io.ReadFull(conn, answer[:])
		}
		if err != nil || answer != question {
			p.broken.Store(ctx.Err() == nil)
			return
		}
		p.tcp.Store(int64(time.Since(p.began)))
		time.Sleep(probeGap)
	}
}

// Await waits until a question that was asked after a moment has its answer, and says how long after the moment that came.
func (p *Probe) Await(ctx context.Context, since time.Time, limit time.Duration) (time.Duration, bool) {
	after := since.Sub(p.began)
	return p.await(ctx, since, limit, func() time.Duration {
		p.mu.Lock()
		defer p.mu.Unlock()
		first := time.Duration(0)
		for i := len(p.asked) - 1; i >= 0 && p.asked[i] >= after; i-- {
			if a := p.answered[i]; a > 0 && (first == 0 || a < first) {
				first = a
			}
		}
		return first
	})
}

// AwaitTCP waits until the connection has given an answer after a moment. It says no when it is broken, too.
func (p *Probe) AwaitTCP(ctx context.Context, since time.Time, limit time.Duration) (time.Duration, bool) {
	return p.await(ctx, since, limit, func() time.Duration {
		if at := time.Duration(p.tcp.Load()); !p.broken.Load() && at >= since.Sub(p.began) {
			return at
		}
		return 0
	})
}

func (p *Probe) await(ctx context.Context, since time.Time, limit time.Duration, look func() time.Duration) (time.Duration, bool) {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if at := look(); at > 0 {
			return max(at-since.Sub(p.began), 0), true
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return 0, false
		}
	}
}

// Lost is how many of the questions between two moments have no answer.
func (p *Probe) Lost(from, to time.Time) (asked, lost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, at := range p.asked {
		if at < from.Sub(p.began) || at > to.Sub(p.began) {
			continue
		}
		asked++
		if p.answered[i] == 0 {
			lost++
		}
	}
	return asked, lost
}
