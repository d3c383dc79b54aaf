package orders

import (
	"context"
	"fmt"
	"io"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
)

// What the source sends before the freeze.

func (a *Agent) sendImage(ctx context.Context, m *sourceMove) error {
	if m.trace.ImageBytes < 0 {
		m.trace.ImageBytes = 0
		m.out.phase("image", "%s has it", m.order.To)
		return nil
	}
	m.out.phase("image", "%s to %s", m.local.spec.Image, m.order.To)
	r, err := a.docker.SaveImage(ctx, m.local.spec.ImageId, m.local.spec.Image)
	if err != nil {
		return err
	}
	defer r.Close()
	m.trace.ImageBytes, err = a.push(ctx, m, "image", r)
	return err
}

// push sends one section before the cut-over.
func (a *Agent) push(ctx context.Context, m *sourceMove, section string, r io.Reader) (int64, error) {
	stream, err := api.NewPeerClient(m.conn).Push(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&api.Part{Op: m.op, Section: section}); err != nil {
		return 0, err
	}
	w := chunk.Writer(func(b []byte) error { return stream.Send(&api.Part{Data: b}) })
	from := &source{r: r}
	n, err := io.Copy(w, from)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = stream.Send(&api.Part{End: true})
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
