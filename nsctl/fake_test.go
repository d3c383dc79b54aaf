package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
)

// as is an AS of agents without containers: what they say is real gRPC, what they run is an entry in a map. A service
// named broken cannot be started; one named unmovable cannot be prewarmed. While the file "hold" exists in the working
// folder, orders that begin a deploy or a cutover wait, after they have made the file "held".
type as struct {
	mu       sync.Mutex
	agents   map[string]*agent
	outcomes map[string]api.Outcome // by operation
}

// agent is one node.
type agent struct {
	api.UnimplementedAgentServer
	as        *as
	node      string
	address   string
	images    map[string]bool
	instances map[string]*api.Instance // by replica
	replicas  map[string]*api.Replica
}

// fakeAgents is the program `fake-agents MANAGER MANAGER-NAME PKI NODE...`; PKI/NODE holds each node's certificate. It
// makes the file NODE.joined when the manager has taken the node in.
func fakeAgents() {
	args := os.Args[1:]
	s := &as{agents: map[string]*agent{}, outcomes: map[string]api.Outcome{}}
	var join sync.WaitGroup
	for i, node := range args[3:] {
		id, err := pki.Load(filepath.Join(args[2], node), pki.Node)
		check(err)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		a := &agent{
			as: s, node: node, address: fmt.Sprintf("10.1.0.%d", i+1),
			images: map[string]bool{}, instances: map[string]*api.Instance{}, replicas: map[string]*api.Replica{},
		}
		s.agents[node] = a
		srv := daemon.NewServer(append(pki.Guard(map[string][]pki.Role{
			api.Agent_Do_FullMethodName:        {pki.Manager},
			api.Agent_Ask_FullMethodName:       {pki.Manager},
			api.Agent_PushImage_FullMethodName: {pki.Manager},
			api.Agent_Inventory_FullMethodName: {pki.Manager},
			api.Agent_Preflight_FullMethodName: {pki.Manager},
		}), grpc.Creds(id.Server()))...)
		api.RegisterAgentServer(srv, a)
		go func() { check(srv.Serve(ln)) }()

		conn, err := daemon.Dial(args[0], id.Client(args[1], pki.Manager))
		check(err)
		hello := &api.Hello{Node: node, Address: a.address, Agent: ln.Addr().String(), Helper: ln.Addr().String(), Api: 1, Modes: []string{"live", "cold"}}
		join.Go(func() { stayJoined(api.NewManagerClient(conn), hello) })
	}
	join.Wait()
}

// stayJoined joins again whenever the manager is gone.
func stayJoined(manager api.ManagerClient, hello *api.Hello) {
	for ; ; time.Sleep(50 * time.Millisecond) {
		stream, err := manager.Join(context.Background(), hello, grpc.WaitForReady(true))
		if err != nil {
			continue
		}
		for {
			if _, err := stream.Recv(); err != nil {
				break
			}
			check(os.WriteFile(hello.Node+".joined", nil, 0o600))
		}
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func (a *agent) Inventory(context.Context, *api.Empty) (*api.InventoryReply, error) {
	a.as.mu.Lock()
	defer a.as.mu.Unlock()
	reply := &api.InventoryReply{}
	for _, id := range slices.Sorted(maps.Keys(a.images)) {
		reply.Images = append(reply.Images, &api.Image{Id: id})
	}
	for _, id := range slices.Sorted(maps.Keys(a.instances)) {
		reply.Instances = append(reply.Instances, a.instances[id])
	}
	return reply, nil
}

func (a *agent) PushImage(stream grpc.ClientStreamingServer[api.Chunk, api.Image]) error {
	var image bytes.Buffer
	for {
		c, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		image.Write(c.Data)
	}
	id := ""
	for r := tar.NewReader(&image); ; {
		header, err := r.Next()
		if err != nil {
			break
		}
		if header.Name == "manifest.json" {
			var manifests []struct{ Config string }
			check(json.NewDecoder(r).Decode(&manifests))
			id = "sha256:" + strings.TrimSuffix(path.Base(manifests[0].Config), ".json")
		}
	}
	a.as.mu.Lock()
	defer a.as.mu.Unlock()
	a.images[id] = true
	return stream.SendAndClose(&api.Image{Id: id})
}

// Preflight finds that a service named unmovable has a socket that cannot move.
func (a *agent) Preflight(_ context.Context, order *api.MoveOrder) (*api.PreflightReply, error) {
	reply := &api.PreflightReply{
		ImageBytes: 0, VolumeBytes: 2048, MemoryBytes: 10 << 20, ExpectedFreezeMs: 267.3, ExpectedTotalMs: 1767.3,
		Formula: "250 ms + 1.65 ms/MB x 10.5 MB",
		Checks: []*api.Check{
			{Name: "criu", Node: a.node, Holds: true, Detail: "4.2.1; criu check: Looks good."},
			{Name: "memory", Node: order.To, Holds: true, Detail: "1.0 GiB free for the service's and its image's 20.0 MiB"},
			{Name: "sockets", Node: a.node, Holds: true, Detail: "3, all of kinds that CRIU carries"},
		},
	}
	if order.Service == "unmovable" {
		reply.Checks[2].Holds, reply.Checks[2].Detail = false, "fd 7 of pid 12 (sctpd): SCTP, which CRIU does not carry; move the service warm"
	}
	return reply, nil
}

func (a *agent) Ask(_ context.Context, ref *api.OpRef) (*api.OutcomeReply, error) {
	a.as.mu.Lock()
	defer a.as.mu.Unlock()
	return &api.OutcomeReply{Outcome: a.as.outcomes[ref.Op]}, nil
}

func (a *agent) Do(order *api.Order, stream grpc.ServerStreamingServer[api.Event]) error {
	a.set(order.Op, api.Outcome_PENDING)
	phase := func(name string) { _ = stream.Send(&api.Event{Op: order.Op, Phase: name}) }
	last := &api.Event{Op: order.Op, Done: true, Outcome: api.Outcome_COMMITTED}
	switch what := order.What.(type) {
	case *api.Order_Deploy:
		phase("create")
		hold()
		a.deploy(order.Op, what.Deploy.Replica, last)
	case *api.Order_Remove:
		a.take(what.Remove.Service, what.Remove.Replica)
		last.Outcome = api.Outcome_COMMITTED
	case *api.Order_Transfer:
		phase("reserve")
		for _, sent := range []int64{1 << 20, 4 << 20} {
			_ = stream.Send(&api.Event{Op: order.Op, Phase: "volumes", Detail: "keys to " + what.Transfer.To, Bytes: sent,
				TotalBytes: 4 << 20, ExpectedFreezeMs: 267.3})
		}
		if target := a.as.agents[what.Transfer.To]; target.has(what.Transfer.Service, what.Transfer.Replica) {
			a.set(order.Op, api.Outcome_ABORTED)
			return status.Errorf(codes.FailedPrecondition, "%s: the replica is RUNNING here", target.node)
		}
	case *api.Order_Prewarm:
		phase("arm")
		if what.Prewarm.Service == "unmovable" {
			return status.Error(codes.Internal, "no room in tmpfs")
		}
	case *api.Order_Cancel:
		last.Outcome = api.Outcome_COMMITTED
	case *api.Order_Cutover:
		phase("switch")
		hold()
		a.cutover(order.Op, what.Cutover, last)
	}
	a.set(order.Op, last.Outcome)
	return stream.Send(last)
}

func (a *agent) deploy(op string, r *api.Replica, last *api.Event) {
	if r.Service == "broken" {
		last.Outcome, last.Error = api.Outcome_ABORTED, "the probe did not pass in 30 s"
		return
	}
	last.Outcome, last.Instance = api.Outcome_COMMITTED, a.put(op, r)
}

func (a *agent) cutover(op string, m *api.MoveOrder, last *api.Event) {
	replica := a.take(m.Service, m.Replica)
	last.Outcome = api.Outcome_COMMITTED
	last.Instance = a.as.agents[m.To].put(op, replica)
	last.Move = &api.Move{
		Op: op, Service: m.Service, Replica: m.Replica, From: a.node, To: m.To, Mode: m.Mode,
		Phases:          []*api.Phase{{Name: "switch", StartMs: 10, TookMs: 1.25}, {Name: "release", StartMs: 210, TookMs: 2.5}},
		CheckpointBytes: 10 << 20, VolumeBytes: 2048, PacketsHeld: 7, SwitchToReleaseMs: 202.5,
		StartedUnixMs: 1795262400000, ExpectedFreezeMs: 267.3, Options: m.Options, Criu: map[string]float64{"dump_frozen_us": 98000},
		Rounds: []*api.Round{{Bytes: 9 << 20, TookMs: 90.5, What: "memory"}}, Notes: map[string]string{"precopy": "by content"},
	}
}

func (a *agent) put(op string, r *api.Replica) *api.Instance {
	a.as.mu.Lock()
	defer a.as.mu.Unlock()
	name := fmt.Sprintf("%s-%d", r.Service, r.Replica)
	a.replicas[name] = r
	a.instances[name] = &api.Instance{
		Service: r.Service, Replica: r.Replica, Node: a.node, NodeAddress: a.address,
		ServiceAddress: strings.TrimSuffix(r.Address, "/24"),
		Container:      name, State: api.State_RUNNING, Op: op, SinceUnixMs: 1795262400000, ImageId: r.ImageId,
	}
	return a.instances[name]
}

func (a *agent) take(service string, replica int32) *api.Replica {
	a.as.mu.Lock()
	defer a.as.mu.Unlock()
	name := fmt.Sprintf("%s-%d", service, replica)
	defer delete(a.instances, name)
	return a.replicas[name]
}

func (a *agent) has(service string, replica int32) bool {
	a.as.mu.Lock()
	defer a.as.mu.Unlock()
	return a.instances[fmt.Sprintf("%s-%d", service, replica)] != nil
}

func (a *agent) set(op string, outcome api.Outcome) {
	a.as.mu.Lock()
	defer a.as.mu.Unlock()
	a.as.outcomes[op] = outcome
}

// hold waits while the file "hold" exists.
func hold() {
	for first := true; ; first = false {
		if _, err := os.Stat("hold"); err != nil {
			return
		}
		if first {
			check(os.WriteFile("held", nil, 0o600))
		}
		time.Sleep(20 * time.Millisecond)
	}
}
