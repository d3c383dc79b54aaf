package orders

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/netmap"
)

// What the target takes in: image, volumes, layer, checkpoint, deltas.

// Push implements api.PeerServer.
func (a *Agent) Push(stream api.Peer_PushServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	m, err := a.target(stream.Context(), first.Op)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// What a running service goes on changing goes on coming until the cut-over, which holds m.mu.
	is := m.machine.State()
	if late := m.mode == netmap.Live && first.Section != "image"; is != netmap.Migrating && (is != netmap.Ready || !late) {
		return status.Errorf(codes.FailedPrecondition, "section %s: the target is %s", first.Section, is)
	}
	var n int64
	r := &countingReader{n: &n, r: chunk.Reader(sectionReader(first, verified(stream.Recv), nil, &m.touched))}
	switch volume, isVolume := strings.CutPrefix(first.Section, "volume/"); {
	case first.Section == "image":
		var img engine.Image
		if img, err = a.docker.LoadImage(stream.Context(), r); err == nil && img.ID != m.image {
			err = fmt.Errorf("got image %s, the replica needs %s", img.ID, m.image)
		}
	case strings.HasPrefix(first.Section, roundSection):
		err = a.takeRound(m, first.Section, r)
	case isVolume && a.hasVolume(m, volume):
		err = a.applyTree(stream.Context(), a.volumePath(m.local.id, volume), false, r)
	case first.Section == "layer" && m.mode == netmap.Live:
		err = a.applyTree(stream.Context(), m.local.container.Merged, true, r)
	default:
		return status.Errorf(codes.InvalidArgument, "section: %q", first.Section)
	}
	if err != nil {
		code := codes.Internal
		if errors.Is(err, errDamaged) {
			code = codes.DataLoss
		}
		return status.Errorf(code, "%s: %v", first.Section, err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // to the end mark
		return err
	}
	m.pushed[first.Section] = true
	return stream.SendAndClose(&api.PushReply{Bytes: n})
}

// errDamaged says that a section is not what was sent; the source sends it again.
var errDamaged = status.Error(codes.DataLoss, "the checksum does not fit what came")

// verified passes on the parts that follow the first of a section, and fails instead of its end when the checksum there, which
// a source of API level 3 sends, is another one. Inside the freeze there is no time for it: TLS has to do.
func verified(recv func() (*api.Part, error)) func() (*api.Part, error) {
	sum := sha256.New()
	return func() (*api.Part, error) {
		part, err := recv()
		if err != nil {
			return nil, err
		}
		sum.Write(part.Data)
		if part.End && len(part.Sha256) > 0 && !bytes.Equal(sum.Sum(nil), part.Sha256) {
			return nil, errDamaged
		}
		return part, nil
	}
}

// sectionReader reads the parts of one section up to its end mark, where their sum must fit; nil: there is none.
func sectionReader(first *api.Part, recv func() (*api.Part, error), sum hash.Hash, touched *time.Time) func() ([]byte, error) {
	part, over := first, false
	return func() ([]byte, error) {
		if over {
			return nil, io.EOF
		}
		if part == nil {
			var err error
			if part, err = recv(); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return nil, err
			}
		}
		*touched = time.Now()
		data := part.Data
		if sum != nil {
			sum.Write(data)
		}
		if over = part.End; over {
			if err := checkSum(sum, part.Sum); err != nil {
				return nil, err
			}
		}
		part = nil
		return data, nil
	}
}

func (a *Agent) hasVolume(m *targetMove, name string) bool {
	for _, v := range m.local.spec.Volumes {
		if v.Name == name {
			return true
		}
	}
	return false
}

// applyTree gives a tree stream to the helper.
func (a *Agent) applyTree(ctx context.Context, root string, layer bool, r io.Reader) error {
	if !layer {
		if err := os.MkdirAll(root, 0o755); err != nil {
			return err
		}
	}
	stream, err := a.helper.WriteTree(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&api.TreePart{Root: root, Layer: layer}); err != nil {
		return err
	}
	w := chunk.Writer(func(b []byte) error { return stream.Send(&api.TreePart{Data: b}) })
	_, err = io.Copy(w, r)
	if err == nil {
		err = w.Flush()
	}
	_, cerr := stream.CloseAndRecv()
	if cerr != nil && (err == nil || errors.Is(err, io.EOF)) {
		return cerr
	}
	return err
}

// cutoverSection takes the checkpoint or one delta. What comes by the lane is taken beside it (joinLane).
func (a *Agent) cutoverSection(m *targetMove, first *api.Part, stream api.Peer_CutoverServer, send func(*api.TargetSays) error) error {
	r := chunk.Reader(sectionReader(first, func() (*api.Part, error) {
		says, err := stream.Recv()
		if err == nil && says.GetPart() == nil {
			err = fmt.Errorf("expected a part of %s, got %T", first.Section, says.Says)
		}
		return says.GetPart(), err
	}, newSum(), &m.touched))
	err := func() error {
		switch first.Section {
		case checkpointSection:
			return a.takeCheckpoint(m, r)
		case laneSection:
			return a.takeByLane(m, send)
		}
		name, ok := strings.CutPrefix(first.Section, "delta/")
		if ok && name == "" {
			return a.applyTree(stream.Context(), m.local.container.Merged, true, r)
		}
		if !ok || !a.hasVolume(m, name) {
			return fmt.Errorf("section: %q", first.Section)
		}
		return a.applyTree(stream.Context(), a.volumePath(m.local.id, name), false, r)
	}()
	// To the end mark, also of a section that failed: that it was damaged says more than what came of it.
	if _, rest := io.Copy(io.Discard, r); err == nil || errors.Is(rest, errDamaged) {
		err = rest
	}
	if err != nil {
		return fmt.Errorf("%s: %w", first.Section, err)
	}
	return nil
}

type countingReader struct {
	r io.Reader
	n *int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}
