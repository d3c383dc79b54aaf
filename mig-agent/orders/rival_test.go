package orders

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/netmap"
)

// gates is a helper that remembers who was silenced and who speaks.
type gates struct {
	api.HelperClient
	silent  map[int32]bool
	segment *api.SegmentConfig
}

func (g *gates) Silence(_ context.Context, t *api.Traffic, _ ...grpc.CallOption) (*api.Empty, error) {
	g.silent[t.Pid] = true
	return &api.Empty{}, nil
}

func (g *gates) TakeBack(_ context.Context, in *api.TakeBackRequest, _ ...grpc.CallOption) (*api.Empty, error) {
	g.silent[in.Traffic.Pid] = false
	return &api.Empty{}, nil
}

func (g *gates) SetSegment(_ context.Context, in *api.SegmentConfig, _ ...grpc.CallOption) (*api.Empty, error) {
	g.segment = in
	return &api.Empty{}, nil
}

func serving(name string, pid int) *local {
	id, _ := netmap.ParseReplicaID(name)
	return &local{id: id, state: netmap.Running, since: time.Now().Add(-time.Minute), holder: engine.Container{PID: pid},
		spec: &api.Replica{Service: id.Service, Address: "10.20.0.10/24", MoreAddresses: []string{"fd20::10/64"},
			Ports: []*api.Port{{Protocol: "tcp", Node: 8443, Container: 80}}}}
}

func agentWith(g *gates, locals ...*local) *Agent {
	a := &Agent{cfg: Config{Node: "leaf1", Segment: Segment{MTU: 1280}}, log: slog.New(slog.DiscardHandler), rows: &rowWriter{},
		helper: &helperLink{HelperClient: g}, locals: map[netmap.ReplicaID]*local{},
		members: []*api.Hello{{Node: "leaf1"}, {Node: "leaf2"}}}
	for _, l := range locals {
		a.locals[l.id] = l
	}
	return a
}

// TestSecondOwner: the one whose manager believes it elsewhere falls silent and publishes no port, and serves again on
// the manager's word; the other one goes on and says what it sees.
func TestSecondOwner(t *testing.T) {
	rival := &api.Rival{Pid: 7, Address: "10.20.0.10", Mac: address.MAC("leaf2", "kms-0").String()}
	here, elsewhere := []*api.Leased{{Service: "kms"}}, []*api.Leased{{Service: "kms", Replica: 1}}
	g := &gates{silent: map[int32]bool{}}
	l := serving("kms-0", 7)
	a := agentWith(g, l)

	a.hear(elsewhere)
	a.compare(t.Context())
	if g.silent[7] {
		t.Fatal("silent without a rival: a manager that lost its journal would end all services")
	}
	a.meet(rival)
	if want := "10.20.0.10 of kms-0 on leaf1 is claimed by leaf2 too"; a.instance(l).Problem != want {
		t.Errorf("problem %q, want %q", a.instance(l).Problem, want)
	}
	a.hear(here)
	a.compare(t.Context())
	if g.silent[7] {
		t.Fatal("the one the manager believes in fell silent")
	}
	l.since = time.Now()
	a.hear(elsewhere)
	a.compare(t.Context())
	if g.silent[7] {
		t.Fatal("silent by a renewal that may be older than the replica's move to this node")
	}
	l.since = time.Now().Add(-time.Minute)
	a.hear(elsewhere)
	a.compare(t.Context())
	if !g.silent[7] || !g.segment.Holders[0].Quiet || len(g.segment.Holders[0].Ports) != 0 {
		t.Fatalf("the second owner serves on: silent %v, segment %v", g.silent, g.segment)
	}
	if problem := a.instance(l).Problem; !strings.Contains(problem, "kms-0 is silent on leaf1: leaf2 serves") {
		t.Errorf("problem of the silent one: %q", problem)
	}
	a.hear(here)
	a.compare(t.Context())
	if g.silent[7] || g.segment.Holders[0].Quiet || len(g.segment.Holders[0].Ports) != 1 {
		t.Errorf("the manager's word does not count: silent %v, segment %v", g.silent, g.segment)
	}
	if problem := a.instance(l).Problem; problem != "" {
		t.Errorf("problem of the only owner: %q", problem)
	}
}

// TestMoveIsNoRivalry: in a move another node claims the address on purpose.
func TestMoveIsNoRivalry(t *testing.T) {
	for _, state := range []netmap.State{netmap.Migrating, netmap.Ready} {
		l := serving("kms-0", 7)
		l.state = state
		a := agentWith(&gates{}, l)
		a.meet(&api.Rival{Pid: 7, Address: "10.20.0.10", Mac: "02:00:00:00:00:01"})
		if l.rival != nil {
			t.Errorf("%s: %v was raised", state, l.rival)
		}
	}
	l := serving("kms-0", 7)
	a := agentWith(&gates{}, l)
	a.meet(&api.Rival{Pid: 7, Address: "10.20.0.10", Mac: "02:00:00:00:00:01"})
	if want := "claimed by 02:00:00:00:00:01, no node of this AS, too"; !strings.Contains(a.problem(l), want) {
		t.Errorf("stranger: %q, want %q", a.problem(l), want)
	}
}

func TestRivalGoes(t *testing.T) {
	l := serving("kms-0", 7)
	a := agentWith(&gates{}, l)
	l.rival = &rival{last: time.Now().Add(-time.Hour)}
	if a.forgetRival(l); l.rival != nil {
		t.Error("a rival that is gone stays")
	}
}

// TestCollides: what the segment could not carry is refused by name, before it stops all others.
func TestCollides(t *testing.T) {
	a := agentWith(&gates{}, serving("kms-0", 7))
	for want, change := range map[string]func(*api.Replica){
		"address 10.20.0.10 of dns-0 belongs to kms-0": func(r *api.Replica) { r.Address = "10.20.0.10/24" },
		"address fd20::10 of dns-0 belongs to kms-0":   func(r *api.Replica) { r.MoreAddresses = []string{"fd20::10/64"} },
		"port 8443/tcp of dns-0 is published by kms-0": func(r *api.Replica) { r.Ports = []*api.Port{{Protocol: "tcp", Node: 8443, Container: 1}} },
		"": func(r *api.Replica) { r.Ports = []*api.Port{{Protocol: "udp", Node: 8443, Container: 1}} },
	} {
		l := serving("dns-0", 8)
		l.spec = &api.Replica{Service: "dns", Address: "10.20.0.11/24"}
		change(l.spec)
		err := a.claim(l, "op", netmap.Migrating)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
		delete(a.locals, l.id)
	}
	a.cfg.Segment.MTU = 1240
	l := &local{id: netmap.ReplicaID{Service: "dns"}, spec: &api.Replica{Address: "10.20.0.11/24", MoreAddresses: []string{"fd20::11/64"}}}
	if err := a.claim(l, "op", netmap.Migrating); err == nil || !strings.Contains(err.Error(), "MTU of 1280") {
		t.Errorf("IPv6 in a segment with an MTU of 1240: %v", err)
	}
}

func TestCheckAddressesAndPorts(t *testing.T) {
	for want, change := range map[string]func(*api.Replica){
		"more_addresses[0]":  func(r *api.Replica) { r.MoreAddresses = []string{"fd20::10"} },
		"ports[0].protocol":  func(r *api.Replica) { r.Ports = []*api.Port{{Protocol: "sctp", Node: 1, Container: 1}} },
		"ports[0].node":      func(r *api.Replica) { r.Ports = []*api.Port{{Protocol: "tcp", Container: 1}} },
		"ports[0].container": func(r *api.Replica) { r.Ports = []*api.Port{{Protocol: "tcp", Node: 1, Container: 65536}} },
	} {
		r := &api.Replica{Service: "kms", ImageId: "sha256:0", Address: "10.20.0.10/24"}
		change(r)
		if err := checkReplica(r); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
