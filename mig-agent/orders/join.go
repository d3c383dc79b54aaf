package orders

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/internal/managers"
	"sonic-netservices/mig-agent/witness"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// apiLevel is the newest level of api/netservices.proto this program speaks.
const apiLevel = 4

// stayJoined tells the manager that leads that this node is here and follows the members of the AS; they are the other
// ends of the service segment.
func (a *Agent) stayJoined(ctx context.Context) {
	conn := managers.New(a.id, witness.Managers(a.cfg.Dir, a.cfg.Managers))
	defer conn.Close()
	for ctx.Err() == nil {
		if err := a.join(ctx, conn); err != nil && ctx.Err() == nil {
			a.log.Warn("not joined", "err", err)
		}
		pause(ctx, time.Second)
		if err := a.applySegment(ctx); err != nil && ctx.Err() == nil { // an access port that came late
			a.log.Warn("service segment", "err", err)
		}
	}
}

// joined is where this node is joined.
type joined struct {
	cluster string // of the manager
	epoch   uint64
	leave   context.CancelCauseFunc
}

// errSucceeded ends a stay at a manager that has a successor.
var errSucceeded = errors.New("another manager leads now")

// succeeded leaves the manager that this node is joined to when a newer one gives orders: one that lost its power does
// not say that it is gone. The caller holds mu.
func (a *Agent) succeeded(by allegiance) {
	if a.joined != nil && (a.joined.cluster != by.Cluster || a.joined.epoch < by.Epoch) {
		a.joined.leave(errSucceeded)
	}
}

func (a *Agent) join(ctx context.Context, conn *managers.Conn) error {
	hello, err := a.hello(ctx)
	if err != nil {
		return err
	}
	leader, to, err := conn.Leader(ctx)
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer func() {
		a.mu.Lock()
		a.joined = nil
		a.mu.Unlock()
		leave(nil)
	}()
	stream, err := api.NewManagerClient(to).Join(ctx, hello)
	if err != nil {
		return err
	}
	for {
		members, err := stream.Recv()
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, errSucceeded) {
				err = cause
			}
			return fmt.Errorf("%s: %w", leader.Node, err)
		}
		a.mu.Lock()
		a.joined = &joined{members.Cluster, members.Epoch, leave}
		_, err = a.obeys.hears(members)
		changed := !proto.Equal(known(a.members, a.managers), known(members.Members, members.Managers))
		if err == nil {
			a.members, a.managers = members.Members, members.Managers
		}
		a.mu.Unlock()
		if err != nil { // it is no manager of ours
			return fmt.Errorf("%s: %w", leader.Node, err)
		}
		a.log.Info("members", "count", len(members.Members), "manager", leader.Node)
		if !changed {
			continue
		}
		if err := writeMessage(witness.MembersFile(a.cfg.Dir), known(members.Members, members.Managers)); err != nil {
			return err
		}
		if err := a.applySegment(ctx); err != nil {
			return err
		}
	}
}

// known is what the members' file keeps.
func known(members []*api.Hello, managers []*api.ManagerView) *api.Members {
	return &api.Members{Members: members, Managers: managers}
}

// hello says what this node can do, to the manager and in RESOUR_AGENT.
func (a *Agent) hello(ctx context.Context) (*api.Hello, error) {
	facts, err := a.helper.Facts(ctx, &api.Empty{})
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	h := &api.Hello{
		Node: a.cfg.Node, Address: a.cfg.Address, Version: a.cfg.Version, Api: apiLevel,
		Agent:  fmt.Sprintf("%s:%d", a.cfg.Address, netmap.AgentPort),
		Helper: fmt.Sprintf("%s:%d", a.cfg.Address, netmap.HelperPort),
		Modes:  []string{string(netmap.Warm), string(netmap.Cold)}, Cannot: map[string]string{},
	}
	if len(facts.Missing) == 0 {
		h.Modes = []string{string(netmap.Live), string(netmap.Warm), string(netmap.Cold)}
	} else {
		h.Cannot[string(netmap.Live)] = strings.Join(facts.Missing, "; ")
	}
	row := resourdb.Agent{Node: a.cfg.Node, Addr: h.Agent, CRIU: facts.Platform.GetCriu(), From: facts.CriuFrom, Runtime: "mig",
		Cannot: map[netmap.Mode]string{}}
	for _, m := range h.Modes {
		row.Modes = append(row.Modes, netmap.Mode(m))
	}
	for m, why := range h.Cannot {
		row.Cannot[netmap.Mode(m)] = why
	}
	a.rows.put(row)
	return h, nil
}
