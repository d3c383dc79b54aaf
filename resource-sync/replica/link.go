package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
)

// A link stands between two nodes, dialed by either. When both dial at once, the one dialed by the lesser name stays;
// otherwise a newer one replaces the older, which a power cut may have left half open.

// stream is either end of a Link call.
type stream interface {
	Send(*api.SyncFrame) error
	Recv() (*api.SyncFrame, error)
}

// openLink is a link that stands.
type openLink struct {
	id     int
	peer   string
	dialer string
	wake   chan struct{} // something may have to be sent
	cancel context.CancelCauseFunc
}

var (
	errReplaced = errors.New("a newer link to the peer replaced it")
	errSilent   = errors.New("the peer is silent")
)

// Link implements api.ResourceSyncServer.
func (s *syncer) Link(stream grpc.BidiStreamingServer[api.SyncFrame, api.SyncFrame]) error {
	peer, _, ok := pki.Caller(stream.Context())
	if !ok {
		return status.Error(codes.Unauthenticated, "no certificate")
	}
	if err := s.carry(stream.Context(), stream, peer, peer); err != nil {
		return status.Error(codes.Aborted, err.Error())
	}
	return nil
}

// dial makes a link to a peer and returns when it has ended.
func (s *syncer) dial(ctx context.Context, peer, addr string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := daemon.Dial(net.JoinHostPort(addr, strconv.Itoa(netmap.SyncPort)), s.id.Client(peer, pki.Node))
	if err != nil {
		return err
	}
	defer conn.Close()
	late := time.AfterFunc(dialTimeout, cancel)
	stream, err := api.NewResourceSyncClient(conn).Link(ctx)
	if !late.Stop() || err != nil {
		return errors.Join(err, ctx.Err())
	}
	return s.carry(ctx, stream, peer, s.cfg.Node)
}

// carry moves frames until the link ends, and says why it did.
func (s *syncer) carry(ctx context.Context, stream stream, peer, dialer string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l, err := s.open(peer, dialer, cancel)
	if err != nil {
		return err
	}
	defer s.close(l)
	s.log.Info("link", "peer", peer, "op", "up")
	go func() { cancel(s.receive(stream, l)) }()
	go func() { cancel(s.send(ctx, stream, l)) }()
	<-ctx.Done()
	err = context.Cause(ctx)
	s.log.Info("link", "peer", peer, "op", "down", "err", err)
	return err
}

// open registers a link unless a better one stands.
func (s *syncer) open(peer, dialer string, cancel context.CancelCauseFunc) (*openLink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if peer == s.cfg.Node {
		return nil, fmt.Errorf("%s: a second node with this name", peer)
	}
	if old := s.links[peer]; old != nil {
		if lesser := min(s.cfg.Node, peer); old.dialer == lesser && dialer != lesser {
			return nil, fmt.Errorf("%s: a link stands already", peer)
		}
		old.cancel(errReplaced)
		s.node.Disconnect(old.id)
	}
	s.lastLink++
	l := &openLink{id: s.lastLink, peer: peer, dialer: dialer, wake: make(chan struct{}, 1), cancel: cancel}
	s.links[peer] = l
	s.node.Connect(l.id, peer)
	return l, nil
}

func (s *syncer) close(l *openLink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node.Disconnect(l.id)
	if s.links[l.peer] == l {
		delete(s.links, l.peer)
	}
}

func (s *syncer) receive(stream stream, l *openLink) error {
	silent := time.AfterFunc(s.cfg.silence(), func() { l.cancel(errSilent) })
	defer silent.Stop()
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		silent.Reset(s.cfg.silence())
		s.mu.Lock()
		s.node.Receive(l.id, frameOf(m), s.now())
		s.mu.Unlock()
		s.wakeAll()
	}
}

func (s *syncer) send(ctx context.Context, stream stream, l *openLink) error {
	for {
		s.mu.Lock()
		f := s.node.Next(l.id, s.now())
		s.mu.Unlock()
		if f != nil {
			if err := stream.Send(messageOf(f)); err != nil {
				return err
			}
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func frameOf(m *api.SyncFrame) Frame {
	f := Frame{DigestEnd: m.DigestEnd}
	for _, d := range m.Digest {
		f.Digest = append(f.Digest, stampOf(d))
	}
	for _, r := range m.Rows {
		d := stampOf(r.GetStamp())
		row := Row{Key: d.Key, Owner: d.Owner, Version: d.Version}
		if !r.Removed {
			if row.Fields = r.Fields; row.Fields == nil {
				row.Fields = map[string]string{}
			}
		}
		f.Rows = append(f.Rows, SentRow{Row: row, Age: time.Duration(min(max(r.AgeMs, 0), maxAge)) * time.Millisecond})
	}
	return f
}

// maxAge that is told, in ms: a day. It only has to be longer than any limit for the dead.
const maxAge = 24 * 3600 * 1000

func stampOf(m *api.SyncStamp) Stamp {
	return Stamp{Key: m.GetKey(), Owner: m.GetOwner(), Version: Version{m.GetIncarnation(), m.GetRev()}}
}

func messageOf(f *Frame) *api.SyncFrame {
	m := &api.SyncFrame{DigestEnd: f.DigestEnd}
	for _, d := range f.Digest {
		m.Digest = append(m.Digest, stampMessage(d.Key, d.Owner, d.Version))
	}
	for _, r := range f.Rows {
		m.Rows = append(m.Rows, &api.SyncRow{Stamp: stampMessage(r.Key, r.Owner, r.Version), Fields: r.Fields,
			Removed: r.Fields == nil, AgeMs: min(r.Age.Milliseconds(), maxAge)})
	}
	return m
}

func stampMessage(key, owner string, v Version) *api.SyncStamp {
	return &api.SyncStamp{Key: key, Owner: owner, Incarnation: v.Incarnation, Rev: v.Rev}
}

// keepLinks dials who should be linked and is not, until ctx ends.
func (s *syncer) keepLinks(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		for _, peer := range s.wanted(turn) {
			go func() {
				if err := s.dial(ctx, peer.Name, peer.Addr); ctx.Err() == nil {
					s.log.Debug("dial", "peer", peer.Name, "err", err)
				}
				s.mu.Lock()
				delete(s.dialing, peer.Name)
				s.mu.Unlock()
			}()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// wanted picks whom to dial now, and notes that they are dialed: the overlay's peers among those that speak, the seeds
// while they are not members, and one of the silent in turn, so that a network that fell apart grows together again.
func (s *syncer) wanted(turn int) (peers []Seed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := map[string]string{}
	var speak, silent []string
	for _, m := range s.node.Members(s.now()) {
		addr[m.Name] = m.Addr
		if m.State == netmap.Alive {
			speak = append(speak, m.Name)
		} else {
			silent = append(silent, m.Name)
		}
	}
	names := overlay(s.cfg.Node, speak)
	if len(silent) > 0 {
		names = append(names, silent[turn%len(silent)])
	}
	for _, seed := range s.cfg.Seeds {
		if addr[seed.Name] == "" {
			addr[seed.Name] = seed.Addr
			names = append(names, seed.Name)
		}
	}
	for _, name := range names {
		if name == s.cfg.Node || s.links[name] != nil || s.dialing[name] || addr[name] == "" {
			continue
		}
		s.dialing[name] = true
		peers = append(peers, Seed{name, addr[name]})
	}
	return peers
}
