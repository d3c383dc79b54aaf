package serve

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/images"
	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/netmap"
)

// What managers are to each other: who leads, who votes, and the images, which each has for itself.

const (
	joinLimit   = time.Minute // until a manager that is added has caught up
	imagesEvery = 5 * time.Second
	imageLimit  = 10 * time.Minute // of one, over a slow link
	imageChunk  = 256 << 10
)

// Managers implements api.ManagerServer.
func (s *server) Managers(context.Context, *api.Empty) (*api.ManagerList, error) {
	return s.managers(), nil
}

func (s *server) managers() *api.ManagerList {
	now := s.log.Status()
	_, _, err := s.m.Lead()
	list := &api.ManagerList{
		Self:      &api.ManagerView{Node: s.self.Node, Addr: s.self.Serves, Journal: s.self.Addr, Life: now.Life, Leads: err == nil},
		LastIndex: now.Last, AppliedIndex: now.Applied, SinceUnixMs: now.Since.UnixMilli(), Version: daemon.Version(),
	}
	for _, m := range now.Members {
		view := &api.ManagerView{Node: m.Node, Addr: m.Serves, Journal: m.Addr, Life: m.Life, Voter: m.Voter, Leads: m.Node == now.Leader}
		if m.Node == s.self.Node {
			list.Self.Voter = m.Voter
		}
		list.Managers = append(list.Managers, view)
	}
	slices.SortFunc(list.Managers, func(a, b *api.ManagerView) int { return cmp.Compare(a.Node, b.Node) })
	s.m.View(func(state *orders.State) {
		list.Cluster, list.Anew, list.As, list.Epoch = state.Cluster.ID, state.Cluster.Anew, state.Cluster.AS, state.Epoch
	})
	return list
}

// JoinManager implements api.ManagerServer.
func (s *server) JoinManager(ctx context.Context, ref *api.ManagerRef) (*api.ManagerList, error) {
	if ref.Node == "" {
		return nil, status.Error(codes.InvalidArgument, "node: missing")
	}
	at := managers.At{Node: ref.Node, Addr: ref.Addr}
	if at.Addr == "" {
		s.m.View(func(state *orders.State) {
			if node, ok := state.Members[ref.Node]; ok {
				at.Addr = net.JoinHostPort(node.Address, strconv.Itoa(netmap.ManagerPort))
			}
		})
	}
	if at.Addr == "" {
		return nil, status.Errorf(codes.InvalidArgument, "addr: missing, and no agent of %s has told where it is", ref.Node)
	}
	if _, _, err := net.SplitHostPort(at.Addr); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "addr: %q: want host:port", at.Addr)
	}
	ours := s.managers()
	told, err := s.peers.Ask(ctx, at)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "manager of %s at %s does not answer: %s", at.Node, at.Addr, status.Convert(err).Message())
	}
	if told.Cluster != "" && told.Cluster != ours.Cluster {
		return nil, status.Errorf(codes.FailedPrecondition, "the manager on %s belongs to another cluster, %s: remove its journal and start it with manager_join", at.Node, told.Cluster)
	}
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	err = s.log.Add(ctx, journal.Member{Node: at.Node, Addr: told.Self.GetJournal(), Serves: at.Addr, Life: told.Self.GetLife()}, func(ctx context.Context) (uint64, error) {
		now, err := s.peers.Ask(ctx, at)
		return now.GetAppliedIndex(), err
	})
	return s.changed("a manager is added", at.Node, err)
}

// RemoveManager implements api.ManagerServer.
func (s *server) RemoveManager(_ context.Context, ref *api.ManagerRef) (*api.ManagerList, error) {
	if ref.Node == "" {
		return nil, status.Error(codes.InvalidArgument, "node: missing")
	}
	return s.changed("a manager is removed", ref.Node, s.log.Remove(ref.Node))
}

// TransferLead implements api.ManagerServer.
func (s *server) TransferLead(_ context.Context, ref *api.ManagerRef) (*api.ManagerList, error) {
	return s.changed("another manager is to lead", ref.Node, s.log.Transfer(ref.Node))
}

// changed is the answer to an order that changes who the managers are.
func (s *server) changed(what, node string, err error) (*api.ManagerList, error) {
	switch {
	case errors.Is(err, journal.ErrDeposed):
		return nil, s.m.NotLeading()
	case errors.Is(err, journal.ErrUnknown):
		return nil, status.Errorf(codes.NotFound, "node: %s has no manager of this cluster", node)
	case err != nil:
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	slog.Info(what, "peer", node)
	return s.managers(), nil
}

// FetchImage implements api.ManagerServer.
func (s *server) FetchImage(ref *api.ImageRef, stream grpc.ServerStreamingServer[api.Chunk]) error {
	if !images.ValidID(ref.Id) {
		return status.Errorf(codes.InvalidArgument, "id: %q is no image's", ref.Id)
	}
	tar, err := s.images.Open(ref.Id)
	if err != nil {
		return status.Errorf(codes.NotFound, "the manager on %s does not have %s", s.self.Node, ref.Id)
	}
	defer tar.Close()
	buffer := make([]byte, imageChunk)
	for {
		n, err := io.ReadFull(tar, buffer)
		if n > 0 {
			if err := stream.Send(&api.Chunk{Data: buffer[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return status.Error(codes.Internal, err.Error())
		}
	}
}

// followImages keeps here what the journal says of images, so that this manager can deploy when it leads.
func (s *server) followImages(ctx context.Context) {
	again := time.NewTicker(imagesEvery)
	defer again.Stop()
	said := ""
	for {
		changed := s.m.Changed()
		if !s.leads() {
			err := s.fetchImages(ctx)
			if err != nil && ctx.Err() == nil && err.Error() != said {
				slog.Warn("an image is not here yet", "err", err)
				said = err.Error()
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select { // not with every record
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) fetchImages(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	used := s.m.UsedImages()
	if len(used) == 0 {
		return nil
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(used)) {
		if tar, err := s.images.Open(id); err == nil {
			tar.Close()
			continue
		}
		errs = append(errs, s.fetch(ctx, id))
	}
	if !s.leads() { // it drops them itself
		errs = append(errs, s.images.Keep(func(id string) bool { return used[id] }))
	}
	return errors.Join(errs...)
}

// fetch takes an image from the first of the other managers that has it.
func (s *server) fetch(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, imageLimit)
	defer cancel()
	var errs []error
	for _, m := range s.log.Status().Members {
		if m.Node == s.self.Node {
			continue
		}
		conn, err := s.peers.To(managers.At{Node: m.Node, Addr: m.Serves})
		if err == nil {
			var stream grpc.ServerStreamingClient[api.Chunk]
			if stream, err = api.NewManagerClient(conn).FetchImage(ctx, &api.ImageRef{Id: id}); err == nil {
				_, err = s.images.Add(&chunkReader{stream: stream})
			}
		}
		if err == nil {
			slog.Info("image fetched", "image", id, "peer", m.Node)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
