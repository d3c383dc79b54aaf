package overlay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Pings are what became of some.
type Pings struct {
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	RTT      float64 `json:"rtt_ms"` // mean
}

// pingLate is how long the last answers are waited for. The program ping waits for twice its longest round trip: it calls lost
// what a machine that is busy delivers late.
const pingLate = 3 * time.Second

// Ping sends so many from one edge to another, one each gap.
func (b *Bed) Ping(ctx context.Context, from, to *Edge, count int, gap time.Duration) (Pings, error) {
	return b.ping(ctx, from, to, count, gap, pingLate)
}

func (b *Bed) ping(ctx context.Context, from, to *Edge, count int, gap, late time.Duration) (Pings, error) {
	return PingOut(ctx, func(f func() error) error { return b.InNetns(from.Site, f) }, to.Address, count, gap, late)
}

// PingOut sends pings out of the network namespace that enter runs f in. The last answers are waited for until they are late.
func PingOut(ctx context.Context, enter func(f func() error) error, to netip.Addr, count int, gap, late time.Duration) (p Pings, err error) {
	fd := -1
	if err := enter(func() (err error) { fd, err = pingSocket(to); return err }); err != nil {
		return p, fmt.Errorf("ping %s: %w", to, err)
	}
	defer unix.Close(fd)
	if p, err = ping(ctx, fd, count, gap, late); err != nil {
		return p, fmt.Errorf("ping %s: %w", to, err)
	}
	return p, nil
}

// pingSocket opens a socket for ICMP with one address.
func pingSocket(to netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// ping asks by a socket and counts the answers. It is one loop without goroutines, so that the times are those of the way.
func ping(ctx context.Context, fd, count int, gap, late time.Duration) (p Pings, err error) {
	id := uint16(rand.Uint32())
	at := make([]time.Time, count) // by sequence; zero: not sent, or answered
	var sum time.Duration
	var buf [2048]byte
	due := time.Now()
	for p.Received < count && ctx.Err() == nil {
		now := time.Now()
		if p.Sent < count && !now.Before(due) {
			at[p.Sent] = now
			if _, err := unix.Write(fd, echo(id, uint16(p.Sent))); err != nil {
				return p, err
			}
			p.Sent++
			if due = due.Add(gap); p.Sent == count {
				due = now.Add(late)
			}
			continue
		}
		if !now.Before(due) {
			break
		}
		wait := unix.NsecToTimespec(int64(min(due.Sub(now), 100*time.Millisecond)))
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, &wait, nil)
		if n <= 0 || err != nil { // the runtime interrupts it now and then
			continue
		}
		if n, err = unix.Read(fd, buf[:]); err != nil {
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EHOSTUNREACH) { // the answer to one that was sent before
				continue
			}
			return p, err
		}
		if seq, ok := echoed(buf[:n], id); ok && seq < count && !at[seq].IsZero() {
			sum += time.Since(at[seq])
			at[seq] = time.Time{}
			p.Received++
		}
	}
	if p.Received > 0 {
		p.RTT = sum.Seconds() * 1000 / float64(p.Received)
	}
	return p, ctx.Err()
}

// echo writes an ICMP echo request, of the size that ping has.
func echo(id, seq uint16) []byte {
	b := make([]byte, 64)
	b[0] = 8
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum+sum>>16))
	return b
}

// echoed reads the sequence of an answer to one of ours, from behind its IP header.
func echoed(b []byte, id uint16) (seq int, ok bool) {
	if len(b) < 20 || len(b) < int(b[0]&15)*4+8 {
		return 0, false
	}
	b = b[int(b[0]&15)*4:]
	return int(binary.BigEndian.Uint16(b[6:])), b[0] == 0 && binary.BigEndian.Uint16(b[4:]) == id
}
