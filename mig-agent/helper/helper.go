// Package helper is the privileged half of mig-agent: a standing container of the same image that has entered the
// switch's own namespaces.
//
// It reads and writes what only root on the switch can: cgroups, CRIU images, packet queues, links, the folders of
// containers. It is told by the agent over a unix socket (api.Helper), and by the agent's silence: then it settles
// guarded operations by the journal (watch.go). On its own TCP port it answers for a dead agent how a move ended.
package helper

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/mig-agent/lane"
	"sonic-netservices/mig-agent/memory"
	"sonic-netservices/mig-agent/pages"
	"sonic-netservices/mig-agent/witness"
)

// Config of a helper. The agent gives it as flags when it starts the container.
type Config struct {
	Dir        string        // the agent's folder: helper.sock, journal/, work/, bin/
	PKI        string        // folder of the node's certificate
	Listen     string        // host:port of the witness; "" = none
	Managers   []managers.At // second path of an outcome, beside those the agent has heard of
	Silence    time.Duration // the agent counts as dead after this; shorter than a client's patience, longer than a busy machine's hiccup
	Dockerd    engine.Dockerd
	Bundle     string // CRIU to install where the host's will not do; "" = there is none
	PreferCRIU engine.CRIUFrom
	Tar        string // for CRIU to run in tar's place; "" = tar itself
}

// Socket is where a helper listens for its agent.
func Socket(dir string) string { return filepath.Join(dir, "helper.sock") }

// Server is one helper.
type Server struct {
	api.UnimplementedHelperServer
	cfg     Config
	host    engine.Host
	journal *journal.Journal
	asker   witness.Asker
	pages   *pages.Server
	log     *slog.Logger
	life    context.Context // ends with the helper

	sizes  sizes
	pace   lane.Pacer // of memory that leaves
	seen   hostSeen
	leased chan struct{} // holds one: leases were set

	rivals chan *api.Rival // nothing waits in it: what nobody hears now is said again

	owning sync.Mutex
	owners map[int32]bool // holders that this helper has announced and not yielded since, by pid

	mu      sync.Mutex
	watches map[string]*watch              // for rivals, by name of the holder
	holds   map[string]*address.Held       // by network namespace
	leases  []*api.HolderLease             // newest list of the agent
	fenced  map[int32]bool                 // holders muted for want of a lease, by pid; nil before the first list
	trees   map[string]map[string]treeSent // op -> tree

	features  map[string]error            // of CRIU: nil, or why not
	memories  map[string]*memory.Source   // by op: what the target has of the memory; nil: a round runs
	deciding  map[string]*sync.Mutex      // by op: held while its dump runs and while it is taken back
	dumpers   map[string]*engine.Dumper   // by op: ready to begin
	restorers map[string]*engine.Restorer // by op: ready to begin
}

// Run serves until ctx ends. It is called after Enter.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	j, err := journal.Open(filepath.Join(cfg.Dir, "journal"), "helper")
	if err != nil {
		return err
	}
	id, err := pki.Load(cfg.PKI, pki.Node)
	if err != nil {
		return err
	}
	s := &Server{
		cfg:       cfg,
		host:      engine.Host{Dir: cfg.Dir, Proc: "/proc", Cgroups: "/sys/fs/cgroup"},
		journal:   j,
		asker:     witness.Asker{Identity: id, Managers: witness.Managers(cfg.Dir, cfg.Managers), Timeout: time.Second},
		pages:     pages.NewServer(j),
		log:       log,
		leased:    make(chan struct{}, 1),
		rivals:    make(chan *api.Rival),
		watches:   map[string]*watch{},
		owners:    map[int32]bool{},
		holds:     map[string]*address.Held{},
		memories:  map[string]*memory.Source{},
		features:  map[string]error{},
		dumpers:   map[string]*engine.Dumper{},
		deciding:  map[string]*sync.Mutex{},
		restorers: map[string]*engine.Restorer{},
	}
	from, err := s.host.InstallCRIU(cfg.Bundle, cfg.PreferCRIU)
	if err != nil { // cold moves go on; Facts says what live lacks
		log.Error("no CRIU", "err", err)
	} else {
		log.Info("CRIU", "from", from)
	}
	if err := s.host.InstallTar(cfg.Tar); err != nil {
		return err
	}
	changed, err := s.host.Install(cfg.Dockerd)
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // Install had this whole program in memory, twice; an idle helper shares the switch
	if changed {
		log.Info("dockerd configured", "file", cfg.Dockerd.JSON, "live_restore", cfg.Dockerd.LiveRestore)
	}
	socket := Socket(cfg.Dir)
	os.Remove(socket) // of a dead predecessor: Docker runs one helper of this name at a time
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("helper: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return fmt.Errorf("helper: %w", err)
	}
	local := grpc.NewServer()
	api.RegisterHelperServer(local, s)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.life = ctx
	errs := make(chan error, 2)
	go func() { errs <- daemon.Serve(ctx, ln, local) }()
	go s.keepLeases(ctx)
	running := 1
	if cfg.Listen != "" {
		tcp, err := net.Listen("tcp", cfg.Listen)
		if err != nil {
			return fmt.Errorf("helper: %w", err)
		}
		rules := maps.Clone(witness.Rules)
		maps.Copy(rules, pages.Rules)
		remote := daemon.NewServer(append(pki.Guard(rules), grpc.Creds(id.Server()))...)
		api.RegisterWitnessServer(remote, witness.NewServer(j))
		api.RegisterPagesServer(remote, s.pages)
		go func() { errs <- daemon.Serve(ctx, tcp, remote) }()
		running++
	}
	log.Info("helper ready", "node", id.Name, "socket", socket, "witness", cfg.Listen)
	var first error
	for ; running > 0; running-- {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
		cancel()
	}
	return first
}

// Facts implements api.HelperServer.
func (s *Server) Facts(context.Context, *api.Empty) (*api.HostFacts, error) {
	p, missing := s.host.Facts()
	return &api.HostFacts{Platform: &api.Platform{
		Criu: p.CRIU, Runc: p.Runc, Kernel: p.Kernel, Cpu: p.CPU, Propagation: p.Propagation,
	}, Missing: missing, CriuFrom: string(s.host.CRIUFrom())}, nil
}

// TakeBack implements api.HelperServer.
func (s *Server) TakeBack(ctx context.Context, in *api.TakeBackRequest) (*api.Empty, error) {
	if in.Op != "" {
		defer s.decide(in.Op)() // a dump that was ordered before does not freeze after it
	}
	if err := ctx.Err(); err != nil { // nobody waits: what was true then may not be now
		return nil, fail(err)
	}
	return &api.Empty{}, fail(s.takeBack(in.Op, in.Container, in.Traffic))
}

// decide keeps others from deciding the same operation until the function it gives is called.
func (s *Server) decide(op string) (done func()) {
	s.mu.Lock()
	m := s.deciding[op]
	if m == nil {
		m = &sync.Mutex{}
		s.deciding[op] = m
	}
	s.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// takeBack makes the source whole again. Thaw comes after unmute and before the announcement, so that the first
// packet that finds its way back is answered. A holder whose lease is over stays silent.
func (s *Server) takeBack(op, container string, t *api.Traffic) error {
	s.dropReady(op)
	s.mu.Lock()
	fenced := s.fenced[t.Pid]
	s.mu.Unlock()
	if !fenced {
		if err := address.Unmute(netns(t.Pid)); err != nil {
			return err
		}
	}
	if container != "" {
		s.pages.Close(op)
		if err := s.host.EndPages(op); err != nil {
			return err
		}
		if err := s.host.TakeBack(op, container); err != nil {
			return err
		}
	}
	if fenced {
		return nil
	}
	return s.announce(t)
}

// Kill implements api.HelperServer.
func (s *Server) Kill(ctx context.Context, in *api.ContainerRef) (*api.Empty, error) {
	if in.Quietly {
		return &api.Empty{}, fail(s.host.KillQuietly(ctx, in.Id))
	}
	return &api.Empty{}, fail(s.host.Kill(ctx, in.Id))
}

func netns(pid int32) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// fail carries an error of the engine to the agent.
func fail(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.Internal, err.Error())
}
