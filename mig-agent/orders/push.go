package orders

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/lane"
)

// What the source sends before the freeze.

// sendImage sends the layers that the target lacks, or all where that does not satisfy its Docker.
func (a *Agent) sendImage(ctx context.Context, m *sourceMove) error {
	if m.trace.ImageBytes < 0 {
		m.trace.ImageBytes = 0
		m.out.phase("image", "%s has it", m.order.To)
		return nil
	}
	layers, err := a.docker.Layers(ctx, m.local.spec.ImageId)
	if err != nil {
		return err
	}
	present := engine.Present(layers, m.chains)
	m.out.phase("image", "%s to %s, which has %d of %d layers", m.local.spec.Image, m.order.To, len(present), len(layers))
	err = a.sendArchive(ctx, m, present)
	if err != nil && len(present) > 0 && !broken(err) {
		a.log.Warn("image without the layers that are there", "op", m.op, "err", err)
		err = a.sendArchive(ctx, m, nil)
	}
	return err
}

func (a *Agent) sendArchive(ctx context.Context, m *sourceMove, present map[string]bool) error {
	return a.persist(ctx, m, "image", func(bool) error {
		archive, err := a.docker.SaveImage(ctx, m.local.spec.ImageId, m.local.spec.Image)
		if err != nil {
			return err
		}
		defer archive.Close()
		r := engine.Trim(archive, present)
		defer r.Close()
		m.trace.ImageBytes, err = a.push(ctx, m, "image", r)
		return err
	})
}

// A link that breaks before the cut-over harms nobody, so it gets time to come back: 8 tries within some 18 s, and what it
// takes to notice each time.
const (
	linkTries = 8
	linkFirst = 250 * time.Millisecond
	linkMost  = 5 * time.Second
)

// persist sends again what did not arrive whole.
func (a *Agent) persist(ctx context.Context, m *sourceMove, what string, send func(again bool) error) error {
	wait := linkFirst
	for try := 1; ; try++ {
		err := send(try > 1)
		if err == nil || !broken(err) || try == linkTries {
			return err
		}
		a.log.Warn("sending broke off", "op", m.op, "section", what, "try", try, "err", err)
		m.out.phase(what, "broke off, again in %v", wait)
		pause(ctx, wait)
		if ctx.Err() != nil {
			return err
		}
		wait = min(2*wait, linkMost)
	}
}

// broken says that what was sent did not arrive, or not as it was; nobody has refused anything.
func broken(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DataLoss
}

// push sends one section before the cut-over.
func (a *Agent) push(ctx context.Context, m *sourceMove, section string, r io.Reader) (int64, error) {
	r = m.progress(section, r)
	stream, err := api.NewPeerClient(m.conn).Push(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&api.Part{Op: m.op, Section: section}); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	pace, sum := a.paceOf(m), sha256.New()
	w := chunk.Writer(func(b []byte) error {
		if err := pace.Wait(ctx, len(b)); err != nil {
			return err
		}
		sum.Write(b)
		return stream.Send(&api.Part{Data: b})
	})
	from := &source{r: r}
	n, err := io.Copy(w, from)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = stream.Send(&api.Part{End: true, Sha256: sum.Sum(nil)})
	}
	reply, cerr := stream.CloseAndRecv()
	switch {
	case from.err != nil: // ours; the target only sees that no more comes
		err = from.err
	case cerr != nil: // the target's own words say more than a broken Send
		err = cerr
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", section, err)
	}
	if reply.Bytes != n {
		return 0, fmt.Errorf("%s: sent %d bytes, %s took %d", section, n, m.order.To, reply.Bytes)
	}
	return n, nil
}

// paceOf is the move's own where its order gives a bandwidth, else the one of all moves away from this node.
func (a *Agent) paceOf(m *sourceMove) *lane.Pacer {
	if bps := m.order.GetOptions().GetBandwidthBps(); bps > 0 {
		m.pace.Set(bps)
		return &m.pace
	}
	return &a.pace
}

// source remembers why reading ended, if it did not end well.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
