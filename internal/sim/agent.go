package sim

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// apiLevel is the newest level of api/netservices.proto that is spoken here.
const apiLevel = 3

// Agent is one node: a disk, and the agent that lives from Start to Kill. Its helper lives as long as the node.
type Agent struct {
	site    *Site
	node    string
	address string // Loopback0, as others are told
	id      *pki.Identity
	listen  string // of the agent; the same in every life
	helper  string
	witness *grpc.Server // of the helper

	mu   sync.Mutex
	disk *disk
	life *life // nil: dead
}

// life is one run of the agent.
type life struct {
	api.UnimplementedAgentServer
	api.UnimplementedPeerServer
	*Agent
	ctx  context.Context
	end  context.CancelFunc
	work sync.WaitGroup
	srv  *grpc.Server

	core *core                 // under the agent's mu
	ops  map[string]*operation // by operation and order; under mu
}

// Agent adds a node with that many cores and starts its agent.
func (s *Site) Agent(node string, cores float64) (*Agent, error) {
	id, err := s.Identity(node, pki.Node)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	a := &Agent{site: s, node: node, address: fmt.Sprintf("10.1.0.%d", len(s.agents)+1), id: id, disk: newDisk()}
	s.agents[node], s.capacity[node] = a, cores
	s.mu.Unlock()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a.helper = ln.Addr().String()
	a.witness = daemon.NewServer(append(pki.Guard(rules), grpc.Creds(id.Server()))...)
	api.RegisterWitnessServer(a.witness, helper{agent: a})
	go a.witness.Serve(ln)
	return a, a.Start()
}

// rules say who may call what, as mig-agent's do.
var rules = map[string][]pki.Role{
	api.Agent_Do_FullMethodName:        {pki.Manager},
	api.Agent_Ask_FullMethodName:       {pki.Manager},
	api.Agent_PushImage_FullMethodName: {pki.Manager},
	api.Agent_Inventory_FullMethodName: {pki.Manager},
	api.Agent_Renew_FullMethodName:     {pki.Manager},
	api.Agent_Preflight_FullMethodName: {pki.Manager},
	api.Peer_Reserve_FullMethodName:    {pki.Node},
	api.Peer_Push_FullMethodName:       {pki.Node},
	api.Peer_Arm_FullMethodName:        {pki.Node},
	api.Peer_Cancel_FullMethodName:     {pki.Node},
	api.Peer_Cutover_FullMethodName:    {pki.Node},
	api.Witness_Outcome_FullMethodName: {pki.Node, pki.Manager},
}

// Start begins a life and brings what an earlier one left unfinished to its end.
func (a *Agent) Start() error {
	ln, err := net.Listen("tcp", cmp.Or(a.listen, "127.0.0.1:0"))
	if err != nil {
		return fmt.Errorf("start agent of %s: %w", a.node, err)
	}
	if a.listen == "" {
		a.listen = ln.Addr().String()
	}
	l := &life{Agent: a, ops: map[string]*operation{}}
	l.ctx, l.end = context.WithCancel(context.Background())
	l.srv = daemon.NewServer(append(pki.Guard(rules), grpc.Creds(a.id.Server()))...)
	api.RegisterAgentServer(l.srv, l)
	api.RegisterPeerServer(l.srv, l)
	api.RegisterWitnessServer(l.srv, helper{agent: a})
	a.mu.Lock()
	l.core = awake(a.node, a.disk)
	a.life = l
	unfinished := l.recover()
	a.mu.Unlock()
	for _, settle := range unfinished {
		l.work.Go(settle)
	}
	l.work.Go(func() { l.srv.Serve(ln) })
	l.work.Go(l.stayJoined)
	l.showAll()
	return nil
}

// Kill ends the agent at once, between two changes of its disk. What runs on the node runs on.
func (a *Agent) Kill() {
	a.mu.Lock()
	l := a.life
	a.life = nil
	a.mu.Unlock()
	if l == nil {
		return
	}
	l.end()
	l.srv.Stop()
	l.work.Wait()
}

// Instances lists what the node has, as its agent knows; while that is dead, as it will find it.
func (a *Agent) Instances() []*api.Instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.life != nil {
		return a.life.core.instances()
	}
	return awake(a.node, a.disk).instances()
}

// Journal shows the operations on the node's disk, oldest first: "op role: step step".
func (a *Agent) Journal() (list []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.disk.pages {
		list = append(list, fmt.Sprintf("%s %s: %v", p.op, p.role, p.steps))
	}
	return list
}

// Client speaks to the agent under a manager's name.
func (a *Agent) Client(manager *pki.Identity) (api.AgentClient, *grpc.ClientConn, error) {
	conn, err := daemon.Dial(a.listen, manager.Client(a.node, pki.Node))
	if err != nil {
		return nil, nil, err
	}
	return api.NewAgentClient(conn), conn, nil
}

// Hello is how the node announces itself.
func (a *Agent) Hello() *api.Hello {
	return &api.Hello{Node: a.node, Address: a.address, Agent: a.listen, Helper: a.helper, Version: "sim", Api: apiLevel,
		Modes: []string{string(netmap.Live), string(netmap.Warm), string(netmap.Cold)}}
}

// change looks at the core or changes it, and with it the segment, in one step that death does not cut.
func (l *life) change(do func(c *core) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Agent.life != l {
		return status.Error(codes.Unavailable, "the agent is dead")
	}
	return do(l.core)
}

// set changes a replica's state, and its row.
func (l *life) set(id netmap.ReplicaID, state netmap.State, op string) {
	var row resourdb.Instance
	err := l.change(func(c *core) error {
		at := c.here[id]
		if at == nil {
			return status.Error(codes.Internal, "no such replica")
		}
		at.state, at.op, at.since = state, op, time.Now().UnixMilli()
		switch state {
		case netmap.Unloaded:
			delete(c.here, id)
			delete(c.replicas, id)
		case netmap.Running:
			at.spec.Op = op
			c.replicas[id] = at.spec
		}
		row = l.row(id, at)
		return nil
	})
	if err == nil {
		l.draw(row)
	}
}

func (l *life) row(id netmap.ReplicaID, at *replica) resourdb.Instance {
	return resourdb.Instance{ID: id, Node: l.node, State: at.state, Container: id.String(), Address: at.spec.Address,
		Since: time.UnixMilli(at.since), Op: at.op}
}

// draw writes a replica's row and those of its node.
func (l *life) draw(row resourdb.Instance) {
	if l.site.db == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), showLimit)
	defer cancel()
	if err := l.site.db.Write(ctx, row); err != nil {
		slog.Warn("sim: row", "err", err)
	}
	if err := l.site.show(l.node); err != nil {
		slog.Warn("sim: rows", "err", err)
	}
}

// showAll writes the rows of everything here.
func (l *life) showAll() {
	var rows []resourdb.Instance
	_ = l.change(func(c *core) error {
		for id, at := range c.here {
			rows = append(rows, l.row(id, at))
		}
		return nil
	})
	if len(rows) == 0 {
		if err := l.site.show(l.node); err != nil {
			slog.Warn("sim: rows", "err", err)
		}
	}
	for _, row := range rows {
		l.draw(row)
	}
}

// rejoin is the pause between two tries to join the manager: shorter than mig-agent's, for tests are short.
const rejoin = 100 * time.Millisecond

// stayJoined tells the manager that this node is here, again whenever it was away.
func (l *life) stayJoined() {
	for l.ctx.Err() == nil && l.site.manager != "" {
		if err := l.join(); l.ctx.Err() == nil {
			slog.Debug("sim: not joined", "node", l.node, "err", err)
		}
		pause(l.ctx, rejoin)
	}
}

func (l *life) join() error {
	conn, err := daemon.Dial(l.site.manager, l.id.Client(l.site.managerName, pki.Manager))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := api.NewManagerClient(conn).Join(l.ctx, l.Hello())
	for err == nil {
		_, err = stream.Recv()
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
