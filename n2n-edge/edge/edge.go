// Package edge is an N2N edge: a TAP device whose frames go to the other edges of a community, straight where their NATs let
// them, else by a supernode.
//
// It reads frames from the device and packets from a UDP socket, writes each to the other side, and keeps a token on disk.
// It is told by n2n-edge's main. What it does not see in a packet or a frame itself it asks its machine (peering), and does
// what that one says:
//
//	kernel ──TAP──▶ sender: cut (offload), seal, burst ──▶ UDP
//	                  │ wanted        ▲ ways
//	                  ▼               │
//	               peering ◀── tick, network events, resolver
//	                  ▲               │ ways
//	                  │ messages      ▼
//	kernel ◀──TAP── receiver: join (offload), open      ◀── UDP
package edge

import (
	"context"
	crand "crypto/rand"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/peering"
	"sonic-netservices/n2n-edge/edge/tap"
	"sonic-netservices/n2n-edge/edge/udp"
)

// Doors are what an edge needs of the world. Nothing is tested with others than these.
type Doors struct {
	Device tap.Device
	Socket udp.Socket
	// Open gives one more socket, on a port of its own.
	Open func() (udp.Socket, error)
	// Host tells the addresses of this host, without those of the device, and sends whenever they or routes change.
	Host Host
	// Resolve gives the addresses of a supernode, host:port.
	Resolve func(ctx context.Context, name string) ([]netip.AddrPort, error)
}

// Host is what the edge sees of the machine's network.
type Host interface {
	Addrs() ([]netip.Addr, error)
	Changes() <-chan struct{}
}

// Edge is the running edge.
type Edge struct {
	cfg   *Config
	mac   n2n.MAC
	doors Doors
	log   *slog.Logger
	keys  *keys // nil: headers are clear
	table *table
	count counters

	relay      atomic.Pointer[way]              // by the supernode; nil: there is none
	supernodes atomic.Pointer[[]netip.AddrPort] // whose word is a supernode's
	address    atomic.Pointer[netip.Prefix]     // of the device

	mu      sync.Mutex // guards what follows
	machine *peering.Machine
	own     *sealer // for announcements
	ownOut  *batch

	pacer    *pacer
	receiver *receiver
	fans     fans
	resolve  chan string
	started  time.Time
}

// tick is how often the machine looks at the clock.
const tick = 250 * time.Millisecond

// Run is the edge, until ctx ends.
func Run(ctx context.Context, cfg *Config, id Identity, doors Doors, log *slog.Logger) error {
	e, err := newEdge(cfg, id, doors, log)
	if err != nil {
		return err
	}
	return e.run(ctx)
}

func newEdge(cfg *Config, id Identity, doors Doors, log *slog.Logger) (*Edge, error) {
	k, err := newKeys(cfg)
	if err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, mac: id.MAC, doors: doors, log: log, keys: k, table: newTable(), resolve: make(chan string, 64),
		ownOut: newBatch(), started: time.Now()}
	if e.own, err = e.newSealer(); err != nil {
		return nil, err
	}
	token, err := n2n.AuthOf(n2n.AuthID, id.Token[:])
	if err != nil {
		return nil, err
	}
	c := peering.Config{Community: cfg.community, MAC: id.MAC, Desc: n2n.DescOf(cfg.desc()), Token: token, Preferred: cfg.preferred,
		Interval: cfg.Interval, Relayed: cfg.RelayOnly, Ports: cfg.GuessPorts,
		Fan: cfg.FanSockets, Draws: cfg.FanDraws, Rate: cfg.FanRate}
	if k != nil {
		c.User, c.Secret = k.user, k.secret
	}
	if cfg.address.IsValid() {
		if c.Subnet, err = n2n.SubnetOf(cfg.address); err != nil {
			return nil, err
		}
	}
	e.machine = peering.New(c, cfg.supernodes, e.newRandom())
	e.pacer = newPacer(e)
	e.receiver, err = e.newReceiver()
	return e, err
}

// newRandom gives a source of its own to each goroutine.
func (e *Edge) newRandom() n2n.Random {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (crypto/rand)
	return rand.NewChaCha8(seed)
}

func (e *Edge) run(ctx context.Context) error {
	if e.cfg.address.IsValid() {
		if err := e.assign(e.cfg.address); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.send(ctx) })
	g.Go(func() error { return e.receive(ctx) })
	g.Go(func() error { return e.pacer.run(ctx) })
	g.Go(func() error { return e.lookUp(ctx) })
	g.Go(func() error { return e.drive(ctx) })
	if e.cfg.Status != "" {
		g.Go(func() error { return e.serve(ctx) })
	}
	if e.cfg.Metrics != "" {
		g.Go(func() error { daemon.Metrics(ctx, e.cfg.Metrics, (*collector)(e)); return nil })
	}
	err := g.Wait()
	e.fans.listeners.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// drive tells the machine the time and what changes on the host. At the end it says goodbye and shuts the doors, which ends
// who waits at them.
func (e *Edge) drive(ctx context.Context) error {
	defer func() {
		e.tell(func(now time.Time) { e.machine.Stop(now) })
		if err := errors.Join(e.doors.Device.Close(), e.doors.Socket.Close(), e.fans.close()); err != nil {
			e.log.Warn("close", "err", err)
		}
	}()
	e.tell(func(now time.Time) { e.machine.Start(now) })
	t := time.NewTicker(tick)
	defer t.Stop()
	swept := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.doors.Host.Changes():
			e.tell(func(now time.Time) { e.machine.Changed(now) })
		case now := <-t.C:
			e.tell(func(now time.Time) { e.machine.Tick(now) })
			if now.Sub(swept) > time.Minute {
				swept = now
				e.table.sweep(now.Add(-5 * time.Minute))
			}
		}
	}
}

// lookUp resolves names, one after the other: it may take a while, and everybody else goes on.
func (e *Edge) lookUp(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case name := <-e.resolve:
			addrs, err := e.doors.Resolve(ctx, name)
			if err != nil && ctx.Err() == nil {
				e.log.Warn("look up the supernode", "name", name, "err", err)
			}
			e.tell(func(now time.Time) { e.machine.Resolved(now, name, addrs) })
		}
	}
}
