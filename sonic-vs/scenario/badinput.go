package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
)

// attempt is one thing that must be refused.
type attempt struct {
	name string
	want string // regular expression of what the error says
	try  func(ctx context.Context) string
}

// badInput gives nsctl, manager and agents what they must refuse: each error says what was wrong, nothing changes.
func badInput(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	orders, err := s.badOrders(owner)
	if err != nil {
		return err
	}
	calls, err := s.badCalls(ctx, owner)
	if err != nil {
		return err
	}
	before, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	s.refused(ctx, append(orders, calls...))
	after, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	for _, c := range changes(before, after) {
		s.fault("changed: %s", c)
	}
	s.say("%d places compared before and after", len(before))
	return nil
}

// refused makes each attempt and compares what it was told.
func (s *stage) refused(ctx context.Context, list []attempt) {
	for _, a := range list {
		got := a.try(ctx)
		s.say("%-44s %s", a.name, strings.ReplaceAll(got, "\n", " | "))
		if !regexp.MustCompile(a.want).MatchString(got) {
			s.fault("%s: got %q, want %s", a.name, got, a.want)
		}
	}
}

// badOrders are what an operator may type. nsctl must end with code 2.
func (s *stage) badOrders(owner string) ([]attempt, error) {
	good, err := os.ReadFile(s.spec())
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "specs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var list []attempt
	order := func(name, want string, args ...string) {
		list = append(list, attempt{name, "^exit code 2: (?s:.*)" + want, func(ctx context.Context) string {
			_, err := s.suite.Nsctl(ctx, args...)
			code, said := exitCode(err)
			return fmt.Sprintf("exit code %d: %s", code, said)
		}})
	}
	// Each change of the good spec is written to a file of its own. What is wrong in the file itself is told by its
	// place; the unknown image stands in the spec of another service, so that nothing else is wrong.
	const place = `:\d+:\d+: `
	for _, c := range []struct {
		file, want string
		change     []string // old, new, ...
	}{
		{"unknown-field.yaml", `unknown-field\.yaml` + place + `replica: `, []string{"replicas: 1", "replica: 1"}},
		{"negative-demand.yaml", `negative-demand\.yaml` + place + `demand\.compute: `, []string{"compute: 0.5", "compute: -0.5"}},
		{"unknown-image.yaml", `image: kms:9\.9\.9`,
			[]string{"name: kms", "name: kms9", "kms:1.0.0", "kms:9.9.9", "10.20.0.10/", "10.20.0.11/"}},
	} {
		for i := 0; i < len(c.change); i += 2 {
			if !strings.Contains(string(good), c.change[i]) {
				return nil, fmt.Errorf("%s has no %q", s.spec(), c.change[i])
			}
		}
		path := filepath.Join(dir, c.file)
		if err := os.WriteFile(path, []byte(strings.NewReplacer(c.change...).Replace(string(good))), 0o644); err != nil {
			return nil, err
		}
		order("deploy "+c.file, c.want, "deploy", "-f", path)
	}
	order("deploy a second time", service+" is deployed already", "deploy", "-f", s.spec())
	order("migrate to an unknown node", "no node leaf9", "migrate", replica, "--to", "leaf9")
	order("migrate to where it is", "is on "+owner+" already", "migrate", replica, "--to", owner)
	order("migrate an unknown service", "no service ghost", "migrate", "ghost", "--to", owner)
	order("migrate an unknown replica", "no replica 7", "migrate", service+"-7", "--to", owner)
	order("migrate in an unknown mode", "--mode", "migrate", replica, "--to", other(owner), "--mode", "quick")
	order("remove an unknown service", "no service ghost", "remove", "ghost")
	return list, nil
}

// badCalls are what a program with a certificate of its own may try on the wire.
func (s *stage) badCalls(ctx context.Context, owner string) ([]attempt, error) {
	home, away, leader := s.node(owner), s.node(other(owner)), s.leader()
	var callers []caller
	for _, who := range []struct {
		name string
		role pki.Role
	}{{leader.Name, pki.Manager}, {away.Name, pki.Node}, {"admin", pki.Operator}, {"guest", pki.Viewer}} {
		c, err := s.issue(who.name, who.role)
		if err != nil {
			return nil, err
		}
		callers = append(callers, c)
	}
	manager, peer, operator, viewer := callers[0], callers[1], callers[2], callers[3]
	epoch, err := epochOf(ctx, manager, home)
	if err != nil {
		return nil, err
	}
	managers, err := s.suite.Managers(ctx)
	if err != nil {
		return nil, err
	}

	var list []attempt
	call := func(name, want string, who caller, n *node, role pki.Role, f func(context.Context, *grpc.ClientConn) error) {
		list = append(list, attempt{name, want, func(ctx context.Context) string { return said(who.call(ctx, n, role, f)) }})
	}
	remove := func(epoch uint64) func(context.Context, *grpc.ClientConn) error {
		return func(ctx context.Context, conn *grpc.ClientConn) error {
			stream, err := api.NewAgentClient(conn).Do(ctx, &api.Order{Op: "badinput", Epoch: epoch, Cluster: managers.Cluster,
				What: &api.Order_Remove{Remove: &api.RemoveOrder{Service: service}}})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}
	}
	reserve := func(from string, epoch uint64) func(context.Context, *grpc.ClientConn) error {
		return func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := api.NewPeerClient(conn).Reserve(ctx, &api.ReserveRequest{Op: "badinput", Epoch: epoch, From: from,
				Mode: api.Mode_COLD, Replica: &api.Replica{Service: "ghost", Address: "10.20.0.66/24", ImageId: "sha256:0"}})
			return err
		}
	}
	call("an order with a stale epoch", "^FailedPrecondition: .*epoch", manager, home, pki.Node, remove(epoch-1))
	call("a reservation with a stale epoch", "^FailedPrecondition: .*epoch", peer, home, pki.Node, reserve(peer.id.Name, epoch-1))
	call("an order of other managers", "^FailedPrecondition: cluster: this node obeys the managers of "+managers.Cluster, manager, home, pki.Node,
		func(ctx context.Context, conn *grpc.ClientConn) error {
			stream, err := api.NewAgentClient(conn).Do(ctx, &api.Order{Op: "badinput", Epoch: epoch + 1, Cluster: "others",
				What: &api.Order_Remove{Remove: &api.RemoveOrder{Service: service}}})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		})
	call("an order without an order", "^InvalidArgument: what", manager, home, pki.Node,
		func(ctx context.Context, conn *grpc.ClientConn) error {
			stream, err := api.NewAgentClient(conn).Do(ctx, &api.Order{Op: "badinput", Epoch: epoch, Cluster: managers.Cluster})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		})
	call("a node orders another", "^PermissionDenied: .*role node.* Do ", peer, home, pki.Node, remove(epoch))
	call("an operator reserves", "^PermissionDenied: .*role operator.* Reserve ", operator, home, pki.Node, reserve("admin", epoch))
	call("a node speaks for another", "^PermissionDenied: from: ", peer, home, pki.Node, reserve(leader.Name, epoch))
	call("a viewer deploys", "^PermissionDenied: .*role viewer.* Deploy ", viewer, leader, pki.Manager,
		func(ctx context.Context, conn *grpc.ClientConn) error {
			stream, err := api.NewManagerClient(conn).Deploy(ctx, &api.DeployRequest{File: "kms.yaml"})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		})
	for _, door := range []struct {
		at   *node
		role pki.Role
	}{{home, pki.Node}, {leader, pki.Manager}} {
		list = append(list, attempt{"a certificate of another CA, to a " + string(door.role), "remote error: tls: ",
			func(ctx context.Context) string { return fmt.Sprint(s.asStranger(ctx, door.at, door.role)) }})
	}
	return list, nil
}

// epochOf asks an agent for the newest epoch it has seen.
func epochOf(ctx context.Context, manager caller, n *node) (epoch uint64, err error) {
	err = manager.call(ctx, n, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
		inventory, err := api.NewAgentClient(conn).Inventory(ctx, &api.Empty{})
		epoch = inventory.GetEpoch()
		return err
	})
	if err == nil && epoch == 0 {
		err = errors.New("it has seen none")
	}
	if err != nil {
		err = fmt.Errorf("epoch of %s: %w", n.Name, err)
	}
	return epoch, err
}
