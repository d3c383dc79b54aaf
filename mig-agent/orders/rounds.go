package orders

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/chunk"
	"sonic-netservices/netmap"
)

// Data that goes ahead while the service still changes it: in bulk, then in rounds, each what changed during the one
// before. What is left for the cut-over is what changed during the last round.

// mostRounds bounds the rounds of a move that need not become warm: a service that writes as fast as we send would keep
// us here for ever.
const mostRounds = 4

// Between rounds the service gets time to be quiet: at first this long, doubled each time.
const (
	roundPause = 50 * time.Millisecond
	pauseMost  = time.Second
)

func (a *Agent) sendVolumes(ctx context.Context, m *sourceMove) error {
	for _, v := range m.local.spec.Volumes {
		m.out.phase("volumes", "%s to %s", v.Name, m.order.To)
		if _, err := a.sendVolume(ctx, m, v.Name, false); err != nil {
			return err
		}
	}
	return nil
}

// sendRounds ends when a round was small. For warm the service's warm-up rule says what is small and how long it may
// take; the other modes go on without when rounds do not get smaller.
func (a *Agent) sendRounds(ctx context.Context, m *sourceMove) error {
	small, limit := warmUpOf(m.local.spec)
	began, before := time.Now(), int64(0)
	for n, wait := 1, roundPause; ; n, wait = n+1, min(2*wait, pauseMost) {
		sum := int64(0)
		for _, v := range m.local.spec.Volumes {
			bytes, err := a.sendVolume(ctx, m, v.Name, true)
			if err != nil {
				return err
			}
			sum += bytes
		}
		m.out.phase("round", "%d: %d bytes had changed", n, sum)
		switch {
		case sum <= small:
			return nil
		case m.mode == netmap.Warm && time.Since(began) > limit:
			return fmt.Errorf("not warm after %v: %d bytes had changed during the last of %d rounds, warm_up.delta is %d", limit, sum, n, small)
		case m.mode != netmap.Warm && (n == mostRounds || n > 1 && sum > before/2):
			return nil
		}
		before = sum
		pause(ctx, wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// pieceBytes is how much a broken link costs at the most.
const pieceBytes = 64 << 20

// sendVolume sends a volume, or what changed in it since it was sent last.
func (a *Agent) sendVolume(ctx context.Context, m *sourceMove, name string, delta bool) (int64, error) {
	n, err := a.sendPieces(ctx, m, "volume/"+name, &api.TreeRequest{Name: name, Root: a.volumePath(m.local.id, name), Delta: delta})
	m.trace.VolumeBytes += n
	return n, err
}

// sendLayer sends the writable layer to the armed container, so that inside the freeze only what changes from here on
// is left.
func (a *Agent) sendLayer(ctx context.Context, m *sourceMove) error {
	_, err := a.sendPieces(ctx, m, "layer", &api.TreeRequest{Root: m.local.container.Upper, Delta: true})
	return err
}

// sendPieces sends a tree piece by piece. Of a piece that does not arrive the helper knows what is certain, and sends the
// rest again; a helper that was restarted knows nothing, and sends all.
func (a *Agent) sendPieces(ctx context.Context, m *sourceMove, section string, req *api.TreeRequest) (sum int64, err error) {
	req.Op, req.More, req.Piece = m.op, true, pieceBytes
	for cut := true; cut; req.Delta = true {
		err := a.persist(ctx, m, section, func(again bool) (err error) {
			req.Lost = again
			var n int64
			n, cut, err = a.sendTree(ctx, m, section, req)
			if req.Delta && status.Code(err) == codes.FailedPrecondition {
				req.Delta = false
				n, cut, err = a.sendTree(ctx, m, section, req)
			}
			sum += n
			return err
		})
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (a *Agent) sendTree(ctx context.Context, m *sourceMove, section string, req *api.TreeRequest) (n int64, cut bool, err error) {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx) // ends a reading whose sending broke off
	defer cancel()
	stream, err := a.helper.ReadTree(ctx, req)
	if err != nil {
		return 0, false, err
	}
	n, err = a.push(ctx, m, section, chunk.Reader(func() ([]byte, error) {
		c, err := stream.Recv()
		cut = cut || c.GetCut()
		return c.GetData(), err
	}))
	if err == nil && m.mode != netmap.Live { // there the rounds are those of memory
		m.trace.Rounds = append(m.trace.Rounds, &api.Round{What: section, Bytes: n, TookMs: milliseconds(time.Since(began))})
	}
	return n, cut, err
}
