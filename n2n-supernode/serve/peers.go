package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	resolveEvery = 300 * time.Second // names may come to mean other addresses
	resolveAgain = 10 * time.Second  // after a name that could not be resolved
)

// hostPort is a supernode as people write it.
type hostPort struct {
	host string
	port uint16
}

// splitPeers reads host:port,...
func splitPeers(list string) (peers []hostPort, err error) {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		host, port, err := net.SplitHostPort(one)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || host == "" {
			return nil, fmt.Errorf("%q: want host:port", one)
		}
		peers = append(peers, hostPort{host, uint16(n)})
	}
	return peers, nil
}

// resolvePeers keeps the addresses of the other supernodes up to date. At boot there may be no DNS yet.
func (s *server) resolvePeers(ctx context.Context) error {
	peers, err := splitPeers(s.config.Peers)
	if err != nil {
		return err
	}
	known := map[hostPort]netip.AddrPort{} // also of a name that is not found for now
	for said := ""; ; {
		wait, text := resolveEvery, ""
		if err := resolve(ctx, peers, known); err != nil {
			wait, text = resolveAgain, err.Error()
		}
		if ctx.Err() != nil {
			return nil
		}
		if text != "" && text != said {
			slog.Warn("supernodes that are not found", "err", text)
		}
		said = text
		s.machine.SetPeers(slices.Collect(maps.Values(known)), time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// resolve writes down the addresses of those that are found, and says which are not.
func resolve(ctx context.Context, peers []hostPort, known map[hostPort]netip.AddrPort) error {
	var errs []error
	for _, p := range peers {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", p.host)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		known[p] = netip.AddrPortFrom(ips[0].Unmap(), p.port)
	}
	return errors.Join(errs...)
}
