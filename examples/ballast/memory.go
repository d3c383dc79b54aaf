package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
	"time"

	"sonic-netservices/examples/ballast/proof"
)

// Ballast is random memory, part of which is rewritten all the time, and a count.
type Ballast struct {
	boot uint64

	mu          sync.Mutex
	pages       []byte
	generations []uint32
	next        uint64 // rewrites so far
	serial      uint64
}

// NewBallast fills memory with random bytes: no page is shared, empty or compressible. The pages are no part of Go's heap:
// a heap of this size would grow to the double between two collections, and nobody would know how much moves.
func NewBallast(mb int) (*Ballast, error) {
	var boot [8]byte
	if _, err := rand.Read(boot[:]); err != nil {
		return nil, err
	}
	n := mb << 20 / proof.PageSize
	pages, err := syscall.Mmap(-1, 0, n*proof.PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("%d MiB of memory: %w", mb, err)
	}
	b := &Ballast{boot: binary.LittleEndian.Uint64(boot[:]), pages: pages, generations: make([]uint32, n)}
	for i := range n {
		proof.Fill(b.page(i), b.boot, uint32(i), 0)
	}
	return b, nil
}

func (b *Ballast) page(i int) []byte { return b.pages[i*proof.PageSize:][:proof.PageSize] }

// stride leads through all pages in an order that looks random: it is odd, and coprime to any count that is not a
// multiple of this prime.
const stride = 1_000_003

// tick is short beside a move, so that a rewrite does not come in bursts.
const tick = 10 * time.Millisecond

// Rewrite renews a share of the pages each second, each page once before any is renewed again, until ctx ends.
func (b *Ballast) Rewrite(ctx context.Context, share float64) {
	var owed float64
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(tick):
		}
		// A frozen process is not to catch up, and on another switch the clock is another.
		passed := min(max(time.Since(last), 0), 2*tick)
		last = time.Now()
		for owed += share * float64(len(b.generations)) * passed.Seconds(); owed >= 1; owed-- {
			b.rewriteOne()
		}
	}
}

func (b *Ballast) rewriteOne() {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := int(b.next * stride % uint64(len(b.generations)))
	b.next++
	b.generations[i]++
	proof.Fill(b.page(i), b.boot, uint32(i), b.generations[i])
}

// Count gives the next answer. Each is about another page.
func (b *Ballast) Count() proof.Proof {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	i := int(b.serial * stride % uint64(len(b.generations)))
	return proof.Proof{Boot: b.boot, Serial: b.serial, Page: uint32(i), Generation: b.generations[i], Sum: proof.Sum(b.page(i))}
}

// Verify looks at every page.
func (b *Ballast) Verify() error {
	bad, first := 0, 0
	for i := range b.generations {
		b.mu.Lock()
		p := proof.Proof{Boot: b.boot, Page: uint32(i), Generation: b.generations[i], Sum: proof.Sum(b.page(i))}
		b.mu.Unlock()
		if !p.Holds() {
			if bad++; bad == 1 {
				first = i
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d pages are not what was written, page %d first", bad, len(b.generations), first)
	}
	return nil
}
