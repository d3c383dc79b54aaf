package orders

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/lane"
	"sonic-netservices/mig-agent/memory"
)

// Sections. By a lane is the rule; a checkpoint comes in the conversation where there is no lane.
const (
	memorySection     = "memory"
	checkpointSection = "checkpoint"
	laneSection       = "checkpoint by lane"
)

// Of the rounds before a cut-over. Each costs a look at all memory, so they end when little is left, when the service
// writes as fast as they send, or when it takes too long.
const (
	roundsMost  = 8
	roundsTime  = 5 * time.Second
	roundLittle = 2 << 20 // bytes
	roundPays   = 0.7     // a round that sends more than this share of the one before is the last
)

// precopyLeast is the memory below which a look at it costs more than it saves (docs/decisions/0037).
const precopyLeast = 32 << 20

// sendMemory is the bulk: all pages, once.
func (a *Agent) sendMemory(ctx context.Context, m *sourceMove) error {
	if m.facts.Lazy {
		m.note("precopy", "left out: a lazy move sends memory after its switch")
		return nil
	}
	if m.order.GetOptions().GetPrecopy() == api.Precopy_PRECOPY_OFF {
		m.note("precopy", "off, as ordered")
		return nil
	}
	_, err := a.memoryRound(ctx, m)
	return err
}

// sendPages brings the target near, and opens the way for the image.
func (a *Agent) sendPages(ctx context.Context, m *sourceMove) error {
	if err := a.openLane(ctx, m); err != nil { // the conversation carries it as well, only slower
		m.note("lane", err.Error())
		a.log.Warn("no lane for the checkpoint", "op", m.op, "err", err)
	}
	if len(m.trace.Rounds) == 0 {
		return nil // it was not worth it
	}
	before := m.trace.Rounds[len(m.trace.Rounds)-1].Bytes
	for began := time.Now(); len(m.trace.Rounds) < roundsMost && time.Since(began) < roundsTime; {
		sent, err := a.memoryRound(ctx, m)
		if err != nil || sent < roundLittle || float64(sent) > roundPays*float64(before) {
			return err
		}
		before = sent
	}
	return nil
}

// memoryRound sends what the target does not have of the running processes' memory.
func (a *Agent) memoryRound(ctx context.Context, m *sourceMove) (sent int64, err error) {
	if m.tracked {
		return a.trackedRound(ctx, m)
	}
	to, err := laneAddress(m.facts.PeerAgent)
	if err != nil {
		return 0, err
	}
	req := &api.MemoryRequest{Op: m.op, Container: m.local.container.ID, Peer: m.facts.Peer, Lane: to, BandwidthBps: a.paceOf(m).Limit()}
	if m.order.GetOptions().GetPrecopy() == api.Precopy_PRECOPY_AUTO {
		req.LeastBytes = precopyLeast
	}
	m.out.phase(memorySection, "round %d to %s", len(m.trace.Rounds)+1, m.order.To)
	began := time.Now()
	var reply *api.MemoryReply
	err = a.persist(ctx, m, memorySection, func(bool) error {
		reply, err = a.helper.SendMemory(ctx, req)
		return err
	})
	if err != nil {
		return 0, err
	}
	if reply.Skipped {
		m.note("precopy", fmt.Sprintf("%d KiB of memory are not worth it", reply.MemoryBytes>>10))
		return 0, nil
	}
	m.out.emit(&api.Event{Phase: memorySection, Detail: fmt.Sprintf("round %d is over", len(m.trace.Rounds)+1), Bytes: reply.SentBytes})
	m.trace.Rounds = append(m.trace.Rounds, &api.Round{What: memorySection, Bytes: reply.SentBytes, TookMs: milliseconds(time.Since(began))})
	return reply.SentBytes, nil
}

// openLane is for the checkpoint: a handshake inside the freeze would be paid for by the clients.
func (a *Agent) openLane(ctx context.Context, m *sourceMove) error {
	to, err := laneAddress(m.facts.PeerAgent)
	if err != nil {
		return err
	}
	m.lane, err = lane.Dial(ctx, to, m.facts.Peer, a.id.Client(m.facts.Peer, pki.Node), lane.Hello{Op: m.op, Section: lane.Checkpoint})
	return err
}

// ready makes CRIU begin at both ends. A target that does not know how begins when it has the image.
func (a *Agent) ready(ctx context.Context, m *sourceMove) error {
	r, err := a.helper.ReadyDump(ctx, m.dumpRequest(ctx))
	if err != nil {
		return err
	}
	_, err = api.NewPeerClient(m.conn).Ready(ctx, &api.ReadyRequest{Op: m.op, Descriptors: r.Descriptors})
	if status.Code(err) == codes.Unimplemented {
		m.note("ready", "the target begins to restore when it has the image: its version cannot earlier")
		return nil
	}
	return err
}

// drain gives answers under way time to leave.
func drain(ctx context.Context) error {
	select {
	case <-time.After(drainTime):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// dumping is a container that is frozen, its CRIU image being written and, at the same time, sent.
//
//	freeze --> frozen --> reply is final: dumped or failed
//	                 \--> sent is final: everything has left, or sending failed
type dumping struct {
	reply *api.DumpReply
	fault error         // of the dump
	ended chan struct{} // closed: reply and fault are final

	hangUp context.CancelFunc // ends the conversation with the helper, not the dump

	complete chan struct{} // closed: nothing is added to the image any more
	follow   func(*bufio.Writer) (memory.Sent, error)
	give     context.CancelFunc
	left     chan struct{} // closed: sent and err are final; nil: sending has not begun
	sent     memory.Sent
	err      error // of sending
}

// freeze returns when the container stands still. From then on its image is written, and goes over the lane.
func (a *Agent) freeze(ctx context.Context, m *sourceMove) error {
	host := engine.Host{Dir: a.cfg.Dir}
	folder := host.ImageFolder(m.op)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	var table *memory.Table
	if len(m.trace.Rounds) > 0 && !m.tracked {
		var err error
		if table, err = memory.ReadTable(host.MemoryTable(m.op)); err != nil {
			return err
		}
	}
	// The helper may be away for a moment, but an order that comes too late must not come at all.
	asking, hangUp := a.life, context.CancelFunc(func() {})
	if t, ok := ctx.Deadline(); ok {
		asking, hangUp = context.WithDeadline(a.life, t)
	}
	stream, err := a.helper.Dump(asking, m.dumpRequest(ctx))
	if err != nil {
		hangUp()
		return err
	}
	following, give := context.WithCancel(a.life)
	d := &dumping{ended: make(chan struct{}), hangUp: hangUp, complete: make(chan struct{}), give: give}
	m.dump = d
	frozen, over := make(chan struct{}), m.lane
	go func() {
		defer close(d.ended)
		defer hangUp()
		if d.reply, d.fault = stream.Recv(); d.fault != nil {
			return
		}
		close(frozen)
		if d.reply, d.fault = stream.Recv(); d.fault == nil {
			close(d.complete) // what goes by the lane ends by itself
			return
		}
		give()
		if over != nil { // an old target reads nothing else until it ends
			over.Close()
		}
	}()
	d.follow = func(w *bufio.Writer) (memory.Sent, error) {
		return memory.WriteCheckpoint(following, w, folder, table, d.complete)
	}
	select {
	case <-frozen:
	case <-d.ended:
		if d.fault != nil {
			return d.fault
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.lane != nil { // the target reads it at once: a lane that nobody reads breaks off
		part := &api.Part{Section: laneSection, End: true}
		if err := m.talk.Send(&api.SourceSays{Says: &api.SourceSays_Part{Part: part}}); err != nil {
			return m.said(err)
		}
		d.begin(func() (memory.Sent, error) { return d.follow(bufio.NewWriterSize(m.lane, chunk.Size)) })
	}
	return nil
}

// begin sends the image in the background.
func (d *dumping) begin(send func() (memory.Sent, error)) {
	d.left = make(chan struct{})
	go func() {
		defer close(d.left)
		d.sent, d.err = send()
	}()
}

// awaitDump returns when the image is complete. Without a lane it goes in the conversation.
func (a *Agent) awaitDump(ctx context.Context, m *sourceMove) error {
	d := m.dump
	if m.lane == nil {
		d.begin(func() (memory.Sent, error) {
			w := m.section(checkpointSection)
			sent, err := d.follow(w)
			return sent, errors.Join(m.said(err), m.endSection(w)) // also of one that ends early: the conversation goes on
		})
	}
	select {
	case <-d.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.fault != nil {
		return d.fault
	}
	m.trace.CheckpointBytes = d.reply.Bytes
	m.out.phase("dump", "%.1f ms, frozen after %.1f ms", d.reply.DumpMs, d.reply.FrozenAfterMs)
	return nil
}

// sendCheckpoint waits until the image has left. A target that takes no more says why in the conversation.
func (a *Agent) sendCheckpoint(ctx context.Context, m *sourceMove) error {
	d := m.dump
	defer d.give()
	select {
	case <-d.left:
	case <-ctx.Done():
		return ctx.Err()
	}
	m.trace.PresentBytes = d.sent.Present
	if d.err == nil || m.lane == nil {
		return d.err
	}
	m.lane.Close() // the target sees that it is not whole
	heard := make(chan error, 1)
	go func() {
		_, why := m.listen()
		heard <- why
	}()
	select {
	case why := <-heard:
		return errors.Join(why, d.err)
	case <-time.After(time.Second):
		return d.err
	}
}

// stopSending ends what freeze has begun but for the dump itself, which the helper waits for. The conversation is free again.
func (m *sourceMove) stopSending() {
	if m.dump == nil {
		return
	}
	m.dump.give()
	m.dump.hangUp()
	if m.lane != nil {
		m.lane.Close() // the target sees that it is not whole
	}
	if m.dump.left == nil {
		return
	}
	select {
	case <-m.dump.left:
	case <-time.After(time.Second): // it waits for a target that does not read
		if m.close != nil {
			m.close()
		}
		<-m.dump.left
		m.hangUp()
	}
}

// taking is a checkpoint that comes by the lane while the conversation goes on.
type taking struct {
	conn  *lane.Conn
	ended chan struct{} // closed: err is final
	err   error
}

// takeByLane begins to take it, and says at once if that fails. m.mu is held until it has ended (joinLane, giveUpLane).
func (a *Agent) takeByLane(m *targetMove, send func(*api.TargetSays) error) error {
	c := a.ownLane(m)
	if c == nil || m.taking != nil {
		return errors.New("no lane is open")
	}
	t := &taking{conn: c, ended: make(chan struct{})}
	m.taking = t
	go func() {
		defer close(t.ended)
		defer c.Close()
		if err := a.takeCheckpoint(m, c.In); err != nil {
			t.err = fmt.Errorf("%s: %w", laneSection, err)
			_ = send(&api.TargetSays{Says: &api.TargetSays_Failed{Failed: t.err.Error()}}) // a source that is gone asks no more
		}
	}()
	return nil
}

// joinLane waits until the checkpoint is here; without one on its way it is.
func (m *targetMove) joinLane(ctx context.Context) error {
	if m.taking == nil {
		return nil
	}
	select {
	case <-m.taking.ended:
		return m.taking.err
	case <-ctx.Done():
		m.giveUpLane()
		return ctx.Err()
	}
}

// giveUpLane ends taking a checkpoint that is not wanted any more.
func (m *targetMove) giveUpLane() {
	if m.taking == nil {
		return
	}
	m.taking.conn.Close()
	<-m.taking.ended
	m.taking = nil
}

// takeMemory takes one round at the target.
func (a *Agent) takeMemory(m *targetMove, r io.Reader) (int64, error) {
	if m.pools == nil {
		host := engine.Host{Dir: a.cfg.Dir}
		var st unix.Statfs_t
		if err := os.MkdirAll(host.OpFolder(m.op), 0o700); err != nil {
			return 0, err
		}
		if err := unix.Statfs(host.OpFolder(m.op), &st); err != nil {
			return 0, fmt.Errorf("room for memory: %w", err)
		}
		m.pools = memory.NewPools(host.MemoryFolder(m.op), int64(st.Bavail)*st.Bsize)
	}
	return m.pools.Apply(r)
}

func (a *Agent) takeCheckpoint(m *targetMove, r io.Reader) error {
	pools := m.pools
	if pools == nil {
		pools = memory.NewPools((engine.Host{Dir: a.cfg.Dir}).MemoryFolder(m.op), 0)
	}
	host := engine.Host{Dir: a.cfg.Dir}
	if err := pools.ReadCheckpoint(r, host.ImageFolder(m.op)); err != nil || m.rounds == 0 {
		return err
	}
	return host.LinkRound(m.op, host.ImageFolder(m.op), m.rounds)
}

// note says what was chosen or left out, and why.
func (m *sourceMove) note(what, why string) {
	if m.trace.Notes == nil {
		m.trace.Notes = map[string]string{}
	}
	m.trace.Notes[what] = why
}

// dumpRequest is the same when the dump is made ready and when it begins.
func (m *sourceMove) dumpRequest(ctx context.Context) *api.DumpRequest {
	return &api.DumpRequest{Op: m.op, Container: m.local.container.ID, BudgetMs: remaining(ctx), Lazy: m.facts.Lazy, Parent: m.parent}
}
