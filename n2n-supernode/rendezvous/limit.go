package rendezvous

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// limiter bounds what an IP address may ask for. Addresses that fall into one bucket share it: the memory is the same
// however many addresses a flood comes from, and a flood cannot push out what is known of others.
type limiter struct {
	rate, burst float64
	seed        maphash.Seed
	buckets     [1 << 12]bucket
}

type bucket struct {
	mu     sync.Mutex
	spent  float64
	before time.Time
}

func newLimiter(rate int) *limiter {
	return &limiter{rate: float64(rate), burst: 10 * float64(rate), seed: maphash.MakeSeed()}
}

// allow takes one from what ip may still ask for. IPv6 addresses count by their /64, which is what one site has.
func (l *limiter) allow(ip netip.Addr, now time.Time) bool {
	a := ip.As16()
	if !ip.Unmap().Is4() {
		clear(a[8:])
	}
	b := &l.buckets[maphash.Bytes(l.seed, a[:])%uint64(len(l.buckets))]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-now.Sub(b.before).Seconds()*l.rate)
	b.before = now
	if b.spent >= l.burst {
		return false
	}
	b.spent++
	return true
}
