package orders

import (
	"context"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

const (
	usageEvery = time.Second
	usageAgain = 5 * time.Second // an unchanged row
	usageFor   = 3 * usageAgain  // a measurement outlives the agent
)

// meter turns the counters of replicas into rates. It is a value machine.
type meter struct {
	node   string
	before map[string]counted // by container
}

type counted struct {
	at  time.Time
	cpu time.Duration
	net int64
}

// usage gives what a replica uses, once there are two measurements of its container.
func (m *meter) usage(id netmap.ReplicaID, container string, is *api.UsageIs, now time.Time) (u resourdb.Usage, ok bool) {
	old, known := m.before[container]
	m.before[container] = counted{now, time.Duration(is.CpuNs), is.NetBytes}
	passed := now.Sub(old.at).Seconds()
	if !known || passed <= 0 || time.Duration(is.CpuNs) < old.cpu {
		return resourdb.Usage{}, false // the container was started anew
	}
	disk := float64(is.LayerBytes + is.VolumeBytes)
	return resourdb.Usage{
		ID: id, Node: m.node, Memory: float64(is.MemoryBytes), Disk: disk, DataBytes: disk + float64(is.MemoryBytes),
		CPU: float64(int64((time.Duration(is.CpuNs)-old.cpu).Seconds()/passed*1000+0.5)) / 1000,
		Net: float64(int64(float64(max(0, is.NetBytes-old.net)) / passed)),
	}, true
}

// forget drops the counters of containers that are not among these.
func (m *meter) forget(containers map[string]bool) {
	for c := range m.before {
		if !containers[c] {
			delete(m.before, c)
		}
	}
}

// measure keeps RESOUR_USAGE of the replicas that serve here, until ctx ends.
func (a *Agent) measure(ctx context.Context) {
	if a.rows.db == nil {
		return
	}
	m := &meter{node: a.cfg.Node, before: map[string]counted{}}
	written := map[netmap.ReplicaID]resourdb.Usage{}
	at := map[netmap.ReplicaID]time.Time{}
	tick := time.NewTicker(usageEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		rows, err := a.measureOnce(ctx, m)
		if err != nil {
			if ctx.Err() == nil {
				a.log.Warn("measure replicas", "err", err)
			}
			continue
		}
		for id, u := range rows {
			if u == written[id] && time.Since(at[id]) < usageAgain {
				continue
			}
			if err := a.rows.db.WriteFor(ctx, u, usageFor); err == nil { // else with the next measurement
				written[id], at[id] = u, time.Now()
			}
		}
		for id, u := range written {
			if _, here := rows[id]; !here && a.rows.db.Delete(ctx, u) == nil {
				delete(written, id)
			}
		}
	}
}

// measureOnce asks the helper about every replica whose container runs here: also a migrating one still serves.
func (a *Agent) measureOnce(ctx context.Context, m *meter) (map[netmap.ReplicaID]resourdb.Usage, error) {
	var ids []netmap.ReplicaID
	req := &api.UsageRequest{}
	a.mu.Lock()
	for id, l := range a.locals {
		if l.container.ID == "" || l.state != netmap.Running && l.state != netmap.Migrating {
			continue
		}
		ids = append(ids, id)
		req.Replicas = append(req.Replicas, &api.UsageOf{Container: l.container.ID, HolderPid: int32(l.holder.PID),
			Layer: l.container.Upper, Volumes: filepath.Join(a.cfg.Volumes, id.String())})
	}
	a.mu.Unlock()
	here := map[string]bool{}
	rows := map[netmap.ReplicaID]resourdb.Usage{}
	if len(ids) > 0 {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		reply, err := a.helper.Usage(once, req)
		if err != nil {
			return nil, err
		}
		for i, is := range reply.Replicas {
			container := req.Replicas[i].Container
			here[container] = true
			if is.Gone {
				continue
			}
			if u, ok := m.usage(ids[i], container, is, time.Now()); ok {
				rows[ids[i]] = u
			}
		}
	}
	m.forget(here)
	return rows, nil
}

// Probe implements api.ProberServer: resource-sync may not enter containers.
func (a *Agent) Probe(ctx context.Context, in *api.ProbeOf) (*api.Empty, error) {
	id := netmap.ReplicaID{Service: in.Service, Replica: int(in.Replica)}
	l := a.local(id)
	a.mu.Lock()
	runs := l != nil && l.state == netmap.Running
	a.mu.Unlock()
	if !runs {
		return nil, status.Errorf(codes.FailedPrecondition, "%s does not run on %s", id, a.cfg.Node)
	}
	if err := a.probe(ctx, l); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &api.Empty{}, nil
}
