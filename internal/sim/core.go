package sim

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
)

// role of a node in an operation.
type role string

const (
	source role = "source"
	target role = "target"
	local  role = "local" // deploy, remove
)

// Steps of a journal; `committed` and `aborted` exclude each other, the first written counts.
//
//	source: prepared -> frozen -> restored -> committed -> released -> done
//	target: reserved -> prepared -> restored -> committed -> released -> done
//	local:  prepared -> committed
//	each may be aborted until it is committed, and is done then
const (
	reserved  = "reserved"
	prepared  = "prepared"
	restored  = "restored"
	committed = "committed"
	aborted   = "aborted"
	released  = "released"
	done      = "done"
)

// page of a journal: one operation in one role.
type page struct {
	op     string
	role   role
	kind   string // deploy, remove, move
	id     netmap.ReplicaID
	peer   *api.Hello   // the other end of a move
	spec   *api.Replica // of a target
	steps  []string
	err    string
	answer *api.Event // what a repeated order gets
}

func (p *page) has(step string) bool { return slices.Contains(p.steps, step) }

// finished says that nothing is left to do.
func (p *page) finished() bool {
	return p.has(done) || p.role == local && (p.has(committed) || p.has(aborted))
}

// disk is what outlives an agent.
type disk struct {
	epoch    uint64
	replicas map[netmap.ReplicaID]*api.Replica // what runs here, as ordered
	pages    []*page                           // oldest first
	images   map[string]*api.Image
}

func newDisk() *disk {
	return &disk{replicas: map[netmap.ReplicaID]*api.Replica{}, images: map[string]*api.Image{}}
}

func (d *disk) page(op string, in role) *page {
	for _, p := range d.pages {
		if p.op == op && p.role == in {
			return p
		}
	}
	return nil
}

// settledError says that an operation was decided the other way before.
type settledError struct{ op, step string }

func (e *settledError) Error() string { return fmt.Sprintf("operation %s is already %s", e.op, e.step) }

// write adds a step to a page.
func (p *page) write(step string) error {
	for one, other := range map[string]string{committed: aborted, aborted: committed} {
		if step == one && p.has(other) {
			return &settledError{p.op, other}
		}
	}
	if !p.has(step) {
		p.steps = append(p.steps, step)
	}
	return nil
}

// core is one agent's mind during one life: what it has on disk and in memory, and how it answers. It has no socket, no
// clock and no goroutine.
type core struct {
	*disk
	node    string
	here    map[netmap.ReplicaID]*replica
	sources map[string]*move // by operation
	targets map[string]*move
}

// replica is one on this node.
type replica struct {
	spec  *api.Replica
	state netmap.State
	op    string
	since int64 // unix ms
}

// move is one under way, from here or to here.
type move struct {
	op    string
	id    netmap.ReplicaID
	order *api.MoveOrder // source
	spec  *api.Replica
	peer  *api.Hello
	epoch uint64
	stage stage
	busy  bool // a step of it is being carried out
}

// stage of a source: idle -> bulk -> armed -> cutting, and of a target: bulk -> armed -> cutting.
type stage string

const (
	idle    stage = "idle"
	bulk    stage = "bulk"
	armed   stage = "armed"
	cutting stage = "cutting"
)

// awake begins a life: what runs here runs on, what was on its way is found in the journal.
func awake(node string, d *disk) *core {
	c := &core{disk: d, node: node, here: map[netmap.ReplicaID]*replica{}, sources: map[string]*move{}, targets: map[string]*move{}}
	for id, spec := range d.replicas {
		c.here[id] = &replica{spec: spec, state: netmap.Running, op: spec.Op}
	}
	return c
}

// admit refuses an epoch older than the newest seen; a manager's newer one deposes all before it.
func (c *core) admit(epoch uint64, ofManager bool) error {
	if epoch < c.epoch {
		return status.Errorf(codes.FailedPrecondition, "epoch: %d is stale, the newest manager has epoch %d", epoch, c.epoch)
	}
	if ofManager {
		c.epoch = epoch
	}
	return nil
}

func refused(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, "refused: "+format, args...)
}

// claim puts a replica on this node, if it is unloaded here.
func (c *core) claim(spec *api.Replica, op string) (netmap.ReplicaID, error) {
	id := netmap.ReplicaID{Service: spec.GetService(), Replica: int(spec.GetReplica())}
	if spec == nil || !strings.HasPrefix(spec.ImageId, "sha256:") {
		return id, status.Errorf(codes.InvalidArgument, "replica.image_id: %q is not sha256:...", spec.GetImageId())
	}
	if at := c.here[id]; at != nil {
		return id, refused("%s is %s on %s", id, at.state, c.node)
	}
	for other, at := range c.here {
		if at.spec.Address == spec.Address {
			return id, refused("address %s of %s belongs to %s on %s", spec.Address, id, other, c.node)
		}
	}
	c.here[id] = &replica{spec: spec, state: netmap.Migrating, op: op}
	return id, nil
}

// leaves says whether a replica can be taken off this node.
func (c *core) leaves(id netmap.ReplicaID) (*replica, error) {
	at := c.here[id]
	if at == nil {
		return nil, status.Errorf(codes.NotFound, "%s is not on %s", id, c.node)
	}
	if at.state != netmap.Running {
		return nil, refused("%s is %s on %s", id, at.state, c.node)
	}
	return at, nil
}

// give begins a move from here.
func (c *core) give(op string, epoch uint64, o *api.MoveOrder) (*move, error) {
	id := netmap.ReplicaID{Service: o.Service, Replica: int(o.Replica)}
	at, err := c.leaves(id)
	switch {
	case o.Mode == api.Mode_MODE_UNSPECIFIED:
		return nil, refused("mode: %v is not offered by this version", o.Mode)
	case o.To == c.node:
		return nil, refused("to: %s is on %s already", id, c.node)
	case err != nil:
		return nil, refused("%s is no running replica of %s", id, c.node)
	}
	m := &move{op: op, id: id, order: o, spec: at.spec, epoch: epoch, stage: idle,
		peer: &api.Hello{Node: o.To, Agent: o.ToAgent, Helper: o.ToHelper}}
	c.sources[op] = m
	return m, nil
}

// next is the move that an order goes on with. follows are the stages it may come in.
func (c *core) next(op, order string, follows ...stage) (*move, error) {
	m := c.sources[op]
	switch {
	case m == nil:
		return nil, refused("operation %s is not under way on %s", op, c.node)
	case m.busy:
		return nil, refused("the step before is still under way")
	case !slices.Contains(follows, m.stage):
		return nil, refused("%s does not follow %s", order, m.stage)
	}
	return m, nil
}

// outcome is what this node knows of how an operation ended. A move before its cut-over is known to memory alone:
// nothing has changed yet.
func (c *core) outcome(op string) *api.OutcomeReply {
	for _, in := range []role{source, target, local} {
		p := c.page(op, in)
		if p == nil {
			continue
		}
		reply := &api.OutcomeReply{Outcome: api.Outcome_PENDING, Step: p.steps[len(p.steps)-1], Error: p.err}
		switch {
		case p.has(committed):
			reply.Outcome = api.Outcome_COMMITTED
		case p.has(aborted):
			reply.Outcome = api.Outcome_ABORTED
		}
		return reply
	}
	if c.sources[op] != nil {
		return &api.OutcomeReply{Outcome: api.Outcome_PENDING}
	}
	return &api.OutcomeReply{Outcome: api.Outcome_UNKNOWN}
}

// answered is the last event of an order that an earlier life finished, nil when there was none.
func (c *core) answered(op, order string) *api.Event {
	in := local
	switch order {
	case "cutover":
		in = source
	case "deploy", "remove":
	default:
		return nil
	}
	p := c.page(op, in)
	switch {
	case p == nil || !p.finished():
		return nil
	case p.answer != nil:
		return p.answer
	}
	e := &api.Event{Op: op, Phase: order, Done: true, Outcome: api.Outcome_ABORTED, Error: p.err}
	if p.has(committed) {
		e.Outcome = api.Outcome_COMMITTED
	}
	return e
}

// instances lists what is here, sorted.
func (c *core) instances() []*api.Instance {
	list := make([]*api.Instance, 0, len(c.here))
	for id := range c.here {
		list = append(list, c.instance(id))
	}
	slices.SortFunc(list, func(a, b *api.Instance) int { return strings.Compare(a.Container, b.Container) })
	return list
}

// instance is what others hear of a replica here.
func (c *core) instance(id netmap.ReplicaID) *api.Instance {
	at := c.here[id]
	address, _, _ := strings.Cut(at.spec.Address, "/")
	return &api.Instance{Service: id.Service, Replica: int32(id.Replica), Node: c.node, ServiceAddress: address,
		Container: id.String(), State: states[at.state], Op: at.op, SinceUnixMs: at.since, ImageId: at.spec.ImageId}
}

var states = map[netmap.State]api.State{netmap.Migrating: api.State_MIGRATING, netmap.Ready: api.State_READY,
	netmap.Running: api.State_RUNNING}
