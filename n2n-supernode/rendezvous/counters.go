package rendezvous

import "sync/atomic"

// counters are those of one worker: each adds to its own, so that they do not pull cache lines from each other.
type counters struct {
	received, receivedBytes atomic.Uint64
	forwarded, broadcast    atomic.Uint64 // packets that left, copies counted
	toPeers                 atomic.Uint64 // of them to other supernodes
	registered, drawn       atomic.Uint64
	queries, pings          atomic.Uint64
	refused                 [Refusals]atomic.Uint64
	_                       [64]byte
}

// Counters are what all workers have counted since the start.
type Counters struct {
	Received, ReceivedBytes       uint64
	Forwarded, Broadcast, ToPeers uint64
	Registered, Drawn             uint64
	Queries, Pings                uint64
	Refused                       [Refusals]uint64
}

// Counters adds up what the workers have counted.
func (m *Machine) Counters() (sum Counters) {
	m.mu.Lock()
	workers := m.workers
	m.mu.Unlock()
	for _, w := range workers {
		c := &w.count
		sum.Received += c.received.Load()
		sum.ReceivedBytes += c.receivedBytes.Load()
		sum.Forwarded += c.forwarded.Load()
		sum.Broadcast += c.broadcast.Load()
		sum.ToPeers += c.toPeers.Load()
		sum.Registered += c.registered.Load()
		sum.Drawn += c.drawn.Load()
		sum.Queries += c.queries.Load()
		sum.Pings += c.pings.Load()
		for i := range c.refused {
			sum.Refused[i] += c.refused[i].Load()
		}
	}
	return sum
}
