package rendezvous

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
)

// edge is one that has registered here. What readers of packets look at does not change or is atomic; the rest belongs to
// who holds the machine's lock.
type edge struct {
	mac       n2n.MAC
	community *community
	path      atomic.Pointer[Path]
	replay    replay
	nat       atomic.Uint32 // n2n.NAT, as it says of itself
	relayed   atomic.Uint64 // PACKETs from it to one other edge
	relayedAt atomic.Int64  // the newest, Unix nanoseconds

	subnet    n2n.Subnet
	desc      n2n.Desc
	auth      n2n.Auth
	preferred *netip.AddrPort // its socket in its own network; nil: none
	cookie    uint32          // of its newest REGISTER_SUPER
	first     time.Duration   // it registered, since the machine began
	seen      time.Duration   // its newest REGISTER_SUPER
	confirmed bool            // the newest came the same way as the one before
	touched   bool            // its row has changed
}

// local is its socket in its own network; invalid: it did not say.
func (e *edge) local() netip.AddrPort {
	if e.preferred == nil {
		return netip.AddrPort{}
	}
	return *e.preferred
}

func (e *edge) setLocal(a netip.AddrPort) {
	switch {
	case a == e.local():
	case a.IsValid():
		e.preferred = &a
	default:
		e.preferred = nil
	}
}

// learn reads what one of our own edges says behind the fields of a message.
func (e *edge) learn(rest []byte) (news bool) {
	if len(rest) == 0 {
		return false
	}
	o, ok := n2n.ParseOurs(rest)
	return ok && e.nat.Swap(uint32(o.NAT)) != uint32(o.NAT)
}

func (e *edge) to() Path { return *e.path.Load() }

// replay is n2n.Replay for many readers, and can be kept over a restart.
type replay struct {
	mu   sync.Mutex
	seen n2n.Replay
	last n2n.Stamp
}

func (r *replay) accept(stamp, now n2n.Stamp, order n2n.Order) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.seen.Accept(stamp, now, order); err != nil {
		return err
	}
	r.last = max(r.last, stamp)
	return nil
}

func (r *replay) latest() n2n.Stamp {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// restore refuses from now on what stamp shuts out.
func (r *replay) restore(stamp n2n.Stamp) {
	if stamp != 0 {
		_ = r.accept(stamp, stamp, n2n.Ordered) // equal to now: fresh
	}
}
