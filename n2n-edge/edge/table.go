package edge

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
)

// maxStations is how many MACs the data path remembers. Frames from and to others go their way uncounted.
const maxStations = 1 << 16

// station is what the data path knows of one MAC.
type station struct {
	mac    n2n.MAC
	way    atomic.Pointer[way] // nil: by the supernode
	paced  atomic.Bool         // small bursts, also by the supernode
	told   atomic.Int64        // the second in which the machine last heard that frames go there
	heard  atomic.Int64        // the second in which it last heard that frames come from there
	replay n2n.Replay          // belongs to who delivers, as the next one
	sock   netip.AddrPort      // where a supernode last had its frames from
	Traffic
}

// way is straight to a peer.
type way struct {
	to   netip.AddrPort
	fast bool
}

// Traffic of one station, in frames as they cross the wire.
type Traffic struct {
	SentDirect, SentRelay         atomic.Uint64
	ReceivedDirect, ReceivedRelay atomic.Uint64
	SentBytes, ReceivedBytes      atomic.Uint64
}

// due says, once for each second, that the machine has to be told.
func due(at *atomic.Int64, now time.Time) bool {
	s := now.Unix()
	old := at.Load()
	return old != s && at.CompareAndSwap(old, s)
}

// table finds stations.
type table struct {
	mu       sync.RWMutex
	stations map[n2n.MAC]*station
}

func newTable() *table { return &table{stations: map[n2n.MAC]*station{}} }

// get gives the station of a MAC, a new one if need be, nil when there are too many.
func (t *table) get(mac n2n.MAC) *station {
	t.mu.RLock()
	s := t.stations[mac]
	t.mu.RUnlock()
	if s != nil {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.stations[mac]; s != nil {
		return s
	}
	if len(t.stations) >= maxStations {
		return nil
	}
	s = &station{mac: mac}
	t.stations[mac] = s
	return s
}

// find gives the station of a MAC that is there.
func (t *table) find(mac n2n.MAC) *station {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.stations[mac]
}

// direct calls f for each straight way.
func (t *table) direct(f func(*way)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, s := range t.stations {
		if w := s.way.Load(); w != nil {
			f(w)
		}
	}
}

// sweep forgets stations without a straight way that nothing was heard of for a while.
func (t *table) sweep(before time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for mac, s := range t.stations {
		if s.way.Load() == nil && s.told.Load() < before.Unix() && s.heard.Load() < before.Unix() {
			delete(t.stations, mac)
		}
	}
}
