package orders

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/netmap"
)

// The source's half of the conversation inside the freeze.

// abortThere tells the target: in the conversation where there is one, else by a cancel. A target that is armed and
// never heard of a cut-over would wait for its reservation to lapse, and refuse every other move until then.
func (a *Agent) abortThere(ctx context.Context, m *sourceMove) error {
	if m.talk != nil {
		defer m.hangUp()
		return m.talk.Send(&api.SourceSays{Says: &api.SourceSays_Abort{Abort: "taken back by the source"}})
	}
	if err := a.dialPeer(m); err != nil {
		return err
	}
	_, err := api.NewPeerClient(m.conn).Cancel(ctx, &api.OpRef{Op: m.op})
	return err
}

// switchOver opens the conversation of the cut-over; packets for the address arrive at the target from now on.
func (a *Agent) switchOver(ctx context.Context, m *sourceMove) error {
	life, cancel := context.WithCancel(a.life)
	defer context.AfterFunc(ctx, cancel)()
	talk, err := api.NewPeerClient(m.conn).Cutover(life)
	if err != nil {
		cancel()
		return err
	}
	m.talk, m.close = talk, cancel
	m.out.phase("switch", "%s is announced by %s", bareAddress(m.local.spec.Address), m.order.To)
	if err := talk.Send(&api.SourceSays{Says: &api.SourceSays_Switch{Switch: &api.Switch{Op: m.op}}}); err != nil {
		return m.said(err)
	}
	says, err := m.listen()
	if err == nil && says.GetSwitched() == nil {
		err = fmt.Errorf("expected switched, got %T", says.Says)
	}
	return err
}

func (a *Agent) sendDelta(ctx context.Context, m *sourceMove) error {
	names := []string{}
	for _, v := range m.local.spec.Volumes {
		names = append(names, v.Name)
	}
	if m.mode == netmap.Live { // the files the processes have open; cold starts from the image, as a pod does
		names = append(names, "")
	}
	for _, name := range names {
		root := m.local.container.Upper
		if name != "" {
			root = a.volumePath(m.local.id, name)
		}
		stream, err := a.helper.ReadTree(ctx, &api.TreeRequest{Op: m.op, Name: name, Root: root, Delta: true})
		if err != nil {
			return err
		}
		w := m.section("delta/" + name)
		n, err := io.Copy(w, chunk.Reader(func() ([]byte, error) {
			c, err := stream.Recv()
			return c.GetData(), err
		}))
		if err != nil {
			return m.said(err)
		}
		m.trace.DeltaBytes += n
		if err := m.endSection(w); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) restoreThere(m *sourceMove) error {
	if err := m.talk.Send(&api.SourceSays{Says: &api.SourceSays_Restore{Restore: &api.Restore{}}}); err != nil {
		return m.said(err)
	}
	says, err := m.listen()
	if err != nil {
		return err
	}
	r := says.GetRestored()
	if r == nil {
		return fmt.Errorf("expected restored, got %T", says.Says)
	}
	m.out.phase("restore", "%.1f ms, pid %d on %s", r.TookMs, r.Pid, m.order.To)
	return nil
}

func (a *Agent) commitThere(m *sourceMove) error {
	m.out.phase("commit", "the journal says so")
	if err := m.talk.Send(&api.SourceSays{Says: &api.SourceSays_Commit{Commit: &api.Empty{}}}); err != nil {
		return m.said(err)
	}
	says, err := m.listen()
	if err != nil {
		return err
	}
	r := says.GetReleased()
	if r == nil {
		return fmt.Errorf("expected released, got %T", says.Says)
	}
	m.trace.PacketsHeld, m.trace.Criu = r.PacketsHeld, r.Criu
	m.trace.SwitchToReleaseMs = r.HeldMs
	m.out.expect(0)
	m.out.phase("release", "%d packets held for %.1f ms", r.PacketsHeld, m.trace.SwitchToReleaseMs)
	m.instance = r.Instance
	m.hangUp()
	return nil
}

// section begins a section of the conversation.
func (m *sourceMove) section(name string) *bufio.Writer {
	first := true
	m.sum = newSum()
	return chunk.Writer(func(b []byte) error {
		m.sum.Write(b)
		part := &api.Part{Data: b}
		if first {
			part.Section, first = name, false
		}
		return m.talk.Send(&api.SourceSays{Says: &api.SourceSays_Part{Part: part}})
	})
}

func (m *sourceMove) endSection(w *bufio.Writer) error {
	if err := w.Flush(); err != nil {
		return m.said(err)
	}
	return m.said(m.talk.Send(&api.SourceSays{Says: &api.SourceSays_Part{Part: &api.Part{End: true, Sum: m.sum.Sum(nil)}}}))
}

// listen waits for the target's next word; `failed` is an error.
func (m *sourceMove) listen() (*api.TargetSays, error) {
	says, err := m.talk.Recv()
	if err != nil {
		return nil, err
	}
	if f, ok := says.Says.(*api.TargetSays_Failed); ok {
		return nil, errors.New(f.Failed)
	}
	return says, nil
}

// said explains a failed Send: the target's own words say more than "EOF".
func (m *sourceMove) said(err error) error {
	if err == nil || !errors.Is(err, io.EOF) {
		return err
	}
	if _, why := m.listen(); why != nil {
		return why
	}
	return err
}

func (m *sourceMove) hangUp() {
	if m.close != nil {
		m.close()
		m.talk, m.close = nil, nil
	}
}
