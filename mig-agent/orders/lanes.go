package orders

import (
	"context"
	"fmt"
	"net"
	"time"

	"sonic-netservices/mig-agent/lane"
	"sonic-netservices/netmap"
)

// laneAddress is where a node takes lanes: its own port beside the agent's.
func laneAddress(agent string) (string, error) {
	host, _, err := net.SplitHostPort(agent)
	if err != nil {
		return "", fmt.Errorf("lane: %w", err)
	}
	return net.JoinHostPort(host, fmt.Sprint(netmap.LanePort)), nil
}

// serveLanes takes those of moves to this node.
func (a *Agent) serveLanes(ctx context.Context, ln net.Listener) {
	if err := lane.Serve(ctx, ln, a.id.Server(), a.takeLane); err != nil {
		a.log.Error("lanes", "err", err)
	}
}

// takeLane serves a round of memory here, and leaves a lane for a checkpoint to the conversation of its move.
func (a *Agent) takeLane(peer string, h lane.Hello, c *lane.Conn) {
	a.mu.Lock()
	m := a.targets[h.Op]
	a.mu.Unlock()
	var why error
	switch {
	case m == nil:
		why = fmt.Errorf("op: %s has no reservation on %s", h.Op, a.cfg.Node)
	case peer != m.facts.Peer:
		why = fmt.Errorf("op: %s belongs to %s", h.Op, m.facts.Peer)
	case h.Section == lane.Checkpoint:
		a.mu.Lock()
		before := m.lane
		m.lane = c
		a.mu.Unlock()
		if before != nil {
			before.Close()
		}
		if err := c.Tell(0, nil); err != nil {
			a.log.Warn("lane", "op", h.Op, "err", err)
		}
		return
	case h.Section != lane.Memory:
		why = fmt.Errorf("section: %q", h.Section)
	}
	defer c.Close()
	if err := c.Tell(0, why); why != nil || err != nil {
		return
	}
	m.mu.Lock()
	n, err := a.takePages(m, c)
	m.mu.Unlock()
	if err := c.Tell(n, err); err != nil {
		a.log.Warn("lane", "op", h.Op, "err", err)
	}
}

// takePages takes memory, which goes on changing until the freeze. m.mu is held.
func (a *Agent) takePages(m *targetMove, c *lane.Conn) (int64, error) {
	if is := m.machine.State(); is != netmap.Migrating && is != netmap.Ready {
		return 0, fmt.Errorf("op: memory after the target is %s", is)
	}
	m.touched = time.Now()
	defer func() { m.touched = time.Now() }()
	return a.takeMemory(m, c.In)
}

// ownLane takes the checkpoint's lane from where it was left; nil: there is none.
func (a *Agent) ownLane(m *targetMove) *lane.Conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := m.lane
	m.lane = nil
	return c
}
