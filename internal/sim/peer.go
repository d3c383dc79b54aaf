package sim

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
)

// checkpoint is the section of a cut-over that carries a copy's state.
const checkpoint = "checkpoint"

func encode(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// quiet is how often the target of a reservation asks its source whether it still means it.
const quiet = 300 * time.Millisecond

// Reserve implements api.PeerServer.
func (l *life) Reserve(ctx context.Context, req *api.ReserveRequest) (*api.ReserveReply, error) {
	if caller, _, _ := pki.Caller(ctx); caller != req.From {
		return nil, status.Errorf(codes.PermissionDenied, "from: %s asks in the name of %s", caller, req.From)
	}
	reply := &api.ReserveReply{}
	m := &move{op: req.Op, spec: req.Replica, epoch: req.Epoch, stage: bulk,
		peer: &api.Hello{Node: req.From, Agent: req.FromAgent, Helper: req.FromHelper}}
	err := l.change(func(c *core) (err error) {
		if err := c.admit(req.Epoch, false); err != nil {
			return err
		}
		if p := c.page(req.Op, target); p != nil && p.finished() {
			return status.Errorf(codes.FailedPrecondition, "operation %s is already %s", req.Op, p.steps[len(p.steps)-2])
		}
		if m.id, err = c.claim(req.Replica, req.Op); err != nil {
			return err
		}
		req.Replica.Op, req.Replica.Epoch = req.Op, req.Epoch
		c.targets[req.Op] = m
		c.pages = append(c.pages, &page{op: req.Op, role: target, kind: "move", id: m.id, peer: m.peer, spec: req.Replica, steps: []string{reserved}})
		reply.HasImage = c.images[req.Replica.ImageId] != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.set(m.id, netmap.Migrating, m.op)
	l.work.Go(func() { l.expire(m) })
	return reply, nil
}

// expire ends a reservation whose source knows it no more: it has given it up, or was restarted.
func (l *life) expire(m *move) {
	for pause(l.ctx, quiet); l.ctx.Err() == nil; pause(l.ctx, quiet) {
		over := true
		_ = l.change(func(c *core) error { over = c.targets[m.op] == nil || m.stage == cutting; return nil })
		if over {
			return
		}
		reply, err := l.ask(m.op, m.peer)
		if err == nil && (reply.Outcome == api.Outcome_UNKNOWN || reply.Outcome == api.Outcome_ABORTED) {
			l.settle(m.op)
			return
		}
	}
}

// target finds the move that its source goes on with; follows is the stage it must be in.
func (c *core) target(ctx context.Context, op string, follows ...stage) (*move, error) {
	m := c.targets[op]
	if m == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "op: %s has no reservation on %s", op, c.node)
	}
	if caller, _, _ := pki.Caller(ctx); caller != m.peer.Node {
		return nil, status.Errorf(codes.PermissionDenied, "op: %s belongs to %s", op, m.peer.Node)
	}
	for _, s := range follows {
		if m.stage == s {
			return m, nil
		}
	}
	return nil, status.Errorf(codes.FailedPrecondition, "op: %s is %s here", op, m.stage)
}

// Push implements api.PeerServer: the image is here now.
func (l *life) Push(stream api.Peer_PushServer) error {
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&api.PushReply{})
		}
		if err != nil {
			return err
		}
		err = l.change(func(c *core) error {
			m, err := c.target(stream.Context(), part.Op, bulk)
			if err == nil && part.Section == "image" && part.End {
				c.images[m.spec.ImageId] = &api.Image{Id: m.spec.ImageId, Name: m.spec.Image}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
}

// Arm implements api.PeerServer.
func (l *life) Arm(ctx context.Context, ref *api.OpRef) (*api.Empty, error) {
	var m *move
	err := l.change(func(c *core) (err error) {
		if m, err = c.target(ctx, ref.Op, bulk); err != nil {
			return err
		}
		m.stage = armed
		return c.page(ref.Op, target).write(prepared)
	})
	if err != nil {
		return nil, err
	}
	l.set(m.id, netmap.Ready, ref.Op)
	return &api.Empty{}, nil
}

// Cancel implements api.PeerServer.
func (l *life) Cancel(ctx context.Context, ref *api.OpRef) (*api.Empty, error) {
	err := l.change(func(c *core) error {
		_, err := c.target(ctx, ref.Op, bulk, armed)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.leave(ref.Op, "cancelled by the source")
	return &api.Empty{}, nil
}

// Cutover implements api.PeerServer: the conversation inside the freeze. When it breaks, the source is asked.
func (l *life) Cutover(stream api.Peer_CutoverServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	op := first.GetSwitch().GetOp()
	var m *move
	err = l.change(func(c *core) (err error) {
		if m, err = c.target(stream.Context(), op, armed); err == nil {
			m.stage = cutting
		}
		return err
	})
	if err != nil {
		return err
	}
	if l.converse(m, stream) != nil {
		l.work.Go(func() { l.settle(op) })
	}
	return nil
}

func (l *life) converse(m *move, stream api.Peer_CutoverServer) error {
	if err := stream.Send(&api.TargetSays{Says: &api.TargetSays_Switched{Switched: &api.Empty{}}}); err != nil {
		return err
	}
	var number uint64
	for {
		says, err := stream.Recv()
		if err != nil {
			return err
		}
		switch word := says.Says.(type) {
		case *api.SourceSays_Part:
			if word.Part.Section == checkpoint {
				number = binary.BigEndian.Uint64(word.Part.Data)
			}
		case *api.SourceSays_Restore:
			err := l.change(func(c *core) error {
				l.site.Segment.restore(m.id, l.node, number)
				return c.page(m.op, target).write(restored)
			})
			if err != nil {
				return err
			}
			if err := stream.Send(&api.TargetSays{Says: &api.TargetSays_Restored{Restored: &api.Restored{}}}); err != nil {
				return err
			}
		case *api.SourceSays_Commit:
			l.serve(m.op)
			return stream.Send(&api.TargetSays{Says: &api.TargetSays_Released{Released: &api.Released{Instance: l.instance(m.id)}}})
		default:
			return status.Errorf(codes.InvalidArgument, "says: unknown word %T", word)
		}
	}
}

// settle brings a move to this node to its end by what its source says, however long that takes.
func (l *life) settle(op string) {
	for l.ctx.Err() == nil {
		var p *page
		over := true
		if l.change(func(c *core) error {
			p = c.page(op, target)
			over = p.finished()
			return nil
		}) != nil || over {
			return
		}
		reply, err := l.ask(op, p.peer)
		switch {
		case err == nil && reply.Outcome == api.Outcome_COMMITTED:
			l.serve(op)
			return
		case err == nil && reply.Outcome == api.Outcome_ABORTED:
			l.leave(op, "aborted by the source: "+reply.Error)
			return
		case err == nil && reply.Outcome == api.Outcome_UNKNOWN: // it never came to a cut-over
			l.leave(op, "unknown to the source")
			return
		}
		pause(l.ctx, again)
	}
}

// serve takes the service over: the source has committed.
func (l *life) serve(op string) {
	var p *page
	err := l.change(func(c *core) error {
		p = c.page(op, target)
		if err := p.write(committed); err != nil {
			return err
		}
		l.site.Segment.release(p.id, l.node)
		delete(c.targets, op)
		c.replicas[p.id] = p.spec
		return p.write(released)
	})
	if err != nil {
		return
	}
	l.set(p.id, netmap.Running, op)
	_ = l.change(func(*core) error { return p.write(done) })
}

// leave takes a move that does not happen off this node.
func (l *life) leave(op, why string) {
	var p *page
	err := l.change(func(c *core) error {
		p = c.page(op, target)
		if err := p.write(aborted); err != nil {
			return err
		}
		p.err = why
		if p.has(restored) {
			l.site.Segment.drop(p.id, l.node)
		}
		delete(c.targets, op)
		return nil
	})
	if err != nil {
		return
	}
	l.set(p.id, netmap.Unloaded, op)
	_ = l.change(func(*core) error { return p.write(done) })
}

// recover finds what an earlier life left unfinished, and gives what brings it to its end. The caller holds mu.
func (l *life) recover() (unfinished []func()) {
	for _, p := range l.disk.pages {
		if p.finished() {
			continue
		}
		c := l.core
		switch {
		case p.role == local && p.kind == "deploy": // its container is removed, whether it ran or not
			l.site.Segment.remove(p.id, l.node)
			delete(c.here, p.id)
			delete(c.replicas, p.id)
			p.err = "the agent restarted during the deployment"
			_ = p.write(aborted)
		case p.role == local:
			l.site.Segment.remove(p.id, l.node)
			delete(c.here, p.id)
			delete(c.replicas, p.id)
			_ = p.write(committed)
		case p.role == source && p.has(committed):
			c.here[p.id] = &replica{spec: p.spec, state: netmap.Migrating, op: p.op}
			unfinished = append(unfinished, func() {
				if l.handOver(p) {
					_ = l.change(func(*core) error { return p.write(done) })
				}
			})
		case p.role == source:
			unfinished = append(unfinished, func() {
				l.takeBack(p, "the agent restarted before the commit")
				_ = l.change(func(*core) error { return p.write(done) })
			})
		default:
			state := netmap.Ready
			if p.has(committed) {
				state = netmap.Running
			}
			c.here[p.id] = &replica{spec: p.spec, state: state, op: p.op}
			unfinished = append(unfinished, func() { l.resume(p) })
		}
	}
	return unfinished
}

// resume goes on with a move to this node in a new life.
func (l *life) resume(p *page) {
	decided := ""
	_ = l.change(func(*core) error {
		for _, step := range []string{committed, aborted} {
			if p.has(step) {
				decided = step
			}
		}
		return nil
	})
	switch decided {
	case committed:
		l.serve(p.op)
	case aborted:
		l.leave(p.op, p.err)
	default:
		l.settle(p.op)
	}
}

// helper answers for a node from its disk, also while its agent is dead; while that lives it also knows the moves that
// have not come to their cut-over.
type helper struct {
	api.UnimplementedWitnessServer
	agent *Agent
}

// Outcome implements api.WitnessServer.
func (h helper) Outcome(_ context.Context, ref *api.OpRef) (*api.OutcomeReply, error) {
	h.agent.mu.Lock()
	defer h.agent.mu.Unlock()
	if h.agent.life != nil {
		return h.agent.life.core.outcome(ref.Op), nil
	}
	return (&core{disk: h.agent.disk}).outcome(ref.Op), nil
}
