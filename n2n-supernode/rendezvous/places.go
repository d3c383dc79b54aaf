package rendezvous

import (
	"maps"
	"sync"
	"time"

	"sonic-netservices/internal/n2n"
)

// places say at which supernode the edges of a community are that are not here.
type places struct {
	mu    sync.RWMutex
	known map[n2n.MAC]place
}

type place struct {
	peer *peer
	seen time.Time
}

func (p *places) get(m n2n.MAC) *peer {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.known[m].peer
}

// set notes that an edge is at a supernode. When there is no room the edge stays unknown: its packets go to all supernodes.
func (p *places) set(m n2n.MAC, at *peer, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, had := p.known[m]; !had && len(p.known) >= maxElsewhere {
		return
	}
	if p.known == nil {
		p.known = map[n2n.MAC]place{}
	}
	p.known[m] = place{at, now}
}

func (p *places) remove(m n2n.MAC) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, m)
}

// sweep forgets who has not been told of for long.
func (p *places) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.known, func(_ n2n.MAC, at place) bool { return now.Sub(at.seen) > elsewhere })
}

func (p *places) len() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.known)
}
