package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/netmap"
)

// What only a warm move does; docs/decisions/0030-warm.md says what it promises.

const (
	lingerTime   = 10 * time.Second       // connections from before the switch may last this long at the source
	warmDrain    = 100 * time.Millisecond // before the SIGTERM, for those who have asked on a connection of their own
	warmGrace    = 3 * time.Second        // SIGTERM to SIGKILL of a source with volumes: new connections wait meanwhile
	forwardTime  = defaultBudget + lingerTime + stepTimeout
	defaultDelta = 64 << 10    // of a replica that says nothing, as the spec has it
	defaultWarm  = time.Minute // likewise
)

// warmUpOf is when a replica is warm.
func warmUpOf(r *api.Replica) (delta int64, limit time.Duration) {
	delta, limit = defaultDelta, defaultWarm
	if w := r.WarmUp; w != nil {
		if w.DeltaBytes > 0 {
			delta = w.DeltaBytes
		}
		if w.TimeoutMs > 0 {
			limit = time.Duration(w.TimeoutMs) * time.Millisecond
		}
	}
	return delta, limit
}

// linger lets the connections end that began here before the switch; the target sends their packets on to us. The service
// hears SIGTERM when nobody is left or the time is over.
func (a *Agent) linger(ctx context.Context, m *sourceMove) error {
	m.out.phase("linger", "until the connections of before have ended, at most %v", lingerTime)
	_, err := a.helper.Linger(ctx, &api.LingerRequest{Traffic: traffic(m.local), LimitMs: lingerTime.Milliseconds()})
	if err == nil {
		err = a.docker.Stop(ctx, m.local.container.ID, warmGrace)
	}
	if errors.Is(err, engine.ErrNotFound) { // an earlier attempt had removed it
		err = nil
	}
	return err
}

// warmUp makes the second instance ready behind held packets. One without volumes runs from here on. One with volumes
// must not begin before the last delta is in: only Docker's part of its start is done now.
func (a *Agent) warmUp(ctx context.Context, m *targetMove) (err error) {
	if len(m.local.spec.Volumes) > 0 {
		m.startup, err = a.armStart(m.local.container.ID)
		return err
	}
	if err := a.docker.Start(ctx, m.local.container.ID); err != nil {
		return err
	}
	_, limit := warmUpOf(m.local.spec)
	return a.awaitHealthy(ctx, m.local, limit)
}

// startWarm makes sure that the second instance serves.
func (a *Agent) startWarm(ctx context.Context, m *targetMove) error {
	if m.startup != nil {
		if err := engine.StartFresh(a.cfg.Dir, m.local.container.ID); err != nil {
			return err
		}
		select {
		case err := <-m.startup:
			m.startup = nil
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("docker start: %w", ctx.Err())
		}
	}
	return a.awaitHealthy(ctx, m.local, startTimeout)
}

// forward sends the connections of the source's holder back to it, from before the address is announced here.
func (a *Agent) forward(ctx context.Context, m *targetMove) error {
	_, err := a.helper.Forward(ctx, &api.ForwardRequest{
		Traffic: traffic(m.local), Mac: address.MAC(m.facts.Peer, m.local.id.String()).String(),
		LastsMs: forwardTime.Milliseconds(),
	})
	return err
}

// endForward takes the forwarding away when the source's holder is gone for certain.
func (a *Agent) endForward(m *targetMove) {
	pause(a.life, lingerTime+warmGrace)
	if _, err := a.helper.Forward(a.life, &api.ForwardRequest{Traffic: traffic(m.local)}); err != nil && a.life.Err() == nil {
		a.log.Warn("end forwarding", "op", m.op, "err", err) // its time ends by itself
	}
}

// warmLimit is how long the target may take to become warm, whatever the source asks for.
func warmLimit(mode netmap.Mode, r *api.Replica) time.Duration {
	if mode != netmap.Warm {
		return stepTimeout
	}
	_, limit := warmUpOf(r)
	return limit + stepTimeout
}
