package helper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/address"
)

// announcements is how often an address is announced, 30 ms apart: a single frame may get lost.
const announcements = 3

// SetSegment implements api.HelperServer.
func (s *Server) SetSegment(ctx context.Context, in *api.SegmentConfig) (*api.Empty, error) {
	seg := address.Segment{VNI: int(in.Vni), UDPPort: int(in.UdpPort), MTU: int(in.Mtu), Access: in.Access}
	var err error
	if seg.Local, err = netip.ParseAddr(in.Local); err != nil {
		return nil, bad("local", err)
	}
	gateways := []string{in.Gateway}
	if in.Gateway6 != "" {
		gateways = append(gateways, in.Gateway6)
	}
	if seg.Gateways, err = prefixesOf("gateway", gateways); err != nil {
		return nil, err
	}
	for _, p := range in.Peers {
		addr, err := netip.ParseAddr(p)
		if err != nil {
			return nil, bad("peers", err)
		}
		seg.Peers = append(seg.Peers, addr)
	}
	for _, h := range in.Holders {
		held := address.Holder{Name: h.Name, NetNS: netns(h.Pid)}
		if held.Addresses, err = prefixesOf("holders.address", append([]string{h.Address}, h.MoreAddresses...)); err != nil {
			return nil, err
		}
		if held.MAC, err = net.ParseMAC(h.Mac); err != nil {
			return nil, bad("holders.mac", err)
		}
		for _, p := range h.Ports {
			held.Ports = append(held.Ports, address.Port{Protocol: p.Protocol, Node: uint16(p.Node), Container: uint16(p.Container)})
		}
		if h.Quiet {
			if err := s.keepQuiet(h.Pid); err != nil {
				return nil, fail(err)
			}
		}
		seg.Holders = append(seg.Holders, held)
	}
	s.forgetOwners(in.Holders)
	err = address.Set(ctx, "", seg)
	s.watchRivals(in.Holders)
	return &api.Empty{}, fail(err)
}

// keepQuiet makes a holder silent about its address unless it was announced meanwhile: then the order to set the segment
// is the older one.
func (s *Server) keepQuiet(pid int32) error {
	s.owning.Lock()
	defer s.owning.Unlock()
	if s.owners[pid] {
		return nil
	}
	return address.Yield(netns(pid))
}

// yield makes a holder silent about its address.
func (s *Server) yield(pid int32) error {
	s.owning.Lock()
	defer s.owning.Unlock()
	delete(s.owners, pid)
	return address.Yield(netns(pid))
}

// own lets a holder answer for its addresses, and announces them once.
func (s *Server) own(pid int32, addrs []netip.Addr) error {
	s.owning.Lock()
	defer s.owning.Unlock()
	s.owners[pid] = true
	return address.Own(netns(pid), addrs...)
}

// forgetOwners drops holders that are gone: another one may get their pid.
func (s *Server) forgetOwners(holders []*api.HolderConfig) {
	s.owning.Lock()
	defer s.owning.Unlock()
	maps.DeleteFunc(s.owners, func(pid int32, _ bool) bool {
		return !slices.ContainsFunc(holders, func(h *api.HolderConfig) bool { return h.Pid == pid })
	})
}

// prefixesOf reads the addresses of a field.
func prefixesOf(field string, texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, bad(field, err)
		}
		list = append(list, p)
	}
	return list, nil
}

// acceptTime bounds how long the address waits for a service that does not accept its connections. One whose node is
// overloaded, the very reason to move it, is late: its quota stops it, and requests queue before its accept. Meanwhile it
// goes on answering; who knocks now knocks again after a second.
const acceptTime = 500 * time.Millisecond

// Yield implements api.HelperServer. It returns when the connections that have begun here are the service's.
func (s *Server) Yield(ctx context.Context, t *api.Traffic) (*api.Empty, error) {
	if err := s.yield(t.Pid); err != nil {
		return nil, fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	if err := address.AwaitAccepted(ctx, netns(t.Pid)); err != nil {
		s.log.Warn("yield", "err", err) // better a few connections than the move
	}
	return &api.Empty{}, nil
}

// Announce implements api.HelperServer.
func (s *Server) Announce(_ context.Context, t *api.Traffic) (*api.Empty, error) {
	return &api.Empty{}, fail(s.announce(t))
}

// announce returns after the first announcement; the others follow by themselves.
func (s *Server) announce(t *api.Traffic) error {
	addrs, err := addressesOf(t.Address, t.MoreAddresses)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	ns := netns(t.Pid)
	if err := s.own(t.Pid, addrs); err != nil {
		return err
	}
	go func() {
		for range announcements - 1 {
			time.Sleep(30 * time.Millisecond)
			if err := address.Announce(ns, addrs...); err != nil {
				s.log.Warn("announce again", "err", err)
				return
			}
		}
	}()
	return nil
}

func addressesOf(first string, more []string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, text := range append([]string{first}, more...) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		list = append(list, addr)
	}
	return list, nil
}

// readTime bounds how long the freeze waits for a service that does not read its datagrams.
const readTime = 50 * time.Millisecond

// Mute implements api.HelperServer. It returns when the datagrams that have come here are the service's.
func (s *Server) Mute(ctx context.Context, t *api.Traffic) (*api.Empty, error) {
	if err := address.Mute(netns(t.Pid)); err != nil {
		return nil, fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	if err := address.AwaitRead(ctx, netns(t.Pid)); err != nil {
		s.log.Warn("mute", "err", err) // some programs never read all they get
	}
	return &api.Empty{}, nil
}

// Silence implements api.HelperServer.
func (s *Server) Silence(_ context.Context, t *api.Traffic) (*api.Empty, error) {
	return &api.Empty{}, fail(s.silence(t))
}

func (s *Server) silence(t *api.Traffic) error {
	return errors.Join(s.yield(t.Pid), address.Silence(netns(t.Pid)))
}

// Hold implements api.HelperServer. Held already is done already.
func (s *Server) Hold(_ context.Context, t *api.Traffic) (*api.Empty, error) {
	return &api.Empty{}, fail(s.hold(netns(t.Pid)))
}

func (s *Server) hold(ns string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds[ns] != nil {
		return nil
	}
	held, err := address.Hold(ns)
	if err != nil {
		return err
	}
	s.holds[ns] = held
	return nil
}

// abandoned says that a holder has ended, for want of memory or by somebody's hand, and gives up what was held for it.
func (s *Server) abandoned(ns string) bool {
	if _, err := os.Stat(ns); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.holds[ns]; held != nil {
		s.log.Warn("the holder is gone, and the packets held for it", "path", ns)
		held.Abandon()
		delete(s.holds, ns)
	}
	return true
}

// Release implements api.HelperServer. A hold that a dead helper left behind is taken over first; its packets are lost
// and come again.
func (s *Server) Release(_ context.Context, t *api.Traffic) (*api.ReleaseReply, error) {
	n, err := s.release(netns(t.Pid))
	return &api.ReleaseReply{Packets: n}, fail(err)
}

func (s *Server) release(ns string) (packets int64, err error) {
	if s.abandoned(ns) {
		return 0, nil
	}
	if err := s.hold(ns); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	counts, err := s.holds[ns].Release()
	if err != nil {
		return 0, err
	}
	delete(s.holds, ns)
	return int64(counts.In + counts.Out), nil
}

// Drop implements api.HelperServer.
func (s *Server) Drop(_ context.Context, t *api.Traffic) (*api.Empty, error) {
	return &api.Empty{}, fail(s.drop(netns(t.Pid)))
}

func (s *Server) drop(ns string) error {
	if s.abandoned(ns) {
		return nil
	}
	if err := s.hold(ns); err != nil {
		return err
	}
	if err := address.Yield(ns); err != nil { // the source announces the address again, and this holder stays for a while
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.holds[ns].Drop(); err != nil {
		return err
	}
	delete(s.holds, ns)
	return nil
}

// Forward implements api.HelperServer. The kernel ends it in time, should nobody do so before.
func (s *Server) Forward(_ context.Context, in *api.ForwardRequest) (*api.Empty, error) {
	ns := netns(in.Traffic.Pid)
	if in.LastsMs <= 0 {
		err := address.EndForward(ns)
		if errors.Is(err, fs.ErrNotExist) { // the holder is gone
			err = nil
		}
		return &api.Empty{}, fail(err)
	}
	to, err := net.ParseMAC(in.Mac)
	if err != nil {
		return nil, bad("mac", err)
	}
	return &api.Empty{}, fail(address.Forward(ns, to, time.Duration(in.LastsMs)*time.Millisecond))
}

// Linger implements api.HelperServer. Connections that stay are no error.
func (s *Server) Linger(ctx context.Context, in *api.LingerRequest) (*api.Empty, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(in.LimitMs)*time.Millisecond)
	defer cancel()
	err := address.AwaitClosed(ctx, netns(in.Traffic.Pid))
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Info("linger", "err", err)
		err = nil
	}
	if errors.Is(err, fs.ErrNotExist) { // a holder that is gone has no connections
		err = nil
	}
	return &api.Empty{}, fail(err)
}

// Check implements api.HelperServer: one attempt, over the loopback of the holder, where neither hold nor mute acts.
func (s *Server) Check(ctx context.Context, in *api.CheckRequest) (*api.Empty, error) {
	timeout := time.Duration(in.Probe.TimeoutMs) * time.Millisecond
	if timeout <= 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return address.Dial(ctx, netns(in.Pid), network, addr)
	}
	return &api.Empty{}, unhealthy(check(ctx, in.Probe, dial))
}

func check(ctx context.Context, p *api.Probe, dial func(context.Context, string, string) (net.Conn, error)) error {
	if p.Http == "" {
		conn, err := dial(ctx, "tcp", loopback+p.Tcp)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback+p.Http, nil)
	if err != nil {
		return fmt.Errorf("probe.http: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("probe.http: %s", resp.Status)
	}
	return nil
}

// loopback is the host part of every probe: a probe names a port (":8080/healthz"), its place is the holder itself.
const loopback = "127.0.0.1"

// unhealthy is UNAVAILABLE, so that the agent can tell a service that does not answer yet from a helper that failed.
func unhealthy(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.Unavailable, err.Error())
}

func bad(field string, err error) error {
	return status.Errorf(codes.InvalidArgument, "%s: %v", field, err)
}
