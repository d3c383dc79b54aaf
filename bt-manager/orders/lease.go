package orders

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// A replica with on_lost_node: redeploy serves under a lease that the manager renews. When a node has not answered for
// the lease and a margin, its replicas serve nobody any more, wherever the node is, and may be placed again.
const (
	renewEvery  = 2 * time.Second
	renewLimit  = 1500 * time.Millisecond
	leaseTime   = 8 * time.Second // four renewals: one lost answer changes nothing
	leaseMargin = 3 * time.Second // more than the agent's look at its leases, a renewal under way, and the drift of clocks
)

// keepLeases renews until ctx ends. What a node tells with its answer also shows what it should not have any more.
func (m *Manager) keepLeases(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		members, requests := m.renewals()
		for node, request := range requests {
			m.work.Go(func() { m.renew(ctx, members[node], request) })
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// renewals are what each node is told now. A manager that has just begun to lead tells every node, also those that are
// not here: it is how they hear that their former leader, which may be without power and has closed nothing, leads no
// more. Their leases end long before they notice that themselves.
func (m *Manager) renewals() (members map[string]Member, requests map[string]*api.RenewRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	requests = map[string]*api.RenewRequest{}
	for node := range m.state.Members {
		if !m.gone[node] {
			requests[node] = m.state.leases(node)
		}
	}
	return maps.Clone(m.state.Members), requests
}

// leases lists what a node is to go on serving, and all that it is to have: one that was without power starts nothing
// else.
func (s *State) leases(node string) *api.RenewRequest {
	request := &api.RenewRequest{Epoch: s.Epoch, Complete: true, Cluster: s.Cluster.ID, Anew: s.Cluster.Anew}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		service := s.Services[name]
		for _, n := range slices.Sorted(maps.Keys(service.Replicas)) {
			ref := &api.Leased{Service: name, Replica: int32(n)}
			op, busy := s.InFlight(netmap.ReplicaID{Service: name, Replica: n})
			switch {
			case busy && op.Verb == Move && op.To == node: // it may be there already
				request.Placed = append(request.Placed, ref)
				continue
			case service.Replicas[n].Node != node, busy && op.Verb == Deploy: // it is being placed anew
				continue
			}
			request.Placed = append(request.Placed, ref)
			if service.Spec.OnLostNode == spec.Redeploy {
				request.Replicas = append(request.Replicas, ref)
			}
		}
	}
	return request
}

func (m *Manager) renew(ctx context.Context, member Member, request *api.RenewRequest) {
	agent, err := m.agents.agent(member)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	reply, err := agent.Renew(ctx, request)
	if err != nil {
		if status.Code(err) != codes.Unimplemented { // an agent of the version before: it has no leases
			slog.Debug("renew leases", "peer", member.Node, "err", err)
		}
		return
	}
	m.mu.Lock()
	m.renewed[member.Node] = time.Now()
	m.mu.Unlock()
	err = m.decide(func() (records []Record, err error) {
		for _, i := range reply.Instances {
			records = append(records, m.state.Evict(m.world(), i, member.Node)...)
		}
		return records, nil
	}, m.beginAll)
	if err != nil && ctx.Err() == nil {
		slog.Warn("what a node should not have stays there", "peer", member.Node, "err", err)
	}
}

// leaseOver says that a node cannot be serving leased replicas any more. The caller holds mu. A manager that has just
// begun to lead counts from then: its predecessor may have renewed a moment before.
func (m *Manager) leaseOver(node string, now time.Time) bool {
	last := m.renewed[node]
	if last.Before(m.started) {
		last = m.started
	}
	return now.Sub(last) > leaseTime+leaseMargin
}

// Evict removes from a node a replica that is placed elsewhere: it was lost with the node, and placed again.
func (s *State) Evict(w World, i *api.Instance, node string) []Record {
	id := netmap.ReplicaID{Service: i.Service, Replica: int(i.Replica)}
	at, ok := s.placement(id)
	if _, busy := s.InFlight(id); !ok || busy || at.Node == node || i.State != api.State_RUNNING {
		return nil
	}
	return []Record{{Kind: Begun, At: w.At, Op: &Op{
		ID: w.NewID(), Verb: Evict, Replica: id, Node: node, Reason: "it was placed on " + at.Node + " while this node was lost",
		Step: StepReach, Started: w.At,
	}}}
}
