package helper

import (
	"context"
	"net/netip"
	"slices"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/address"
)

// watch looks for rivals of one holder.
type watch struct {
	holder *api.HolderConfig
	stop   context.CancelFunc
}

// watchRivals watches the holders that own their addresses, and no others: until a move is over, its target must not ask
// for an address that is being served elsewhere.
func (s *Server) watchRivals(holders []*api.HolderConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, w := range s.watches {
		same := func(h *api.HolderConfig) bool {
			return h.Name == name && !h.Quiet && h.Pid == w.holder.Pid && h.Address == w.holder.Address &&
				slices.Equal(h.MoreAddresses, w.holder.MoreAddresses)
		}
		if !slices.ContainsFunc(holders, same) {
			w.stop()
			delete(s.watches, name)
		}
	}
	for _, h := range holders {
		if h.Quiet || s.watches[h.Name] != nil {
			continue
		}
		prefixes, err := prefixesOf("holders.address", append([]string{h.Address}, h.MoreAddresses...))
		if err != nil {
			continue // Set has refused it
		}
		ctx, stop := context.WithCancel(s.life)
		w := &watch{h, stop}
		s.watches[h.Name] = w
		go func() {
			defer stop()
			addrs := make([]netip.Addr, len(prefixes))
			for i, p := range prefixes {
				addrs[i] = p.Addr()
			}
			err := address.WatchRivals(ctx, netns(h.Pid), addrs, func(r address.Rival) {
				select {
				case s.rivals <- &api.Rival{Pid: h.Pid, Address: r.Address.String(), Mac: r.MAC}:
				default: // nobody listens; it will be heard again
				}
			})
			if ctx.Err() != nil {
				return
			}
			s.log.Warn("rivals are not watched for until the segment is set again", "holder", h.Name, "err", err)
			s.mu.Lock()
			if s.watches[h.Name] == w {
				delete(s.watches, h.Name)
			}
			s.mu.Unlock()
		}()
	}
}

// Rivals implements api.HelperServer.
func (s *Server) Rivals(_ *api.Empty, stream grpc.ServerStreamingServer[api.Rival]) error {
	for {
		select {
		case r := <-s.rivals:
			if err := stream.Send(r); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}
