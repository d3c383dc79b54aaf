// Package orders is mig-agent itself: it carries out the manager's orders and its peers' requests on one node, by
// stepping package migrate's machines against Docker (engine), the helper and the other node.
//
// It reads and writes the agent's folder (journal, replicas, members, obeys), Docker's containers and images, and its
// rows in resour_DB; it is told by bt-manager (Agent), by other agents (Peer), and by the deaths of containers.
package orders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/mig-agent/lane"
	"sonic-netservices/mig-agent/witness"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// Config of an agent. Where the values come from is main's business.
type Config struct {
	Node        string        // DEVICE_METADATA hostname = DNS name of the certificate
	Address     string        // Loopback0, without prefix length
	Dir         string        // journal/, replicas/, work/, helper.sock
	Volumes     string        // volumes of the replicas
	PKI         string        // folder of the certificate
	Managers    []managers.At // where to look for the one that leads first; it tells of the others
	Version     string
	Segment     Segment
	Container   string          // our own container, whose image also serves as holder and helper
	Silence     time.Duration   // how long the helper waits for us in a guarded operation; see helper.Config
	Budget      Budget          // of the services, at the start
	Budgets     <-chan Budget   // and whenever it changes; nil = never
	CRIU        engine.CRIUFrom // which one moves prefer
	LiveRestore bool            // containers shall outlive a dockerd that dies
}

// Segment is this node's part of the service network.
type Segment struct {
	VNI      int
	MTU      int
	Gateway  string   // prefix, the same on every node
	Gateway6 string   // the same for IPv6; "" = it stays inside the segment
	Access   []string // ports with clients behind them
}

// opsKept bounds the journal: this many finished operations stay, so that a repeated order gets its answer.
const opsKept = 1000

// Agent is one node's agent.
type Agent struct {
	api.UnimplementedAgentServer
	api.UnimplementedPeerServer
	api.UnimplementedProberServer

	cfg     Config
	docker  *engine.Docker
	helper  *helperLink
	journal *journal.Journal
	id      *pki.Identity
	asker   witness.Asker
	rows    *rowWriter
	log     *slog.Logger
	life    context.Context // ends with the agent; operations outlive the calls that ordered them

	pace      lane.Pacer // of bulk data that leaves
	segmentMu sync.Mutex // one SetSegment at a time, and none while a replica falls silent or speaks

	pauseMu sync.Mutex
	pause   string // image of holders, "" until it was made

	mu       sync.Mutex
	budget   Budget
	obeys    allegiance
	joined   *joined // nil: not joined
	locals   map[netmap.ReplicaID]*local
	ops      map[string]*operation // by op id and step
	sources  map[string]*sourceMove
	targets  map[string]*targetMove
	members  []*api.Hello
	managers []*api.ManagerView
	known    bool             // recover is done: what stands here is all there is
	leases   map[string]int64 // by replica: until when it may serve, CLOCK_BOOTTIME ns

	word   chan struct{}             // closed with the manager's first word; nil: not waited for
	placed map[netmap.ReplicaID]bool // what is this node's by the manager's newest word; nil before the first
}

// local is one replica on this node.
type local struct {
	id    netmap.ReplicaID
	spec  *api.Replica
	state netmap.State
	op    string
	since time.Time

	mending   sync.Mutex // one runReplica at a time
	container engine.Container
	holder    engine.Container
	quiet     bool // the address is another node's still, or again
	rescuing  bool // it goes through a checkpoint, or starts anew, because Docker has lost it
	rival     *rival
	lost      string // memory of a lazy move, told until the replica moves on or the agent restarts
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config, docker *engine.Docker, db *resourdb.DB, log *slog.Logger) error {
	id, err := pki.Load(cfg.PKI, pki.Node)
	if err != nil {
		return err
	}
	if id.Name != cfg.Node {
		return fmt.Errorf("certificate is for %s, this node is %s", id.Name, cfg.Node)
	}
	j, err := journal.Open(filepath.Join(cfg.Dir, "journal"), "agent")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &Agent{
		cfg: cfg, docker: docker, journal: j, id: id, log: log, life: ctx,
		asker:   witness.Asker{Identity: id, Managers: witness.Managers(cfg.Dir, cfg.Managers), Timeout: 2 * time.Second},
		rows:    newRowWriter(db, log),
		locals:  map[netmap.ReplicaID]*local{},
		ops:     map[string]*operation{},
		sources: map[string]*sourceMove{},
		targets: map[string]*targetMove{},
		leases:  map[string]int64{},
	}
	if a.obeys, err = readAllegiance(cfg.Dir); err != nil {
		return err
	}
	if a.helper, err = startHelper(ctx, a); err != nil {
		return err
	}
	defer a.helper.close()
	go a.rows.run(ctx)
	go func() { // before a deployment or a move needs it; that says what went wrong
		if _, err := a.pauseImage(ctx); err != nil && ctx.Err() == nil {
			log.Warn("image of holders", "err", err)
		}
	}()
	if err := a.setBudget(ctx, cfg.Budget); err != nil { // before anything starts in it; services go on without
		log.Error("budget", "err", err)
	}
	if err := a.recover(ctx); err != nil {
		return err
	}
	a.limitContainers(ctx)
	ln, err := daemon.ListenQuick(ctx, net.JoinHostPort(cfg.Address, fmt.Sprint(netmap.AgentPort)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	lanes, err := lane.Listen(ctx, net.JoinHostPort(cfg.Address, fmt.Sprint(netmap.LanePort)))
	if err != nil {
		return fmt.Errorf("listen: %w", errors.Join(err, ln.Close()))
	}
	go a.serveLanes(ctx, lanes)
	srv := daemon.NewServer(append(pki.Guard(a.rules()), grpc.Creds(id.Server()), daemon.QuickServer())...)
	api.RegisterAgentServer(srv, a)
	api.RegisterPeerServer(srv, a)
	api.RegisterProberServer(srv, a)
	api.RegisterWitnessServer(srv, asWitness{agent: a})
	go a.superviseContainers(ctx)
	go a.stayJoined(ctx)
	go a.followBudget(ctx)
	go a.followRivals(ctx)
	go a.measure(ctx)
	log.Info("agent ready", "node", cfg.Node, "addr", ln.Addr().String())
	return daemon.Serve(ctx, ln, srv)
}

func (a *Agent) rules() map[string][]pki.Role {
	rules := map[string][]pki.Role{}
	for m, r := range witness.Rules {
		rules[m] = r
	}
	for _, m := range []string{api.Agent_Do_FullMethodName, api.Agent_Ask_FullMethodName,
		api.Agent_PushImage_FullMethodName, api.Agent_Inventory_FullMethodName, api.Agent_Renew_FullMethodName,
		api.Agent_Preflight_FullMethodName} {
		rules[m] = []pki.Role{pki.Manager}
	}
	for _, m := range []string{api.Peer_Reserve_FullMethodName, api.Peer_Push_FullMethodName, api.Peer_Arm_FullMethodName, api.Peer_Ready_FullMethodName,
		api.Peer_Cancel_FullMethodName, api.Peer_Cutover_FullMethodName, api.Peer_Inspect_FullMethodName} {
		rules[m] = []pki.Role{pki.Node}
	}
	rules[api.Prober_Probe_FullMethodName] = []pki.Role{pki.Node}
	return rules
}

// setState changes a replica's state here and its row.
func (a *Agent) setState(l *local, state netmap.State, op string) {
	a.mu.Lock()
	l.state, l.op, l.since = state, op, time.Now()
	if state == netmap.Unloaded {
		delete(a.locals, l.id)
		delete(a.leases, l.id.String())
	} else {
		a.locals[l.id] = l
	}
	row := a.row(l)
	a.mu.Unlock()
	a.rows.put(row)
	a.log.Info("replica", "service", l.id.Service, "replica", l.id.Replica, "state", state, "op", op)
}

// row shows a replica in resour_DB. The caller holds mu.
func (a *Agent) row(l *local) resourdb.Instance {
	return resourdb.Instance{ID: l.id, Node: a.cfg.Node, State: l.state, Container: l.id.String(), Address: l.spec.Address,
		Since: l.since, Op: l.op, Problem: a.problem(l)}
}

// local finds a replica on this node.
func (a *Agent) local(id netmap.ReplicaID) *local {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.locals[id]
}

// instance is what others hear of a replica here.
func (a *Agent) instance(l *local) *api.Instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &api.Instance{
		Service: l.id.Service, Replica: int32(l.id.Replica), Node: a.cfg.Node, NodeAddress: a.cfg.Address,
		ServiceAddress: bareAddress(l.spec.Address), Container: l.id.String(), State: stateNumber(l.state),
		Op: l.op, SinceUnixMs: l.since.UnixMilli(), ImageId: l.spec.ImageId, Problem: a.problem(l),
	}
}

// traffic names a replica's holder for the helper.
func traffic(l *local) *api.Traffic {
	return &api.Traffic{Pid: int32(l.holder.PID), Address: bareAddress(l.spec.Address), MoreAddresses: moreAddresses(l.spec)}
}

// moreAddresses are the further ones of a replica, without prefix length.
func moreAddresses(r *api.Replica) []string {
	var list []string
	for _, prefix := range r.MoreAddresses {
		list = append(list, bareAddress(prefix))
	}
	return list
}

// applySegment makes the service network on this node what members and replicas say.
func (a *Agent) applySegment(ctx context.Context) error {
	a.segmentMu.Lock()
	defer a.segmentMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stepTimeout) // a switch-over may wait for the lock
	defer cancel()
	a.mu.Lock()
	cfg := &api.SegmentConfig{
		Local: a.cfg.Address, Vni: int32(a.cfg.Segment.VNI), UdpPort: netmap.VXLANPort, Mtu: int32(a.cfg.Segment.MTU),
		Gateway: a.cfg.Segment.Gateway, Gateway6: a.cfg.Segment.Gateway6, Access: a.cfg.Segment.Access,
	}
	for _, m := range a.members {
		if m.Node != a.cfg.Node {
			cfg.Peers = append(cfg.Peers, m.Address)
		}
	}
	for _, l := range a.locals {
		if l.holder.PID == 0 {
			continue
		}
		h := &api.HolderConfig{
			Name: l.id.Holder(), Pid: int32(l.holder.PID), Address: l.spec.Address, MoreAddresses: l.spec.MoreAddresses,
			Mac: address.MAC(a.cfg.Node, l.id.String()).String(), Quiet: l.quiet,
		}
		if !l.quiet { // only the node that serves publishes
			h.Ports = l.spec.Ports
		}
		cfg.Holders = append(cfg.Holders, h)
	}
	a.mu.Unlock()
	sort.Strings(cfg.Peers)
	sort.Slice(cfg.Holders, func(i, j int) bool { return cfg.Holders[i].Name < cfg.Holders[j].Name })
	if _, err := a.helper.SetSegment(ctx, cfg); err != nil {
		return fmt.Errorf("service segment: %w", err)
	}
	return nil
}

// change lets a replica be silent about its address, or not any more, by what do does. No segment is set meanwhile: one
// that was put together before would undo it, and the address would be nobody's.
func (a *Agent) change(l *local, quiet bool, do func() error) error {
	a.segmentMu.Lock()
	defer a.segmentMu.Unlock()
	if err := do(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l.quiet = quiet
	return nil
}

// superviseContainers starts a running replica's container again when it ended by itself: Docker is told not to, so
// that nothing starts behind the back of a move. A dockerd that went away tells nobody what ended with it, so all are
// looked at when it is back.
func (a *Agent) superviseContainers(ctx context.Context) {
	for away := false; ctx.Err() == nil; away = true {
		if away && a.docker.Alive(ctx) != nil {
			pause(ctx, time.Second)
			continue
		}
		watching, stop := context.WithCancel(ctx)
		names, errs := a.docker.Deaths(watching)
		if away {
			for _, l := range a.sortedLocals() {
				go a.revive(ctx, l.id.String())
			}
		}
		for alive := true; alive; {
			select {
			case name := <-names:
				go a.revive(ctx, strings.TrimSuffix(name, ".net"))
			case err := <-errs:
				if ctx.Err() == nil {
					a.log.Warn("docker events", "err", err)
				}
				alive = false
			}
		}
		stop()
	}
}

// revive tries until the replica runs or is no longer ours to run.
func (a *Agent) revive(ctx context.Context, name string) {
	id, err := netmap.ParseReplicaID(name)
	if err != nil {
		return // the helper, which has its own watch
	}
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, time.Minute) {
		l := a.local(id)
		a.mu.Lock()
		ours := l != nil && l.state == netmap.Running && !l.quiet && !l.rescuing
		a.mu.Unlock()
		if !ours || !a.leased(l) { // without a lease the manager must say first that it is still ours
			return
		}
		err := a.runReplica(ctx, l)
		if err == nil {
			return
		}
		a.log.Warn("start ended replica again", "service", id.Service, "replica", id.Replica, "err", err)
		pause(ctx, wait)
	}
}

// reviveEnded starts a replica again that ended while it was on its way, when it was not ours to start. One that runs is
// left alone.
func (a *Agent) reviveEnded(l *local) {
	holder, err := a.docker.Container(a.life, l.id.Holder())
	if err == nil && holder.Running {
		if c, err := a.docker.Container(a.life, l.id.String()); err == nil && c.Running {
			return
		}
	}
	a.revive(a.life, l.id.String())
}

// runReplica makes an existing replica's holder and container run.
func (a *Agent) runReplica(ctx context.Context, l *local) error {
	l.mending.Lock()
	defer l.mending.Unlock()
	holder, err := a.docker.Container(ctx, l.id.Holder())
	if errors.Is(err, engine.ErrNotFound) {
		if err := a.rebuild(ctx, l); err != nil {
			return err
		}
		holder, err = a.docker.Container(ctx, l.id.Holder())
	}
	if err != nil {
		return err
	}
	fresh := !holder.Running
	if err := a.joinSegment(ctx, l, holder); err != nil {
		return err
	}
	container, err := a.docker.Container(ctx, l.id.String())
	if err != nil {
		return err
	}
	if fresh && container.Running { // it sits in the network namespace of the holder that ended
		if err := a.docker.Stop(ctx, container.ID, 10*time.Second); err != nil {
			return err
		}
		container.Running = false
	}
	if !container.Running {
		if err := a.docker.Start(ctx, container.ID); err != nil {
			return err
		}
		if container, err = a.docker.Container(ctx, container.ID); err != nil {
			return err
		}
		a.log.Info("replica started again", "service", l.id.Service, "replica", l.id.Replica)
	}
	a.mu.Lock()
	l.container = container
	a.mu.Unlock()
	_, err = a.helper.Announce(ctx, traffic(l))
	return err
}

// rebuild makes a replica's containers anew when somebody has removed its holder: what runs without it is out of reach
// for ever. Its volumes stay, what it had in memory and in its own layer is lost.
func (a *Agent) rebuild(ctx context.Context, l *local) error {
	a.log.Error("the holder was removed by somebody: start anew, memory is lost", "service", l.id.Service, "replica", l.id.Replica)
	if err := a.docker.Remove(ctx, l.id.String()); err != nil {
		return err
	}
	return a.createReplica(ctx, l)
}

// removeReplica removes everything a replica has on this node but its place in memory. Idempotent.
func (a *Agent) removeReplica(ctx context.Context, id netmap.ReplicaID) error {
	return errors.Join(
		a.docker.Remove(ctx, id.String()),
		a.docker.Remove(ctx, id.Holder()),
		removeReplicaFile(a.cfg.Dir, id),
		os.RemoveAll(filepath.Join(a.cfg.Volumes, id.String())),
	)
}

func bareAddress(prefix string) string {
	addr, _, _ := strings.Cut(prefix, "/")
	return addr
}

func stateNumber(s netmap.State) api.State {
	switch s {
	case netmap.Migrating:
		return api.State_MIGRATING
	case netmap.Ready:
		return api.State_READY
	case netmap.Running:
		return api.State_RUNNING
	}
	return api.State_UNLOADED
}

// pause waits, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
