package sim

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
)

const (
	stepLimit = 5 * time.Second        // of one call to a peer
	again     = 100 * time.Millisecond // pause before a question is asked again
)

// transfer begins a move: the target reserves. The service goes on.
func (l *life) transfer(op *operation, order *api.Order, o *api.MoveOrder, begun func(error)) {
	var m *move
	err := l.change(func(c *core) (err error) {
		if m, err = c.give(order.Op, order.Epoch, o); err == nil {
			m.busy = true
			c.here[m.id].state = netmap.Migrating // still serving
		}
		return err
	})
	if err != nil {
		begun(err)
		return
	}
	err = l.at(m, "transfer", "begun")
	if err == nil {
		err = l.withPeer(m, func(ctx context.Context, peer api.PeerClient) error {
			reply, err := peer.Reserve(ctx, &api.ReserveRequest{Op: m.op, Epoch: m.epoch, From: l.node, FromAgent: l.listen,
				FromHelper: l.helper, Mode: o.Mode, Replica: m.spec, Options: o.Options, Api: apiLevel})
			if err == nil && !reply.HasImage {
				err = l.sendImage(ctx, m, peer)
			}
			return err
		})
	}
	if err != nil { // nothing was begun, or it lapses there
		l.forget(m)
		begun(err)
		return
	}
	l.set(m.id, netmap.Migrating, m.op)
	begun(nil)
	if err := l.at(m, "transfer", reserved); err != nil {
		l.failed(op, m, "transfer", err)
		return
	}
	l.reached(op, m, "transfer", bulk)
}

// sendImage tells the target of the image; there is nothing in it.
func (l *life) sendImage(ctx context.Context, m *move, peer api.PeerClient) error {
	stream, err := peer.Push(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&api.Part{Op: m.op, Section: "image", End: true}); err != nil {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}

// prewarm makes the target ready.
func (l *life) prewarm(op *operation, name string, begun func(error)) {
	m := l.takeUp(name, "prewarm", begun, bulk)
	if m == nil {
		return
	}
	err := l.at(m, "prewarm", "begun")
	if err == nil {
		err = l.withPeer(m, func(ctx context.Context, peer api.PeerClient) error {
			_, err := peer.Arm(ctx, &api.OpRef{Op: m.op})
			return err
		})
	}
	if err == nil {
		err = l.at(m, "prewarm", "armed")
	}
	if err != nil {
		l.failed(op, m, "prewarm", err)
		return
	}
	l.reached(op, m, "prewarm", armed)
}

// cancel ends a move before its cut-over.
func (l *life) cancel(op *operation, name string, begun func(error)) {
	m := l.takeUp(name, "cancel", begun, bulk, armed)
	if m == nil {
		return
	}
	if l.at(m, "cancel", "begun") == nil {
		l.cancelPeer(m)
	}
	if l.at(m, "cancel", "cancelled") != nil && l.ctx.Err() != nil {
		return
	}
	l.forget(m)
	op.emit(&api.Event{Op: m.op, Phase: "cancel", Done: true, Outcome: api.Outcome_COMMITTED})
}

// cutover moves the service. Until the record `committed` every failure leads back, after it forward.
func (l *life) cutover(op *operation, name string, begun func(error)) {
	m := l.takeUp(name, "cutover", begun, armed)
	if m == nil {
		return
	}
	began := time.Now()
	p := &page{op: m.op, role: source, kind: "move", id: m.id, peer: m.peer, spec: m.spec, steps: []string{prepared}}
	err := l.at(m, "cutover", "begun")
	if err == nil {
		err = l.change(func(c *core) error {
			m.stage = cutting
			c.pages = append(c.pages, p)
			return nil
		})
	}
	if l.ctx.Err() != nil {
		return // the next life finds it in the journal, or nowhere
	}
	if err == nil {
		err = l.cut(m, p)
	}
	decided := false
	_ = l.change(func(*core) error { decided = p.has(committed); return nil })
	switch {
	case l.ctx.Err() != nil:
		return
	case err != nil && !decided:
		l.takeBack(p, err.Error())
		l.forget(m)
		l.finish(op, m.op, source, done, &api.Event{Phase: "cutover", Done: true, Outcome: api.Outcome_ABORTED, Error: err.Error(), Move: trace(m, l.node, began)})
		return
	}
	if !l.handOver(p) {
		return
	}
	l.finish(op, m.op, source, done, &api.Event{Phase: "cutover", Done: true, Outcome: api.Outcome_COMMITTED, Move: trace(m, l.node, began)})
}

func trace(m *move, from string, began time.Time) *api.Move {
	return &api.Move{Op: m.op, Service: m.id.Service, Replica: int32(m.id.Replica), From: from, To: m.peer.Node, Mode: m.order.Mode,
		StartedUnixMs: began.UnixMilli(), EndedUnixMs: time.Now().UnixMilli(), SwitchToReleaseMs: float64(time.Since(began).Milliseconds())}
}

// cut is the conversation with the target, up to what follows the commit.
func (l *life) cut(m *move, p *page) error {
	return l.withPeer(m, func(_ context.Context, peer api.PeerClient) error {
		ctx, cancel := context.WithCancel(l.ctx) // a test may hold it for long
		defer cancel()
		talk, err := peer.Cutover(ctx)
		if err != nil {
			return err
		}
		say := func(word *api.SourceSays) (*api.TargetSays, error) {
			if err := talk.Send(word); err != nil {
				return nil, err
			}
			told, err := talk.Recv()
			if err == nil && told.GetFailed() != "" {
				err = errors.New(told.GetFailed())
			}
			return told, err
		}
		var number uint64
		for _, step := range []struct {
			place string
			do    func() error
		}{
			{prepared, func() error {
				_, err := say(&api.SourceSays{Says: &api.SourceSays_Switch{Switch: &api.Switch{Op: m.op}}})
				return err
			}},
			{"switched", func() error {
				return l.change(func(*core) error {
					number = l.site.Segment.freeze(m.id, l.node)
					return p.write("frozen")
				})
			}},
			{"frozen", func() error {
				if err := talk.Send(&api.SourceSays{Says: &api.SourceSays_Part{Part: &api.Part{Op: m.op, Section: checkpoint, Data: encode(number), End: true}}}); err != nil {
					return err
				}
				if _, err := say(&api.SourceSays{Says: &api.SourceSays_Restore{Restore: &api.Restore{}}}); err != nil {
					return err
				}
				return l.change(func(*core) error { return p.write(restored) })
			}},
			{restored, func() error { return l.change(func(*core) error { return p.write(committed) }) }},
			{committed, func() error {
				if _, err := say(&api.SourceSays{Says: &api.SourceSays_Commit{Commit: &api.Empty{}}}); err != nil {
					return err
				}
				return l.change(func(*core) error { return p.write(released) })
			}},
			{released, func() error { return nil }},
		} {
			if err := l.at(m, "cutover", step.place); err != nil {
				return err
			}
			if err := step.do(); err != nil {
				return err
			}
		}
		return nil
	})
}

// takeBack makes this node serve again as before.
func (l *life) takeBack(p *page, why string) {
	_ = l.change(func(c *core) error {
		if err := p.write(aborted); err != nil {
			return err
		}
		p.err = why
		if p.has("frozen") {
			l.site.Segment.thaw(p.id, l.node)
		}
		return nil
	})
}

// handOver waits until the target serves, and drops the copy here. It is false when the agent dies before.
func (l *life) handOver(p *page) bool {
	serves := false
	_ = l.change(func(*core) error { serves = p.has(released); return nil })
	for !serves {
		reply, err := l.ask(p.op, p.peer)
		if serves = err == nil && (reply.Step == released || reply.Step == done); !serves {
			pause(l.ctx, again)
		}
		if l.ctx.Err() != nil {
			return false
		}
	}
	_ = l.change(func(*core) error { return p.write(released) })
	if l.change(func(c *core) error { delete(c.sources, p.op); l.site.Segment.drop(p.id, l.node); return nil }) != nil {
		return false
	}
	l.set(p.id, netmap.Unloaded, p.op)
	return true
}

// takeUp finds the move that an order goes on with, and tells begun.
func (l *life) takeUp(op, order string, begun func(error), follows ...stage) (m *move) {
	err := l.change(func(c *core) (err error) {
		if m, err = c.next(op, order, follows...); err == nil {
			m.busy = true
		}
		return err
	})
	begun(err)
	if err != nil {
		return nil
	}
	return m
}

// reached ends a step before the cut-over well.
func (l *life) reached(op *operation, m *move, order string, to stage) {
	if l.change(func(*core) error { m.busy, m.stage = false, to; return nil }) == nil {
		op.emit(&api.Event{Op: m.op, Phase: order, Done: true, Outcome: api.Outcome_COMMITTED})
	}
}

// failed ends a move before its cut-over badly: the target forgets it, the service has gone on.
func (l *life) failed(op *operation, m *move, order string, err error) {
	if l.ctx.Err() != nil {
		return
	}
	l.cancelPeer(m)
	l.forget(m)
	op.emit(&api.Event{Op: m.op, Phase: order, Done: true, Outcome: api.Outcome_ABORTED, Error: status.Convert(err).Message()})
}

// cancelPeer tells the target; where it does not hear, its reservation lapses.
func (l *life) cancelPeer(m *move) {
	_ = l.withPeer(m, func(ctx context.Context, peer api.PeerClient) error {
		_, err := peer.Cancel(ctx, &api.OpRef{Op: m.op})
		return err
	})
}

// forget ends a move from here that did not happen.
func (l *life) forget(m *move) {
	_ = l.change(func(c *core) error { delete(c.sources, m.op); return nil })
	l.set(m.id, netmap.Running, m.op)
}

func (l *life) at(m *move, order, place string) error {
	if err := l.site.at(l.ctx, Point{l.node, m.op, order, place}); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

func (l *life) withPeer(m *move, do func(context.Context, api.PeerClient) error) error {
	conn, err := daemon.Dial(m.peer.Agent, l.id.Client(m.peer.Node, pki.Node))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(l.ctx, stepLimit)
	defer cancel()
	return do(ctx, api.NewPeerClient(conn))
}

// ask hears from another node how an operation stands there: from its agent, or from its helper.
func (l *life) ask(op string, node *api.Hello) (reply *api.OutcomeReply, err error) {
	for _, address := range []string{node.Agent, node.Helper} {
		var conn *grpc.ClientConn
		if conn, err = daemon.Dial(address, l.id.Client(node.Node, pki.Node)); err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, stepLimit)
		reply, err = api.NewWitnessClient(conn).Outcome(ctx, &api.OpRef{Op: op})
		cancel()
		conn.Close()
		if err == nil {
			return reply, nil
		}
	}
	return nil, err
}
