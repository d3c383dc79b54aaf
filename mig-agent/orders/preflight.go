package orders

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// What a move needs, looked at before anything is touched: each node examines itself, and the source asks the target.
// The same checks stand before a real move, which is refused with everything that is missing.

// advice are checks that tell an operator something and do not stop a move.
var advice = map[string]bool{"clock": true}

// clockLimit is how far two nodes' clocks may be apart before somebody should look: certificates and logs depend on it.
const clockLimit = 2 * time.Second

// Preflight implements api.AgentServer: the source's half, and through Inspect the target's.
func (a *Agent) Preflight(ctx context.Context, order *api.MoveOrder) (*api.PreflightReply, error) {
	reply := &api.PreflightReply{From: a.cfg.Node, To: order.To, Mode: order.Mode}
	id := netmap.ReplicaID{Service: order.Service, Replica: int(order.Replica)}
	l, state := a.local(id), netmap.Unloaded
	if l != nil {
		a.mu.Lock()
		state = l.state
		a.mu.Unlock()
	}
	checks := nodeChecks{node: a.cfg.Node}
	checks.add("state", state == netmap.Running, "%s is %s on %s", id, state, a.cfg.Node)
	if state != netmap.Running { // only a running replica moves
		reply.Checks = checks.list
		return reply, nil
	}
	a.mu.Lock()
	epoch := a.obeys.Epoch
	a.mu.Unlock()
	m := &sourceMove{epoch: epoch, order: order, mode: modeOf(order.Mode), local: l, facts: &journal.Facts{Peer: order.To, PeerAgent: order.ToAgent}}
	defer func() {
		if m.conn != nil {
			m.conn.Close()
		}
	}()
	req, mine, err := a.describe(ctx, m)
	if err != nil {
		return nil, err
	}
	reply.MemoryBytes, reply.VolumeBytes = req.MemoryBytes, req.VolumeBytes
	reply.Checks = append(checks.list, mine...)
	theirs := a.inspectThere(ctx, m, req)
	reply.Checks = append(reply.Checks, theirs.Checks...)
	reply.ImageBytes = theirs.ImageBytes
	a.expect(reply, order.Options)
	return reply, nil
}

// inspectThere asks the target. That it cannot be asked is one more thing that is missing.
func (a *Agent) inspectThere(ctx context.Context, m *sourceMove, req *api.ReserveRequest) *api.PreflightReply {
	there := nodeChecks{node: m.order.To}
	err := a.dialPeer(m)
	if err == nil {
		var reply *api.PreflightReply
		if reply, err = api.NewPeerClient(m.conn).Inspect(ctx, req); err == nil {
			return reply
		}
	}
	switch status.Code(err) {
	case codes.Unimplemented:
		there.add("api", false, "its agent is older than API level 3 and cannot be examined; install the version of %s there", a.cfg.Node)
	case codes.Unavailable, codes.DeadlineExceeded:
		there.add("agent", false, "does not answer: %s", status.Convert(err).Message())
	default:
		there.add("agent", false, "%s", status.Convert(err).Message())
	}
	return &api.PreflightReply{Checks: there.list}
}

// describe examines this node as the source of a move, and says what the target must know of it.
func (a *Agent) describe(ctx context.Context, m *sourceMove) (*api.ReserveRequest, []*api.Check, error) {
	l := m.local
	e, err := a.helper.Examine(ctx, &api.ExamineRequest{
		Container: l.container.ID, HolderPid: int32(l.holder.PID), Layer: l.container.Upper,
		Volumes: filepath.Join(a.cfg.Volumes, l.id.String()), Images: a.docker.Root(), Group: a.docker.Group(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("examine %s: %w", l.id, err)
	}
	layers, err := a.docker.Layers(ctx, l.spec.ImageId)
	if err != nil {
		return nil, nil, err
	}
	sizes, err := a.docker.LayerSizes(ctx, l.spec.ImageId)
	if err != nil {
		return nil, nil, err
	}
	req := &api.ReserveRequest{
		Op: m.op, Epoch: m.epoch, From: a.cfg.Node, Mode: m.order.Mode, Replica: l.spec, Options: m.order.Options,
		FromAgent:   fmt.Sprintf("%s:%d", a.cfg.Address, netmap.AgentPort),
		FromHelper:  fmt.Sprintf("%s:%d", a.cfg.Address, netmap.HelperPort),
		MemoryBytes: e.MemoryBytes, VolumeBytes: e.VolumeBytes, NowUnixMs: time.Now().UnixMilli(), Api: apiLevel,
	}
	for i, id := range layers {
		req.Layers = append(req.Layers, &api.Layer{DiffId: id, Bytes: sizes[i]})
	}
	checks := nodeChecks{node: a.cfg.Node}
	if m.mode == netmap.Live {
		facts, err := a.helper.Facts(ctx, &api.Empty{})
		if err != nil {
			return nil, nil, err
		}
		req.Platform = facts.Platform
		checks.lacks(facts)
		checks.host(e.Checks, m.order.Options)
		checks.add("memory", e.FreeMemory > e.MemoryBytes, "%s free for a CRIU image of at most %s", size(e.FreeMemory), size(e.MemoryBytes))
	}
	return req, checks.list, nil
}

// request describes a move to its target, or refuses it with all that is missing on both nodes.
func (a *Agent) request(ctx context.Context, m *sourceMove) (*api.ReserveRequest, error) {
	req, checks, err := a.describe(ctx, m)
	if err != nil {
		return nil, err
	}
	if len(missing(checks)) == 0 {
		ms, formula := expectFreeze(req.Mode, req.MemoryBytes, a.recentMoves(req.Mode))
		m.volumes, m.trace.ExpectedFreezeMs = req.VolumeBytes, ms
		m.note("expected_freeze", formula)
		m.out.expect(ms)
		return req, nil // the target tells its own when it is asked for the room
	}
	checks = append(checks, a.inspectThere(ctx, m, req).Checks...)
	return nil, refused("%s is not possible from %s to %s: %s", m.mode, a.cfg.Node, m.order.To, strings.Join(missing(checks), "; "))
}

// Inspect implements api.PeerServer: the target's half of Preflight.
func (a *Agent) Inspect(ctx context.Context, req *api.ReserveRequest) (*api.PreflightReply, error) {
	if err := checkReplica(req.Replica); err != nil {
		return nil, err
	}
	if caller, _, _ := pki.Caller(ctx); caller != req.From {
		return nil, status.Errorf(codes.PermissionDenied, "from: %s asks in the name of %s", caller, req.From)
	}
	if err := a.current(req.Epoch); err != nil {
		return nil, err
	}
	return a.inspect(ctx, req)
}

// inspect checks whether a replica that another node describes can come here.
func (a *Agent) inspect(ctx context.Context, req *api.ReserveRequest) (*api.PreflightReply, error) {
	id := netmap.ReplicaID{Service: req.Replica.Service, Replica: int(req.Replica.Replica)}
	e, err := a.helper.Examine(ctx, &api.ExamineRequest{
		Volumes: filepath.Join(a.cfg.Volumes, id.String()), Images: a.docker.Root(), Group: a.docker.Group()})
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	reply := &api.PreflightReply{From: req.From, To: a.cfg.Node, Mode: req.Mode, MemoryBytes: req.MemoryBytes, VolumeBytes: req.VolumeBytes}
	checks := nodeChecks{node: a.cfg.Node}
	a.mu.Lock()
	other, budget := a.locals[id], a.budget
	state := netmap.Unloaded
	if other != nil {
		state = other.state
	}
	a.mu.Unlock()
	checks.add("state", other == nil, "%s is %s on %s", id, state, a.cfg.Node)
	checks.add("api", req.Api == 0 || req.Api >= apiLevel-1 && req.Api <= apiLevel+1,
		"API level %d here, %d at the source; two that are next to each other work together", apiLevel, req.Api)
	if req.NowUnixMs > 0 {
		apart := time.Duration(e.NowUnixMs-req.NowUnixMs) * time.Millisecond
		detail := fmt.Sprintf("%v ahead of the source's", apart)
		if apart.Abs() >= clockLimit {
			detail += "; let both follow one time server"
		}
		checks.add("clock", apart.Abs() < clockLimit, "%s", detail)
	}

	_, err = a.docker.Image(ctx, req.Replica.ImageId)
	if err == nil {
		checks.add("image", true, "is here")
	} else {
		chains, err := a.docker.Chains(ctx)
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		var ids []string
		for _, layer := range req.Layers {
			ids = append(ids, layer.DiffId)
		}
		have, lacking := engine.Present(ids, chains), 0
		for _, layer := range req.Layers {
			if !have[layer.DiffId] {
				lacking++
				reply.ImageBytes += layer.Bytes
			}
		}
		checks.add("image", true, "%d of its %d layers are missing, %s", lacking, len(req.Layers), size(reply.ImageBytes))
	}
	checks.room(e, budget, req, reply.ImageBytes)
	if req.Mode == api.Mode_LIVE {
		checks.host(e.Checks, req.Options)
		facts, err := a.helper.Facts(ctx, &api.Empty{})
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		checks.platform(facts, req.Platform)
	}
	reply.Checks = checks.list
	return reply, nil
}

// fits refuses a reservation with everything this node lacks for it.
func (a *Agent) fits(ctx context.Context, req *api.ReserveRequest) error {
	reply, err := a.inspect(ctx, req)
	if err != nil {
		return err
	}
	if list := missing(reply.Checks); len(list) > 0 {
		return status.Errorf(codes.FailedPrecondition, "%s is not possible on %s: %s", strings.ToLower(req.Mode.String()), a.cfg.Node, strings.Join(list, "; "))
	}
	return nil
}

// missing names the checks that do not hold and stop a move, with their nodes.
func missing(checks []*api.Check) (list []string) {
	for _, c := range checks {
		if !c.Holds && !advice[c.Name] {
			list = append(list, fmt.Sprintf("%s (%s): %s", c.Name, c.Node, c.Detail))
		}
	}
	return list
}

func modeOf(m api.Mode) netmap.Mode {
	switch m {
	case api.Mode_LIVE:
		return netmap.Live
	case api.Mode_WARM:
		return netmap.Warm
	}
	return netmap.Cold
}

// nodeChecks collects what was found on one node.
type nodeChecks struct {
	node string
	list []*api.Check
}

func (c *nodeChecks) add(name string, holds bool, format string, args ...any) {
	c.list = append(c.list, &api.Check{Name: name, Node: c.node, Holds: holds, Detail: fmt.Sprintf(format, args...)})
}

// host takes over what the helper found. A feature is missing only where the move needs it.
func (c *nodeChecks) host(found []*api.Check, o *api.MoveOptions) {
	needed := map[string]bool{
		"mem_dirty_track": o.GetPrecopy() == api.Precopy_PRECOPY_TRACKED,
		"uffd-noncoop":    o.GetLazy(),
	}
	for _, f := range found {
		feature, is := strings.CutPrefix(f.Name, engine.FeaturePrefix)
		detail := f.Detail
		if is && !f.Holds && !needed[feature] {
			detail += " (this move does not need it)"
		}
		c.add(f.Name, f.Holds || is && !needed[feature], "%s", detail)
	}
}

// room is what the node has left for the replica.
func (c *nodeChecks) room(e *api.ExamineReply, b Budget, req *api.ReserveRequest, image int64) {
	// Docker unpacks what it is sent; for that time both are there.
	c.add("disk of images", e.FreeImages > 2*image, "%s free, the missing layers take %s while they are unpacked", size(e.FreeImages), size(2*image))
	c.add("disk of volumes", e.FreeVolumes > req.VolumeBytes, "%s free for %s", size(e.FreeVolumes), size(req.VolumeBytes))
	memory, what := req.MemoryBytes, "the service's"
	if req.Mode == api.Mode_LIVE { // the CRIU image lies in memory until the processes have theirs from it
		memory, what = 2*memory, "the service's and its image's"
	}
	c.add("memory", e.FreeMemory > memory, "%s free for %s %s", size(e.FreeMemory), what, size(memory))
	if b.Memory > 0 {
		c.add("budget", e.GroupMemory+req.MemoryBytes <= b.Memory, "services use %s of the %s they may (services_memory); this one brings %s",
			size(e.GroupMemory), size(b.Memory), size(req.MemoryBytes))
	}
	cpu, limit := b.within(req.Replica)
	if limit > 0 {
		c.add("limit", limit > req.MemoryBytes, "it may use %s of memory here and uses %s", size(limit), size(req.MemoryBytes))
	}
	if cpu < req.Replica.CpuLimit {
		c.add("cpu limit", true, "%g cores here instead of %g: the services' budget", cpu, req.Replica.CpuLimit)
	}
}

// lacks are what the host has not; of CRIU and runc the helper's own checks tell.
func (c *nodeChecks) lacks(here *api.HostFacts) {
	for _, lack := range here.Missing {
		if !strings.HasPrefix(lack, "criu") && !strings.HasPrefix(lack, "runc") {
			c.add("platform", false, "%s", lack)
		}
	}
}

// platform compares this node with the source.
func (c *nodeChecks) platform(here *api.HostFacts, theirs *api.Platform) {
	c.lacks(here)
	if theirs == nil {
		c.add("platform", false, "the source told nothing of its platform")
		return
	}
	if differ := platform(here.Platform).Differ(platform(theirs)); len(differ) > 0 {
		for _, d := range differ {
			c.add("platform", false, "%s; a restore needs both nodes alike", d)
		}
		return
	}
	c.add("platform", true, "CRIU, runc, CPU features and mount propagation as at the source; kernel %s here, %s there",
		here.Platform.Kernel, theirs.Kernel)
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", (bytes+1<<10-1)>>10)
}
