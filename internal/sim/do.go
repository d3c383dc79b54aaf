package sim

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/netmap"
)

// operation is one order under way or done: it tells a repeated order the same again.
type operation struct {
	mu      sync.Mutex
	events  []*api.Event
	refused error         // nothing was begun, and nothing will come
	grown   chan struct{} // closed and replaced with every event, and with refused
}

func newOperation() *operation { return &operation{grown: make(chan struct{})} }

func (o *operation) emit(e *api.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
	close(o.grown)
	o.grown = make(chan struct{})
}

func (o *operation) refuse(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused = err
	close(o.grown)
	o.grown = make(chan struct{})
}

// follow sends all events, old and new, until the last.
func (o *operation) follow(ctx context.Context, send func(*api.Event) error) error {
	for n := 0; ; {
		o.mu.Lock()
		news, grown, refused := o.events[n:], o.grown, o.refused
		o.mu.Unlock()
		for _, e := range news {
			if err := send(e); err != nil || e.Done {
				return err
			}
		}
		n += len(news)
		if refused != nil {
			return refused
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// run carries out an order. begun hears once nil, or why the order is refused before it changed anything.
type run func(op *operation, begun func(error))

// Do implements api.AgentServer.
func (l *life) Do(order *api.Order, stream api.Agent_DoServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	name, run := l.plan(order)
	if run == nil {
		return status.Error(codes.InvalidArgument, "what: an order needs exactly one of deploy, remove, transfer, prewarm, cutover, cancel")
	}
	point := Point{Node: l.node, Op: order.Op, Order: name, Place: Sent}
	if err := l.site.at(ctx, point); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	send := func(e *api.Event) error {
		if point.Place = Answer; e.Done {
			if err := l.site.at(ctx, point); err != nil {
				return status.Error(codes.Unavailable, err.Error())
			}
		}
		return stream.Send(e)
	}
	var op *operation
	var known *api.Event
	key, repeated := order.Op+"/"+name, false
	err := l.change(func(c *core) error {
		if err := c.admit(order.Epoch, true); err != nil {
			return err
		}
		if op, repeated = l.ops[key]; repeated {
			return nil
		}
		if known = c.answered(order.Op, name); known == nil {
			op = newOperation()
			l.ops[key] = op
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case known != nil:
		return send(known)
	case repeated:
		return op.follow(ctx, send)
	}
	begun := make(chan error, 1)
	l.work.Go(func() { run(op, func(err error) { begun <- err }) })
	if err := <-begun; err != nil {
		_ = l.change(func(*core) error { delete(l.ops, key); return nil })
		op.refuse(err)
		return err
	}
	return op.follow(ctx, send)
}

func (l *life) plan(order *api.Order) (string, run) {
	switch what := order.What.(type) {
	case *api.Order_Deploy:
		return "deploy", func(op *operation, begun func(error)) { l.deploy(op, order, what.Deploy.Replica, begun) }
	case *api.Order_Remove:
		return "remove", func(op *operation, begun func(error)) { l.remove(op, order.Op, what.Remove, begun) }
	case *api.Order_Transfer:
		return "transfer", func(op *operation, begun func(error)) { l.transfer(op, order, what.Transfer, begun) }
	case *api.Order_Prewarm:
		return "prewarm", func(op *operation, begun func(error)) { l.prewarm(op, order.Op, begun) }
	case *api.Order_Cutover:
		return "cutover", func(op *operation, begun func(error)) { l.cutover(op, order.Op, begun) }
	case *api.Order_Cancel:
		return "cancel", func(op *operation, begun func(error)) { l.cancel(op, order.Op, begun) }
	}
	return "", nil
}

// broken is the first word of a command that cannot be started.
const broken = "/nonexistent"

func (l *life) deploy(op *operation, order *api.Order, spec *api.Replica, begun func(error)) {
	var id netmap.ReplicaID
	err := l.change(func(c *core) (err error) {
		if spec != nil {
			spec.Op, spec.Epoch = order.Op, order.Epoch
		}
		if id, err = c.claim(spec, order.Op); err != nil {
			return err
		}
		if c.images[spec.ImageId] == nil {
			delete(c.here, id)
			return status.Errorf(codes.NotFound, "image: %s (%s) is not on %s", spec.Image, spec.ImageId, c.node)
		}
		c.pages = append(c.pages, &page{op: order.Op, role: local, kind: "deploy", id: id, steps: []string{prepared}})
		return nil
	})
	begun(err)
	if err != nil {
		return
	}
	l.set(id, netmap.Migrating, order.Op)
	err = l.site.at(l.ctx, Point{l.node, order.Op, "deploy", prepared})
	if err == nil && len(spec.Command) > 0 && spec.Command[0] == broken {
		err = errors.New("the container ended with code 127 before it passed its probe")
	}
	if err != nil {
		l.set(id, netmap.Unloaded, order.Op)
		l.finish(op, order.Op, local, aborted, &api.Event{Phase: "deploy", Done: true, Outcome: api.Outcome_ABORTED, Error: err.Error()})
		return
	}
	if l.change(func(*core) error { l.site.Segment.start(id, l.node); return nil }) != nil {
		return
	}
	l.set(id, netmap.Running, order.Op)
	l.finish(op, order.Op, local, committed, &api.Event{Phase: "deploy", Done: true, Outcome: api.Outcome_COMMITTED, Instance: l.instance(id)})
}

func (l *life) remove(op *operation, name string, order *api.RemoveOrder, begun func(error)) {
	id := netmap.ReplicaID{Service: order.Service, Replica: int(order.Replica)}
	err := l.change(func(c *core) error {
		if _, err := c.leaves(id); err != nil {
			return err
		}
		c.pages = append(c.pages, &page{op: name, role: local, kind: "remove", id: id, steps: []string{prepared}})
		c.here[id].state = netmap.Migrating
		return nil
	})
	begun(err)
	if err != nil {
		return
	}
	if err := l.site.at(l.ctx, Point{l.node, name, "remove", prepared}); err != nil {
		l.set(id, netmap.Running, name)
		l.finish(op, name, local, aborted, &api.Event{Phase: "remove", Done: true, Outcome: api.Outcome_ABORTED, Error: err.Error()})
		return
	}
	_ = l.change(func(*core) error { l.site.Segment.remove(id, l.node); return nil })
	l.set(id, netmap.Unloaded, name)
	l.finish(op, name, local, committed, &api.Event{Phase: "remove", Done: true, Outcome: api.Outcome_COMMITTED})
}

// finish writes the end of an operation with its answer, and gives it.
func (l *life) finish(op *operation, name string, in role, step string, e *api.Event) {
	e.Op = name
	err := l.change(func(c *core) error {
		p := c.page(name, in)
		p.answer, p.err = e, e.Error
		return p.write(step)
	})
	if err == nil {
		op.emit(e)
	}
}

func (l *life) instance(id netmap.ReplicaID) (i *api.Instance) {
	_ = l.change(func(c *core) error {
		if c.here[id] != nil {
			i = c.instance(id)
		}
		return nil
	})
	return i
}

// Ask implements api.AgentServer.
func (l *life) Ask(_ context.Context, ref *api.OpRef) (reply *api.OutcomeReply, err error) {
	err = l.change(func(c *core) error { reply = c.outcome(ref.Op); return nil })
	return reply, err
}

// Inventory implements api.AgentServer.
func (l *life) Inventory(context.Context, *api.Empty) (*api.InventoryReply, error) {
	reply := &api.InventoryReply{}
	err := l.change(func(c *core) error {
		reply.Epoch, reply.Instances = c.epoch, c.instances()
		for _, i := range c.images {
			reply.Images = append(reply.Images, i)
		}
		return nil
	})
	return reply, err
}

// Renew implements api.AgentServer: nothing here has a lease that could lapse.
func (l *life) Renew(_ context.Context, req *api.RenewRequest) (*api.RenewReply, error) {
	reply := &api.RenewReply{}
	err := l.change(func(c *core) error {
		if err := c.admit(req.Epoch, true); err != nil {
			return err
		}
		for _, ref := range req.Replicas {
			if c.here[netmap.ReplicaID{Service: ref.Service, Replica: int(ref.Replica)}] == nil {
				reply.Unknown = append(reply.Unknown, ref)
			}
		}
		reply.Instances = c.instances()
		return nil
	})
	return reply, err
}

// Preflight implements api.AgentServer: of two nodes in memory nothing is missing but, perhaps, the replica.
func (l *life) Preflight(_ context.Context, o *api.MoveOrder) (*api.PreflightReply, error) {
	id := netmap.ReplicaID{Service: o.Service, Replica: int(o.Replica)}
	reply := &api.PreflightReply{From: l.node, To: o.To, Mode: o.Mode}
	err := l.change(func(c *core) error {
		at, err := c.leaves(id)
		check := &api.Check{Name: "state", Node: c.node, Holds: err == nil}
		if err != nil {
			check.Detail = status.Convert(err).Message()
		} else {
			check.Detail = string(at.state)
		}
		reply.Checks = append(reply.Checks, check)
		return nil
	})
	return reply, err
}

// PushImage implements api.AgentServer: of the output of `docker save` it reads which image it is.
func (l *life) PushImage(stream api.Agent_PushImageServer) error {
	image, err := imageOf(chunk.Reader(func() ([]byte, error) {
		c, err := stream.Recv()
		return c.GetData(), err
	}))
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err := l.change(func(c *core) error { c.images[image.Id] = image; return nil }); err != nil {
		return err
	}
	return stream.SendAndClose(image)
}

func imageOf(r io.Reader) (*api.Image, error) {
	image := &api.Image{}
	files := tar.NewReader(r)
	for {
		file, err := files.Next()
		if err == io.EOF && image.Id != "" {
			return image, nil
		}
		if err != nil {
			return nil, errors.Join(errors.New("image: no output of docker save"), err)
		}
		if file.Name != "manifest.json" {
			image.Bytes += file.Size
			continue
		}
		var manifest []struct {
			Config   string
			RepoTags []string
		}
		if err := json.NewDecoder(files).Decode(&manifest); err != nil || len(manifest) != 1 || len(manifest[0].RepoTags) == 0 {
			return nil, errors.Join(errors.New("image: manifest.json: want one image with a name"), err)
		}
		image.Id = "sha256:" + strings.TrimSuffix(path.Base(manifest[0].Config), ".json")
		image.Name = manifest[0].RepoTags[0]
	}
}
