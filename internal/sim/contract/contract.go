// Package contract is what every agent promises its manager, as checks that run on the simulated agents of internal/sim
// and on mig-agent on a switch alike: that is what makes the simulated ones believable.
//
// It gives orders to two agents under a manager's certificate, reads what they answer, and leaves both as they were. It
// is told by tests.
package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
)

// Bed is two agents and what may be tried on them.
type Bed struct {
	Source, Target api.AgentClient
	To             *api.Hello   // of the target: node, agent, helper
	Replica        *api.Replica // one that can run: image, which is on the source, volumes, address free in the segment
	Spare          string       // another address that is free
	Mode           api.Mode
	Cluster        string // whose orders the agents obey
	Tag            string // part of every operation's ID; another one for every run
}

// service is what comes and goes.
const service = "contract"

// limit of all checks together.
const limit = 3 * time.Minute

// Check tries every promise and gives what was broken. say is told what was kept.
func Check(ctx context.Context, b Bed, say func(format string, args ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	inventory, err := b.Source.Inventory(ctx, &api.Empty{})
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	if inventory.Epoch == 0 {
		return errors.New("no manager has spoken to the source: there is no older epoch")
	}
	c := &check{Bed: b, ctx: ctx, epoch: inventory.Epoch}
	for _, part := range []struct {
		name string
		try  func()
	}{
		{"what is unknown is refused", c.unknown},
		{"a deployment", c.deployment},
		{"a deployment that fails", c.failure},
		{"an older epoch", c.older},
		{"a move that is cancelled", c.cancelled},
		{"a move", c.moved},
		{"a removal", c.removed},
	} {
		before := len(c.faults)
		part.try()
		if len(c.faults) > before {
			for i := range c.faults[before:] {
				c.faults[before+i] = fmt.Errorf("%s: %w", part.name, c.faults[before+i])
			}
			break // the next begins where this one should have ended
		}
		say("kept: %s", part.name)
	}
	c.clean()
	return errors.Join(c.faults...)
}

type check struct {
	Bed
	ctx    context.Context
	epoch  uint64
	faults []error
}

func (c *check) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

func (c *check) unknown() {
	c.asked(c.Source, "never", api.Outcome_UNKNOWN)
	c.refused(c.Source, "remove-unknown", removal(0), codes.NotFound, service)
	for name, order := range map[string]*api.Order{"prewarm": c.prewarm(), "cutover": c.cutover(), "cancel": c.cancel()} {
		c.refused(c.Source, name+"-unknown", order, codes.FailedPrecondition, "")
	}
	c.refused(c.Source, "nothing", &api.Order{}, codes.InvalidArgument, "what")
	nowhere := c.deploy(0)
	nowhere.GetDeploy().Replica.ImageId = "sha256:" + strings.Repeat("0", 64)
	c.refused(c.Source, "no-image", nowhere, codes.NotFound, "image")
	nameless := c.deploy(0)
	nameless.GetDeploy().Replica.ImageId = "contract:1.0"
	c.refused(c.Source, "bad-image", nameless, codes.InvalidArgument, "image_id")
	c.instances("")
}

func (c *check) deployment() {
	c.done(c.Source, "deploy", c.deploy(0), api.Outcome_COMMITTED)
	c.instances("source: running")
	c.asked(c.Source, "deploy", api.Outcome_COMMITTED)
	c.refused(c.Source, "deploy-twice", c.deploy(0), codes.FailedPrecondition, "running")
	c.instances("source: running")
}

func (c *check) failure() {
	fails := c.deploy(1)
	fails.GetDeploy().Replica.Command = []string{"/nonexistent"}
	fails.GetDeploy().Replica.Address = c.Spare
	c.done(c.Source, "fails", fails, api.Outcome_ABORTED)
	c.asked(c.Source, "fails", api.Outcome_ABORTED)
	c.instances("source: running")
}

func (c *check) older() {
	order := c.deploy(1)
	order.GetDeploy().Replica.Address = c.Spare
	c.epoch--
	c.refused(c.Source, "deploy-old", order, codes.FailedPrecondition, "epoch")
	c.refused(c.Source, "transfer-old", c.transfer(), codes.FailedPrecondition, "epoch")
	if _, err := c.Source.Renew(c.ctx, &api.RenewRequest{Epoch: c.epoch, Cluster: c.Cluster}); status.Code(err) != codes.FailedPrecondition {
		c.fault("renew of an older epoch: %v", err)
	}
	c.epoch++
	c.asked(c.Source, "deploy-old", api.Outcome_UNKNOWN)
	c.instances("source: running")
}

// cancelled: until its cut-over a move can be taken back, and nothing is left of it.
func (c *check) cancelled() {
	c.done(c.Source, "back", c.transfer(), api.Outcome_COMMITTED)
	c.instances("source: migrating, target: migrating")
	c.asked(c.Source, "back", api.Outcome_PENDING)
	c.refused(c.Source, "second", c.transfer(), codes.FailedPrecondition, "")
	c.refused(c.Source, "remove-leaving", removal(0), codes.FailedPrecondition, "migrating")
	c.refused(c.Target, "remove-coming", removal(0), codes.FailedPrecondition, "migrating")
	c.refused(c.Target, "deploy-coming", c.deploy(0), codes.FailedPrecondition, "migrating")
	c.refused(c.Source, "back", c.cutover(), codes.FailedPrecondition, "")
	c.done(c.Source, "back", c.prewarm(), api.Outcome_COMMITTED)
	c.instances("source: migrating, target: ready")
	c.refused(c.Target, "deploy-ready", c.deploy(0), codes.FailedPrecondition, "ready")
	c.done(c.Source, "back", c.cancel(), api.Outcome_COMMITTED)
	c.instances("source: running")
	c.asked(c.Source, "back", api.Outcome_UNKNOWN)
	c.refused(c.Source, "back", c.cutover(), codes.FailedPrecondition, "")
}

// moved: after its commit nothing is taken back any more.
func (c *check) moved() {
	c.done(c.Source, "move", c.transfer(), api.Outcome_COMMITTED)
	c.done(c.Source, "move", c.prewarm(), api.Outcome_COMMITTED)
	c.done(c.Source, "move", c.cutover(), api.Outcome_COMMITTED)
	c.instances("target: running")
	c.asked(c.Source, "move", api.Outcome_COMMITTED)
	c.asked(c.Target, "move", api.Outcome_COMMITTED)
	c.refused(c.Source, "move", c.cancel(), codes.FailedPrecondition, "")
	c.refused(c.Source, "away", c.transfer(), codes.FailedPrecondition, "")
	c.refused(c.Target, "deploy-moved", c.deploy(0), codes.FailedPrecondition, "running")
	c.instances("target: running")
}

func (c *check) removed() {
	c.done(c.Target, "remove", removal(0), api.Outcome_COMMITTED)
	c.asked(c.Target, "remove", api.Outcome_COMMITTED)
	c.refused(c.Target, "remove-gone", removal(0), codes.NotFound, service)
	c.instances("")
}

// clean removes what a broken promise has left.
func (c *check) clean() {
	if len(c.faults) == 0 {
		return
	}
	for i, agent := range []api.AgentClient{c.Source, c.Target} {
		for n := range int32(2) {
			_, _ = c.do(agent, fmt.Sprintf("clean-%d-%d", i, n), removal(n))
		}
	}
}

// do gives an order and waits for its last event.
func (c *check) do(agent api.AgentClient, op string, order *api.Order) (*api.Event, error) {
	order.Op, order.Epoch, order.Cluster = c.op(op), c.epoch, c.Cluster
	stream, err := agent.Do(c.ctx, order)
	if err != nil {
		return nil, err
	}
	for {
		e, err := stream.Recv()
		if err == io.EOF {
			err = errors.New("the stream ended without a last event")
		}
		if err != nil || e.Done {
			return e, err
		}
	}
}

func (c *check) op(name string) string { return service + "-" + c.Tag + "-" + name }

// done wants an order to end so, and its repeat to be told the same.
func (c *check) done(agent api.AgentClient, op string, order *api.Order, want api.Outcome) {
	first, err := c.do(agent, op, order)
	if err != nil || first.Outcome != want || (want == api.Outcome_ABORTED) != (first.Error != "") {
		c.fault("%s %T ended with %v, %v; want %v", op, order.What, first, err, want)
		return
	}
	if second, err := c.do(agent, op, order); err != nil || !proto.Equal(first, second) {
		c.fault("%s %T again: %v, %v; want what was told before: %v", op, order.What, second, err, first)
	}
}

// refused wants an order to be refused with a code and a word that says why.
func (c *check) refused(agent api.AgentClient, op string, order *api.Order, want codes.Code, word string) {
	e, err := c.do(agent, op, order)
	if status.Code(err) != want || !strings.Contains(status.Convert(err).Message(), word) {
		c.fault("%s %T: %v, %v; want %v that says %q", op, order.What, e, err, want, word)
	}
}

// asked wants the outcome of an operation to be that.
func (c *check) asked(agent api.AgentClient, op string, want api.Outcome) {
	reply, err := agent.Ask(c.ctx, &api.OpRef{Op: c.op(op)})
	if err != nil || reply.Outcome != want {
		c.fault("asked for %s: %v, %v; want %v", op, reply, err, want)
	}
}

// instances wants the inventories of both to show the service so.
func (c *check) instances(want string) {
	var list []string
	for i, agent := range []api.AgentClient{c.Source, c.Target} {
		reply, err := agent.Inventory(c.ctx, &api.Empty{})
		if err != nil {
			c.fault("inventory: %v", err)
			return
		}
		for _, at := range reply.Instances {
			if at.Service == service {
				list = append(list, []string{"source", "target"}[i]+": "+strings.ToLower(at.State.String()))
			}
		}
	}
	slices.Sort(list)
	if got := strings.Join(list, ", "); got != want {
		c.fault("%s is at %q, want %q", service, got, want)
	}
}

func (c *check) deploy(n int32) *api.Order {
	r := proto.CloneOf(c.Replica)
	r.Service, r.Replica = service, n
	return &api.Order{What: &api.Order_Deploy{Deploy: &api.DeployOrder{Replica: r}}}
}

func removal(n int32) *api.Order {
	return &api.Order{What: &api.Order_Remove{Remove: &api.RemoveOrder{Service: service, Replica: n}}}
}

func (c *check) move() *api.MoveOrder {
	return &api.MoveOrder{Service: service, Mode: c.Mode, To: c.To.Node, ToAgent: c.To.Agent, ToHelper: c.To.Helper}
}

func (c *check) transfer() *api.Order {
	return &api.Order{What: &api.Order_Transfer{Transfer: c.move()}}
}
func (c *check) prewarm() *api.Order { return &api.Order{What: &api.Order_Prewarm{Prewarm: c.move()}} }
func (c *check) cutover() *api.Order { return &api.Order{What: &api.Order_Cutover{Cutover: c.move()}} }
func (c *check) cancel() *api.Order  { return &api.Order{What: &api.Order_Cancel{Cancel: c.move()}} }
