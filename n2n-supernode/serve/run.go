// Package serve is what stands around the supernode's decisions: sockets, a file, metrics, a view for operators, rows.
//
// It reads UDP and TCP packets, the community file and the state of its earlier life, writes that state, answers on the
// Overlay service (mutual TLS) and on /metrics (loopback), writes RESOUR_EDGE where there is a Redis, and is told by edges,
// other supernodes and SIGHUP (the community file has changed).
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	crand "crypto/rand"

	"golang.org/x/sys/unix"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/n2n-supernode/rendezvous"
)

// server is a supernode at work.
type server struct {
	config  *Config
	machine *rendezvous.Machine
	tcp     *tcp
	other   *net.UDPConn  // on another port, for those who ask for it
	lost    atomic.Uint64 // messages that no socket took
	keeper  keeper
}

// Run serves until ctx ends. dbs may be nil: then there is no Redis.
func Run(ctx context.Context, config *Config, dbs *sonicdb.Set) error {
	s := &server{config: config}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP) // before anything else: who is not ready for it dies of it
	defer signal.Stop(reload)
	db, err := openRows(ctx, dbs)
	if err != nil {
		return err
	}
	if err := s.start(db != nil); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	readers, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer closeAll(readers)
	addr := readers[0].conn.LocalAddr()
	if err := s.openOther(ctx, addr); err != nil {
		return err
	}
	defer s.other.Close()
	if s.tcp, err = listenTCP(ctx, addr.String(), s.worker(), &s.lost); err != nil {
		return err
	}
	defer s.tcp.ln.Close()
	tasks, err := s.manage(ctx)
	if err != nil {
		return err
	}
	if db != nil {
		tasks = append(tasks, func() error { return s.writeRows(ctx, db) })
	}
	if config.Peers != "" {
		tasks = append(tasks, func() error { return s.resolvePeers(ctx) })
	}
	slog.Info("supernode ready", "addr", addr.String(), "readers", len(readers), "mac", s.config.mac.String(),
		"communities", config.Communities, "peers", config.Peers)

	byTCP := readers[0].another()
	s.tcp.flush = func(out *rendezvous.Out) { byTCP.flush(out, s.sendElsewhere) }
	tasks = append(tasks, s.tcp.serve, func() error { return s.tick(ctx, readers[0].another(), reload) })
	for _, u := range readers {
		w := s.worker()
		tasks = append(tasks, func() error { return s.serveUDP(u, w) })
	}
	failed := make(chan error, len(tasks))
	var all sync.WaitGroup
	for _, task := range tasks {
		all.Go(func() { failed <- task() })
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	cancel()
	closeAll(readers)
	s.tcp.ln.Close()
	all.Wait()
	return errors.Join(err, s.keeper.keep(s.machine, time.Now()))
}

// start makes the machine, with what it knew before it ended.
func (s *server) start(rows bool) error {
	state, err := s.keeper.open(s.config.Dir)
	if err != nil {
		return err
	}
	if err := s.config.identity(state); err != nil {
		return err
	}
	machine, err := s.config.machine()
	if err != nil {
		return err
	}
	machine.Rows = rows
	now := time.Now()
	s.machine = rendezvous.New(machine, now)
	if state != nil {
		slog.Info("edges are known from before", "edges", s.machine.Restore(state, now))
	}
	return s.keeper.keep(s.machine, now)
}

// listen opens the readers' sockets, all on one address.
func (s *server) listen(ctx context.Context) (readers []*udp, err error) {
	addr := s.config.Listen
	for range s.config.Readers {
		u, err := listenUDP(ctx, addr, s.config.Readers > 1, &s.lost)
		if err != nil {
			closeAll(readers)
			return nil, fmt.Errorf("listen: %w", err)
		}
		readers = append(readers, u)
		addr = u.conn.LocalAddr().String() // also when the port was 0
	}
	return readers, nil
}

// openOther opens the other port, on the same addresses. Nothing is read from it.
func (s *server) openOther(ctx context.Context, addr net.Addr) error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 0) })
	}}
	conn, err := config.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr.(*net.UDPAddr).AddrPort().Addr(), 0).String())
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.other = conn.(*net.UDPConn)
	return nil
}

// sendElsewhere sends what does not leave by the port that edges send to.
func (s *server) sendElsewhere(send rendezvous.Send, message []byte) {
	if !send.OtherPort {
		s.tcp.send(send, message)
		return
	}
	if _, err := s.other.WriteToUDPAddrPort(message, send.To.Addr); err != nil {
		s.lost.Add(1)
	}
}

func closeAll(readers []*udp) {
	for _, u := range readers {
		u.conn.Close()
	}
}

// worker makes one with random numbers of its own.
func (s *server) worker() *rendezvous.Worker {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	return s.machine.Worker(rand.NewChaCha8(seed))
}

// tick does each second what is due, and takes the community file in again when asked to.
func (s *server) tick(ctx context.Context, send *sender, reload <-chan os.Signal) error {
	w := s.worker()
	var out rendezvous.Out
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
			s.reload()
		case now := <-every.C:
			s.machine.Tick(now, w, &out)
			send.flush(&out, s.sendElsewhere)
			out.Reset()
			if err := s.keeper.keepDue(s.machine, now); err != nil {
				slog.Warn("edges would be lost in a restart", "err", err)
			}
		}
	}
}

func (s *server) reload() {
	list, err := s.config.list()
	switch {
	case err != nil:
		slog.Warn("community file: the old one stays in force", "err", err)
	case list != nil:
		s.machine.SetList(list)
		slog.Info("community file taken in", "communities", len(list.Named), "patterns", len(list.Patterns))
	}
}
