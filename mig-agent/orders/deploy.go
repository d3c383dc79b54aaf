package orders

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

const (
	probeFirst   = 5 * time.Millisecond // pause after a probe that failed, doubled each time
	probeEvery   = 100 * time.Millisecond
	startTimeout = 30 * time.Second // until a started service must pass its probe
	stopGrace    = 30 * time.Second // SIGTERM to SIGKILL, Kubernetes' default
)

// deploy starts a replica that is nowhere yet.
func (a *Agent) deploy(op *operation, epoch uint64, r *api.Replica, begun chan<- error) {
	if err := checkReplica(r); err != nil {
		begun <- err
		return
	}
	r.Op, r.Epoch = op.id, epoch
	id := netmap.ReplicaID{Service: r.Service, Replica: int(r.Replica)}
	l := &local{id: id, spec: r}
	if err := a.claim(l, op.id, netmap.Migrating); err != nil {
		begun <- err
		return
	}
	ctx := a.life
	if _, err := a.docker.Image(ctx, r.ImageId); err != nil {
		a.setState(l, netmap.Unloaded, op.id)
		begun <- status.Errorf(codes.NotFound, "image: %s (%s) is not on %s", r.Image, r.ImageId, a.cfg.Node)
		return
	}
	facts := &journal.Facts{Kind: "deploy", Service: id.Service, Replica: id.Replica, Address: bareAddress(r.Address),
		MoreAddresses: moreAddresses(r)}
	if err := a.journal.Append(journal.Record{Op: op.id, Role: journal.Local, Step: journal.Prepared, Facts: facts}); err != nil {
		a.setState(l, netmap.Unloaded, op.id)
		begun <- err
		return
	}
	begun <- nil
	if err := a.startFresh(ctx, op, l); err != nil {
		err = errors.Join(err, a.dropReplica(ctx, l, op.id))
		a.finish(op, &api.Event{Phase: "deploy", Done: true, Outcome: api.Outcome_ABORTED, Error: err.Error()})
		return
	}
	a.setState(l, netmap.Running, op.id)
	if err := a.shareLeases(ctx); err != nil {
		a.log.Warn("deployed", "op", op.id, "err", err)
	}
	a.finish(op, &api.Event{Phase: "deploy", Done: true, Outcome: api.Outcome_COMMITTED, Instance: a.instance(l)})
}

func (a *Agent) startFresh(ctx context.Context, op *operation, l *local) error {
	op.phase("create", "container %s on %s", l.id, a.cfg.Node)
	if err := a.createReplica(ctx, l); err != nil {
		return err
	}
	op.phase("start", "service address %s", bareAddress(l.spec.Address))
	if err := a.docker.Start(ctx, l.container.ID); err != nil {
		return err
	}
	c, err := a.docker.Container(ctx, l.container.ID)
	if err != nil {
		return err
	}
	a.mu.Lock()
	l.container = c
	a.mu.Unlock()
	op.phase("probe", "until it answers, at most %v", startTimeout)
	if err := a.awaitHealthy(ctx, l, startTimeout); err != nil {
		return err
	}
	if _, err := a.helper.Announce(ctx, traffic(l)); err != nil {
		return err
	}
	a.grantLease(l)
	return writeReplicaFile(a.cfg.Dir, l.id, l.spec)
}

// createReplica makes holder, network and container; nothing of the service runs yet.
func (a *Agent) createReplica(ctx context.Context, l *local) error {
	pause, err := a.pauseImage(ctx)
	if err != nil {
		return err
	}
	binds, err := a.makeVolumes(l)
	if err != nil {
		return err
	}
	holder, err := a.docker.CreateHolder(ctx, l.id.Holder(), pause, l.id.String())
	if err != nil {
		return err
	}
	if err := a.joinSegment(ctx, l, holder); err != nil {
		return err
	}
	env := append([]string{}, l.spec.Environment...)
	for name, value := range l.spec.Secrets {
		env = append(env, name+"="+value)
	}
	sort.Strings(env)
	cpu, memory := a.limits(l.spec)
	c, err := a.docker.CreateService(ctx, engine.Service{
		Name: l.id.String(), Image: l.spec.ImageId, ImageName: l.spec.Image, Holder: holder.ID,
		Command: l.spec.Command, Environment: env, Binds: binds,
		CPU: cpu, Memory: memory, PIDs: l.spec.PidsLimit,
		CRIUConfig: engine.CRIUConfigPath(a.cfg.Dir),
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	l.container = c
	a.mu.Unlock()
	return nil
}

// pauseImage is the image of holders.
func (a *Agent) pauseImage(ctx context.Context) (id string, err error) {
	a.pauseMu.Lock()
	defer a.pauseMu.Unlock()
	if a.pause != "" {
		if _, err := a.docker.Image(ctx, a.pause); err == nil {
			return a.pause, nil
		}
	}
	a.pause, err = a.docker.PauseImage(ctx)
	return a.pause, err
}

// joinSegment makes a replica's holder run and part of the service network.
func (a *Agent) joinSegment(ctx context.Context, l *local, holder engine.Container) (err error) {
	if !holder.Running {
		if err := a.docker.Start(ctx, holder.ID); err != nil {
			return err
		}
		if holder, err = a.docker.Container(ctx, holder.ID); err != nil {
			return err
		}
	}
	a.mu.Lock()
	l.holder = holder
	a.mu.Unlock()
	return a.applySegment(ctx)
}

// volumePath is where a volume lies on every node.
func (a *Agent) volumePath(id netmap.ReplicaID, volume string) string {
	return filepath.Join(a.cfg.Volumes, id.String(), volume)
}

func (a *Agent) makeVolumes(l *local) (binds []string, err error) {
	for _, v := range l.spec.Volumes {
		path := a.volumePath(l.id, v.Name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		binds = append(binds, path+":"+v.Target)
	}
	return binds, nil
}

// awaitHealthy probes until the replica passes, soon every 100 ms.
func (a *Agent) awaitHealthy(ctx context.Context, l *local, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for wait := probeFirst; ; wait = min(2*wait, probeEvery) {
		err := a.probe(ctx, l)
		if err == nil {
			return nil
		}
		if c, cerr := a.docker.Container(ctx, l.container.ID); cerr == nil && !c.Running {
			return fmt.Errorf("the container ended with code %d before it passed its probe", c.Exit)
		}
		pause(ctx, wait)
		if ctx.Err() != nil {
			return fmt.Errorf("probe not passed within %v: %w", limit, err)
		}
	}
}

// probe tries once; a replica without a probe is healthy when it runs.
func (a *Agent) probe(ctx context.Context, l *local) error {
	p := l.spec.Probe
	switch {
	case p == nil:
		return nil
	case len(p.Exec) > 0:
		code, err := a.docker.Exec(ctx, l.container.ID, p.Exec)
		if err == nil && code != 0 {
			err = fmt.Errorf("probe.exec: exit code %d", code)
		}
		return err
	case p.Tcp != "" || p.Http != "":
		_, err := a.helper.Check(ctx, &api.CheckRequest{Pid: int32(l.holder.PID), Probe: p})
		return err
	}
	return nil
}

// remove stops a replica and deletes what it had.
func (a *Agent) remove(op *operation, order *api.RemoveOrder, begun chan<- error) {
	id := netmap.ReplicaID{Service: order.Service, Replica: int(order.Replica)}
	a.mu.Lock()
	l := a.locals[id]
	var state netmap.State
	var rescuing bool
	if l != nil {
		state, rescuing = l.state, l.rescuing
	}
	a.mu.Unlock()
	switch {
	case l == nil:
		begun <- status.Errorf(codes.NotFound, "%s is not on %s", id, a.cfg.Node)
		return
	case state != netmap.Running:
		begun <- refused("%s is %s on %s", id, state, a.cfg.Node)
		return
	case rescuing:
		begun <- refused("%s is being given back to Docker on %s, which was away", id, a.cfg.Node)
		return
	}
	facts := &journal.Facts{Kind: "remove", Service: id.Service, Replica: id.Replica}
	if err := a.journal.Append(journal.Record{Op: op.id, Role: journal.Local, Step: journal.Prepared, Facts: facts}); err != nil {
		begun <- err
		return
	}
	begun <- nil
	a.setState(l, netmap.Migrating, op.id) // from here its death is no reason to start it again
	op.phase("stop", "SIGTERM to %s", id)
	err := a.docker.Stop(a.life, l.container.ID, stopGrace)
	if err == nil {
		err = a.dropReplica(a.life, l, op.id)
	}
	if err != nil {
		a.setState(l, netmap.Running, op.id)
		a.finish(op, &api.Event{Phase: "remove", Done: true, Outcome: api.Outcome_ABORTED, Error: err.Error()})
		return
	}
	a.finish(op, &api.Event{Phase: "remove", Done: true, Outcome: api.Outcome_COMMITTED})
}

// dropReplica removes a replica from this node, from the network last.
func (a *Agent) dropReplica(ctx context.Context, l *local, op string) error {
	if err := a.removeReplica(ctx, l.id); err != nil {
		return err
	}
	a.setState(l, netmap.Unloaded, op)
	return a.applySegment(ctx)
}

// claim puts a replica on this node if it is unloaded here.
func (a *Agent) claim(l *local, op string, state netmap.State) error {
	a.mu.Lock()
	if other := a.locals[l.id]; other != nil {
		a.mu.Unlock()
		return refused("%s is %s on %s", l.id, other.state, a.cfg.Node)
	}
	if err := a.collides(l); err != nil {
		a.mu.Unlock()
		return err
	}
	a.locals[l.id] = l
	a.mu.Unlock()
	a.setState(l, state, op)
	return nil
}

// finish writes a local operation's answer to the journal and gives it.
func (a *Agent) finish(op *operation, e *api.Event) {
	e.Op, e.AtMs = op.id, time.Since(op.began).Milliseconds()
	step := journal.Committed
	if e.Outcome != api.Outcome_COMMITTED {
		step = journal.Aborted
	}
	answer, err := proto.Marshal(e)
	if err == nil {
		err = a.journal.Append(journal.Record{Op: op.id, Role: journal.Local, Step: step, Error: e.Error, Answer: answer})
	}
	if err != nil {
		a.log.Error("journal", "op", op.id, "err", err)
	}
	op.emit(e)
}

// collides refuses a replica that this node cannot have beside the others: the manager knows better, but the segment is
// set as a whole, and one that is wrong would stop all. The caller holds mu.
func (a *Agent) collides(l *local) error {
	addresses := append([]string{l.spec.Address}, l.spec.MoreAddresses...)
	for _, prefix := range addresses {
		if strings.Contains(prefix, ":") && a.cfg.Segment.MTU < address.LeastMTU6 {
			return refused("%s of %s is IPv6, which needs a segment with an MTU of %d; %s has %d",
				prefix, l.id, address.LeastMTU6, a.cfg.Node, a.cfg.Segment.MTU)
		}
	}
	for _, other := range a.locals {
		for _, prefix := range append([]string{other.spec.Address}, other.spec.MoreAddresses...) {
			for _, mine := range addresses {
				if bareAddress(mine) == bareAddress(prefix) {
					return refused("address %s of %s belongs to %s on %s", bareAddress(mine), l.id, other.id, a.cfg.Node)
				}
			}
		}
		for _, theirs := range other.spec.Ports {
			for _, mine := range l.spec.Ports {
				if mine.Node == theirs.Node && mine.Protocol == theirs.Protocol {
					return refused("port %d/%s of %s is published by %s on %s", mine.Node, mine.Protocol, l.id, other.id, a.cfg.Node)
				}
			}
		}
	}
	return nil
}

// PushImage implements api.AgentServer.
func (a *Agent) PushImage(stream api.Agent_PushImageServer) error {
	img, err := a.docker.LoadImage(stream.Context(), chunk.Reader(func() ([]byte, error) {
		c, err := stream.Recv()
		return c.GetData(), err
	}))
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return stream.SendAndClose(&api.Image{Id: img.ID, Name: img.Name, Bytes: img.Bytes})
}

// Inventory implements api.AgentServer.
func (a *Agent) Inventory(ctx context.Context, _ *api.Empty) (*api.InventoryReply, error) {
	images, err := a.docker.Images(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	reply := &api.InventoryReply{}
	for _, img := range images {
		reply.Images = append(reply.Images, &api.Image{Id: img.ID, Name: img.Name, Bytes: img.Bytes})
	}
	a.mu.Lock()
	reply.Epoch = a.obeys.Epoch
	a.mu.Unlock()
	for _, l := range a.sortedLocals() {
		reply.Instances = append(reply.Instances, a.instance(l))
	}
	return reply, nil
}
