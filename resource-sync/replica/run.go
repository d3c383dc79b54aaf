package replica

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// Config of resource-sync on one node. All of it applies at start only.
type Config struct {
	Node    string // DEVICE_METADATA hostname = DNS name of the certificate
	Addr    string // Loopback0: where it listens and what it tells others
	AS      uint32
	Tier    string // core, edge, access, cloud
	MAC     string
	Kernel  string // release, for people
	Version string
	PKI     string // folder of the node's certificate
	Seeds   []Seed // nodes to dial while their own row is not known

	Fast time.Duration // push interval while things change; shorter finds dead nodes sooner and costs more
	Slow time.Duration // push interval while nothing happens: the age of a small change
	Dead time.Duration // a node silent for longer counts as lost
}

// Seed is a node to begin with.
type Seed struct {
	Name string // of its certificate
	Addr string // Loopback0
}

// silence after which a link is given up: the far end pushes at least every Slow of its own.
func (c Config) silence() time.Duration { return max(5*time.Second, 3*c.Slow) }

const (
	pushGap     = 200 * time.Millisecond // between two urgent pushes
	lookEvery   = time.Second            // for peers to dial
	dialTimeout = 3 * time.Second
	mendEvery   = 30 * time.Second // every row of the database is compared
)

// syncer is one node's resource-sync at work.
type syncer struct {
	api.UnimplementedResourceSyncServer

	cfg   Config
	id    *pki.Identity
	db    *resourdb.DB
	agent api.ProberClient // of this node
	http  *http.Client     // of health probes
	log   *slog.Logger
	start time.Time

	pushes chan struct{} // a row of this node changed
	copies chan struct{} // rows of others may have changed
	mends  chan struct{} // the database may differ from what was written

	mu       sync.Mutex
	node     *Node
	monitor  *Monitor
	links    map[string]*openLink // by peer
	lastLink int
	dialing  map[string]bool
}

// Run brings rows to and from this node until ctx ends.
func Run(ctx context.Context, cfg Config, db *resourdb.DB, log *slog.Logger) error {
	id, err := pki.Load(cfg.PKI, pki.Node)
	if err != nil {
		return err
	}
	if id.Name != cfg.Node {
		return fmt.Errorf("certificate is for %s, this node is %s", id.Name, cfg.Node)
	}
	agent, err := daemon.Dial(net.JoinHostPort(cfg.Addr, strconv.Itoa(netmap.AgentPort)), id.Client(cfg.Node, pki.Node))
	if err != nil {
		return err
	}
	defer agent.Close()
	s := &syncer{
		cfg: cfg, id: id, db: db, agent: api.NewProberClient(agent), log: log, start: time.Now(),
		// Each probe makes a connection of its own, as a client would: a kept one tells nothing about new ones.
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		pushes: make(chan struct{}, 1), copies: make(chan struct{}, 1), mends: make(chan struct{}, 1),
		links: map[string]*openLink{}, dialing: map[string]bool{},
	}
	if err := s.loadRows(ctx); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(cfg.Addr, strconv.Itoa(netmap.SyncPort)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	srv := daemon.NewServer(append(pki.Guard(map[string][]pki.Role{api.ResourceSync_Link_FullMethodName: {pki.Node}}),
		grpc.Creds(id.Server()))...)
	api.RegisterResourceSyncServer(srv, s)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops sync.WaitGroup
	defer loops.Wait() // after cancel: the last rows are written
	for _, loop := range []func(context.Context){s.pushRows, s.copyRows, s.keepLinks, s.monitorHealth} {
		loops.Go(func() { loop(ctx) })
	}
	defer cancel()
	defer context.AfterFunc(ctx, s.cutLinks)() // else the server would wait for them
	failed := make(chan error, 2)
	go func() { failed <- s.watchRows(ctx) }()
	go func() { failed <- daemon.Serve(ctx, ln, srv) }()
	log.Info("resource-sync ready", "node", cfg.Node, "addr", ln.Addr().String(), "seeds", len(cfg.Seeds))
	err = <-failed
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	<-failed
	return err
}

// now is the monotonic clock of everything that has to do with silence.
func (s *syncer) now() time.Duration { return time.Since(s.start) }

// wakeAll lets every link and the writer of copies look for something to do.
func (s *syncer) wakeAll() {
	s.mu.Lock()
	for _, l := range s.links {
		wake(l.wake)
	}
	s.mu.Unlock()
	wake(s.copies)
}

func (s *syncer) cutLinks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		l.cancel(context.Canceled)
	}
}

// mend has the whole database compared.
func (s *syncer) mend() { wake(s.mends) }
