package orders

import (
	"context"
	"errors"
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

func (a *Agent) sendVolumes(ctx context.Context, m *sourceMove) error {
	for _, v := range m.local.spec.Volumes {
		m.out.phase("volumes", "%s to %s", v.Name, m.order.To)
		stream, err := a.helper.ReadTree(ctx, &api.TreeRequest{Op: m.op, Name: v.Name, Root: a.volumePath(m.local.id, v.Name)})
		if err != nil {
			return err
		}
		n, err := a.push(ctx, m, "volume/"+v.Name, chunk.Reader(func() ([]byte, error) {
			c, err := stream.Recv()
			return c.GetData(), err
		}))
		if err != nil {
			return err
		}
		m.trace.VolumeBytes += n
	}
	return nil
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
	n, err := io.Copy(w, r)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = stream.Send(&api.Part{End: true})
	}
	reply, cerr := stream.CloseAndRecv()
	if err != nil && !errors.Is(err, io.EOF) { // what could not be read here; the target only saw the stream end
		return 0, fmt.Errorf("%s: %w", section, err)
	}
	if cerr != nil { // the target's own words say more than a broken Send
		return 0, fmt.Errorf("%s: %w", section, cerr)
	}
	if reply.Bytes != n {
		return 0, fmt.Errorf("%s: sent %d bytes, %s took %d", section, n, m.order.To, reply.Bytes)
	}
	return n, nil
}
