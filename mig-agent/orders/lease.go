package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/helper"
	"sonic-netservices/netmap"
)

// A replica with on_lost_node: redeploy serves under a lease, so that a node which is cut off stops by itself before
// the manager gives the address to another one. The agent keeps the leases, the helper enforces them.
//
// They stand in a file on tmpfs: a restarted agent goes on with them, a node that was without power has none, and does
// not start such a replica before the manager says that it is still this node's. One without a lease may have been given
// up by an operator meanwhile: after a loss of power it waits for the manager's word too, but not for ever.

// wordTime is how long a switch that was without power waits for the manager before it starts what needs no lease: an
// agent joins within seconds, and a service must not stay away because the manager does.
const wordTime = 20 * time.Second

// leaseLimit is how long the replica may go on serving after now.
func leaseLimit(r *api.Replica) int64 {
	return helper.BootTime() + (time.Duration(r.LeaseMs) * time.Millisecond).Nanoseconds()
}

func (a *Agent) leaseFile() string { return filepath.Join(a.cfg.Dir, "work", "leases.json") }

// grantLease begins or prolongs the lease of one replica. Without lease_ms it has none and needs none.
func (a *Agent) grantLease(l *local) {
	if l.spec.LeaseMs <= 0 {
		return
	}
	a.mu.Lock()
	a.leases[l.id.String()] = leaseLimit(l.spec)
	a.mu.Unlock()
}

// leased says whether a replica may serve now.
func (a *Agent) leased(l *local) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return l.spec.LeaseMs <= 0 || a.leases[l.id.String()] > helper.BootTime()
}

// Renew implements api.AgentServer.
func (a *Agent) Renew(ctx context.Context, req *api.RenewRequest) (*api.RenewReply, error) {
	if err := a.admit(req); err != nil {
		return nil, err
	}
	if req.Complete {
		a.hear(req.Placed)
	}
	reply := &api.RenewReply{}
	for _, ref := range req.Replicas {
		l := a.local(netmap.ReplicaID{Service: ref.Service, Replica: int(ref.Replica)})
		if l == nil {
			reply.Unknown = append(reply.Unknown, ref)
			continue
		}
		waiting := !a.leased(l)
		a.grantLease(l)
		if waiting {
			go a.revive(a.life, l.id.String())
		}
	}
	if err := a.shareLeases(ctx); err != nil {
		return nil, err
	}
	if req.Complete {
		a.compare(ctx)
	}
	for _, l := range a.sortedLocals() {
		reply.Instances = append(reply.Instances, a.instance(l))
	}
	return reply, nil
}

// hear takes the manager's word of what this node is to have.
func (a *Agent) hear(placed []*api.Leased) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.placed = map[netmap.ReplicaID]bool{}
	for _, ref := range placed {
		a.placed[netmap.ReplicaID{Service: ref.Service, Replica: int(ref.Replica)}] = true
	}
	if a.word != nil {
		close(a.word)
		a.word = nil
	}
}

// reviveOurs starts what this node had before it lost its power, once the manager has said that it still has it. What
// was placed elsewhere the manager has removed here.
func (a *Agent) reviveOurs(ctx context.Context, id netmap.ReplicaID, word <-chan struct{}) {
	if word != nil {
		select {
		case <-word:
		case <-time.After(wordTime):
			a.log.Warn("start without the manager's word", "service", id.Service, "replica", id.Replica)
		case <-ctx.Done():
			return
		}
	}
	for told := false; a.elsewhere(id); pause(ctx, time.Second) {
		if ctx.Err() != nil || a.local(id) == nil {
			return
		}
		if !told {
			a.log.Warn("not started: the manager has placed it elsewhere", "service", id.Service, "replica", id.Replica)
			told = true
		}
	}
	a.revive(ctx, id.String())
}

// elsewhere says that a replica here is not this node's by the manager's newest word.
func (a *Agent) elsewhere(id netmap.ReplicaID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.placed != nil && !a.placed[id]
}

// shareLeases writes the leases down and tells the helper. Replicas on their way are left out: there the move's own
// rules say who serves.
func (a *Agent) shareLeases(ctx context.Context) error {
	list := &api.Leases{}
	a.mu.Lock()
	text, err := json.Marshal(a.leases)
	for _, l := range a.locals {
		if l.spec.LeaseMs > 0 && l.state == netmap.Running && !l.quiet && l.holder.PID != 0 {
			list.Leases = append(list.Leases, &api.HolderLease{Traffic: traffic(l), UntilBootNs: a.leases[l.id.String()]})
		}
	}
	a.mu.Unlock()
	if err == nil {
		err = os.WriteFile(a.leaseFile(), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	if _, err := a.helper.SetLeases(ctx, list); err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	return nil
}

// informHelper gives a helper that has just begun the leases, and the holders whose rivals it is to watch for.
func (a *Agent) informHelper(ctx context.Context) {
	a.mu.Lock()
	known := a.known
	a.mu.Unlock()
	if !known { // recover does it
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := errors.Join(a.shareLeases(ctx), a.applySegment(ctx)); err != nil && ctx.Err() == nil {
		a.log.Warn("inform helper", "err", err)
	}
}

// readLeases takes up those of an earlier life on the same boot. None at all: the node was without power.
func (a *Agent) readLeases() error {
	text, err := os.ReadFile(a.leaseFile())
	if errors.Is(err, fs.ErrNotExist) {
		a.word = make(chan struct{})
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &a.leases)
	}
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	return nil
}

func (a *Agent) sortedLocals() []*local {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*local
	for _, l := range a.locals {
		list = append(list, l)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id.String() < list[j].id.String() })
	return list
}
