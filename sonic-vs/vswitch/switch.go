// Package vswitch is the software of one virtual switch: what SONiC's own containers and services do, on plain Linux.
//
// It runs inside a node as the child of PID 1 and reads ConfigFile, the kernel's interfaces, routes and neighbours, and
// lldpd. It writes the rows of CONFIG_DB, APPL_DB, STATE_DB and COUNTERS_DB under SONiC's names, sets up the node's
// network, and keeps redis-server, lldpd, dockerd and the feature containers running. It is told by netlink and by
// CONFIG_DB: PORT admin_status and mtu, FEATURE state and auto_restart, CRM polling_interval.
package vswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"sonic-netservices/internal/sonicdb"
)

// redisWait bounds the first start of redis-server; it takes tens of milliseconds on an idle machine.
const redisWait = 30 * time.Second

// Run is the switch, until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	for _, dir := range []string{"/etc/sonic", "/host/netservices", "/host/warmboot", packagesDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folders: %w", err)
		}
	}
	if err := setUpNetwork(cfg); err != nil {
		return fmt.Errorf("set up network: %w", err)
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	s.keep(ctx, dockerd())
	s.loop(ctx, "featured", s.runFeatures)
	<-ctx.Done()
	s.wg.Wait()
	return s.dbs.Close()
}

// Switch holds the open doors of a running switch.
type Switch struct {
	cfg Config
	dbs *sonicdb.Set
	db  databases
	wg  sync.WaitGroup
}

// databases a switch's own software writes.
type databases struct {
	config, appl, state, counters *sonicdb.DB
}

// start brings up everything but Docker: redis with its rows, lldpd and the writers of rows.
func start(ctx context.Context, cfg Config) (*Switch, error) {
	s := &Switch{cfg: cfg}
	if err := writeLayout(); err != nil {
		return nil, fmt.Errorf("write database layout: %w", err)
	}
	var err error
	if s.dbs, err = sonicdb.Open("/"); err != nil {
		return nil, err
	}
	filled := make(chan struct{})
	var once sync.Once
	redis := redisServer()
	redis.started = func(ctx context.Context) error {
		if err := s.connect(ctx); err != nil {
			return err
		}
		if err := s.fill(ctx); err != nil {
			return err
		}
		once.Do(func() { close(filled) })
		return nil
	}
	s.keep(ctx, redis)
	select {
	case <-filled:
	case <-time.After(redisWait):
		return nil, fmt.Errorf("redis-server does not answer within %v", redisWait)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	daemon, err := lldpDaemon(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure lldpd: %w", err)
	}
	s.keep(ctx, daemon)
	s.loop(ctx, "portsyncd", s.syncPorts)
	s.loop(ctx, "portmgrd", s.managePorts)
	s.loop(ctx, "syncd", s.countPorts)
	s.loop(ctx, "crm", s.countResources)
	s.loop(ctx, "lldp_syncd", s.syncLLDP)
	return s, nil
}

// connect opens the databases once redis listens.
func (s *Switch) connect(ctx context.Context) error {
	for name, db := range map[string]**sonicdb.DB{
		"CONFIG_DB": &s.db.config, "APPL_DB": &s.db.appl, "STATE_DB": &s.db.state, "COUNTERS_DB": &s.db.counters,
	} {
		if *db != nil { // a restart of redis: the connections come back by themselves
			continue
		}
		d, err := s.dbs.DB(ctx, name)
		if err != nil {
			return err
		}
		*db = d
	}
	return nil
}

// keep runs a daemon of the switch until ctx ends.
func (s *Switch) keep(ctx context.Context, p process) {
	s.wg.Go(func() { p.keep(ctx) })
}

// loop runs one writer of rows and starts it again when it fails: a switch goes on without one of its rows.
func (s *Switch) loop(ctx context.Context, name string, run func(context.Context) error) {
	s.wg.Go(func() {
		for {
			err := run(ctx)
			if ctx.Err() != nil {
				return
			}
			slog.Warn("start again", "op", name, "err", err)
			pause(ctx, time.Second)
		}
	})
}

// each calls f at once and then every interval until it fails or ctx ends.
func each(ctx context.Context, interval time.Duration, f func() error) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		if err := f(); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// errClosed ends a loop whose source of events closed.
var errClosed = errors.New("source of events closed")
