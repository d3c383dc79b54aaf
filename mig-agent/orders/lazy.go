package orders

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
)

// Lazy moves: the memory follows after the commit (package pages). Until the target has all of it, the frozen source is
// kept; when it cannot come any more, the target ends the container and says so. The source never thaws: clients have
// seen answers that are newer than its copy.

// pagesGone is why memory that was to follow cannot come any more.
type pagesGone string

func (e pagesGone) Error() string { return string(e) }

// pagesLook is how often it is looked at.
const pagesLook = 20 * time.Millisecond

// needs refuses what the options of a live move need and this node cannot do.
func (a *Agent) needs(ctx context.Context, m *sourceMove) error {
	if !m.facts.Lazy {
		return a.choosePrecopy(ctx, m)
	}
	m.note("lazy", "memory follows after the switch; until the last page is there, loss of either node or of the link loses the service")
	if _, err := a.helper.Feature(ctx, &api.FeatureRequest{Name: engine.FeatureLazy}); err != nil {
		return refused("lazy is not possible on %s: %s", a.cfg.Node, status.Convert(err).Message())
	}
	return nil
}

// canPage says the same of the target.
func (a *Agent) canPage(ctx context.Context) error {
	if _, err := a.helper.Feature(ctx, &api.FeatureRequest{Name: engine.FeatureLazy}); err != nil {
		return status.Errorf(codes.FailedPrecondition, "lazy is not possible on %s: %s", a.cfg.Node, status.Convert(err).Message())
	}
	return nil
}

// pagingFrom is the node from which a replica's memory still comes, "" when all is here. The caller holds mu.
func (a *Agent) pagingFrom(l *local) string {
	for _, m := range a.targets {
		if m.local == l && m.facts.Lazy {
			return m.facts.Peer
		}
	}
	return ""
}

// awaitPages asks the target until its memory is there. A target that is away is asked again: it may come back, or
// somebody decides that it will not.
func (a *Agent) awaitPages(ctx context.Context, m *sourceMove) error {
	m.out.phase("pages", "memory follows to %s; this node must not be lost", m.facts.Peer)
	for {
		reply, err := a.asker.Ask(ctx, m.op, m.facts.Peer, m.facts.PeerAgent, m.facts.PeerHelper)
		switch {
		case err != nil:
			return err
		case reply.Outcome == api.Outcome_UNKNOWN:
			return pagesGone(fmt.Sprintf("%s does not know the move any more", m.facts.Peer))
		case journal.Step(reply.Step) == journal.Done && reply.Error != "":
			return pagesGone(reply.Error)
		case journal.Step(reply.Step) == journal.Done:
			return nil
		}
		pause(ctx, pagesLook)
		if ctx.Err() != nil {
			return fmt.Errorf("memory still follows to %s", m.facts.Peer)
		}
	}
}

// awaitPagesHere waits until the memory of a restored replica is here. Where it cannot come any more the container has
// been ended, or is: its missing pages would be taken for empty ones.
func (a *Agent) awaitPagesHere(ctx context.Context, m *targetMove) error {
	host := engine.Host{Dir: a.cfg.Dir}
	for {
		// The lock first: who writes the result gives it up afterwards.
		lock, locked := host.LockPages(m.op)
		paged, ended, err := host.ReadPaged(m.op)
		if locked == nil {
			lock.Close()
		}
		switch {
		case err != nil:
			return err
		case ended && paged.Error == "":
			return nil
		case ended:
			return a.lostPages(m, paged.Error)
		case locked == nil: // its daemon has ended with it
			if _, err := a.helper.Kill(ctx, &api.ContainerRef{Id: m.local.container.ID}); err != nil {
				return err
			}
			return a.lostPages(m, "whoever fetched it was killed")
		case !errors.Is(locked, syscall.EWOULDBLOCK):
			return locked
		}
		pause(ctx, pagesLook)
		if ctx.Err() != nil {
			return errors.New("memory still comes")
		}
	}
}

// lostPages says that a replica is not what it was. Its container has ended, and is started anew as any that ends.
func (a *Agent) lostPages(m *targetMove, why string) error {
	a.log.Error("memory of a lazy move is lost; the replica begins anew from its volumes", "op", m.op,
		"service", m.local.id.Service, "replica", m.local.id.Replica, "peer", m.facts.Peer, "err", why)
	gone := pagesGone("memory that was to follow is lost: " + why)
	a.mu.Lock()
	m.local.lost = fmt.Sprintf("%s; it began anew from its volumes at %s", gone, time.Now().UTC().Format(time.RFC3339))
	row := a.row(m.local)
	a.mu.Unlock()
	a.rows.put(row)
	return gone
}
