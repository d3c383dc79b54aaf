package orders

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/memory"
)

// Tracked pre-copy: where the kernel tells which pages were written, CRIU itself makes the rounds. Each is an image that
// builds on the one before, and so does the last, written inside the freeze:
//
//	source, then target:  pre/1 <-parent- pre/2 <-parent- ... <-parent- image

// roundSection begins the names of the sections in which rounds come.
const roundSection = "pre/"

// choosePrecopy decides how memory goes ahead of the freeze, and says why.
func (a *Agent) choosePrecopy(ctx context.Context, m *sourceMove) error {
	ordered := m.order.GetOptions().GetPrecopy()
	if ordered != api.Precopy_PRECOPY_AUTO && ordered != api.Precopy_PRECOPY_TRACKED {
		return nil
	}
	_, err := a.helper.Feature(ctx, &api.FeatureRequest{Name: engine.FeatureTracking})
	m.tracked = err == nil
	switch why := status.Convert(err).Message(); {
	case err == nil:
	case ordered == api.Precopy_PRECOPY_TRACKED:
		return refused("precopy: tracked is not possible on %s: %s", a.cfg.Node, why)
	default:
		m.note("tracked", "memory is compared by content: "+why)
	}
	return nil
}

// trackedRound has CRIU write what changed since the round before, and sends it.
func (a *Agent) trackedRound(ctx context.Context, m *sourceMove) (sent int64, err error) {
	round := int(m.parent) + 1
	req := &api.PreDumpRequest{Op: m.op, Container: m.local.container.ID, Round: int32(round)}
	if round == 1 && m.order.GetOptions().GetPrecopy() == api.Precopy_PRECOPY_AUTO {
		req.LeastBytes = precopyLeast
	}
	began := time.Now()
	reply, err := a.helper.PreDump(ctx, req)
	if err != nil {
		return 0, err
	}
	if reply.Skipped {
		m.note("precopy", fmt.Sprintf("%d KiB of memory are not worth it", reply.MemoryBytes>>10))
		return 0, nil
	}
	m.out.phase(memorySection, "tracked round %d to %s", round, m.order.To)
	image := readImage(ctx, (engine.Host{Dir: a.cfg.Dir}).RoundFolder(m.op, round))
	defer image.Close()
	if _, err := a.push(ctx, m, roundSection+strconv.Itoa(round), image); err != nil {
		return 0, err
	}
	m.trace.Rounds = append(m.trace.Rounds, &api.Round{What: "tracked", Bytes: reply.Bytes, TookMs: milliseconds(time.Since(began))})
	m.parent = int32(round)
	return reply.Bytes, nil
}

// readImage streams an image that is complete.
func readImage(ctx context.Context, folder string) io.ReadCloser {
	r, w := io.Pipe()
	complete := make(chan struct{})
	close(complete)
	go func() {
		_, err := memory.WriteCheckpoint(ctx, bufio.NewWriter(w), folder, nil, complete)
		w.CloseWithError(err)
	}()
	return r
}

// takeRound takes one round at the target. Each builds on the one before.
func (a *Agent) takeRound(m *targetMove, section string, r io.Reader) error {
	round := m.rounds + 1
	if section != roundSection+strconv.Itoa(round) || round > roundsMost {
		return fmt.Errorf("round %d was to come, of %d at the most", round, roundsMost)
	}
	host := engine.Host{Dir: a.cfg.Dir}
	folder := host.RoundFolder(m.op, round)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	pools := memory.NewPools(host.MemoryFolder(m.op), 0) // it has nothing else that it could refer to
	if err := pools.ReadCheckpoint(r, folder); err != nil {
		return err
	}
	if round > 1 {
		if err := host.LinkRound(m.op, folder, round-1); err != nil {
			return err
		}
	}
	m.rounds = round
	return nil
}
