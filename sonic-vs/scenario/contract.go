package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/internal/sim/contract"
	"sonic-netservices/netmap"
)

// contractKept gives the agents of two switches the orders of a manager, beside their own manager, and wants of them
// what internal/sim's agents answer: the simulation is worth what this finds.
func contractKept(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	home, target := s.node(owner), s.node(other(owner))
	manager, err := s.issue(s.leader().Name, pki.Manager)
	if err != nil {
		return err
	}
	managers, err := s.suite.Managers(ctx)
	if err != nil {
		return err
	}
	bed := contract.Bed{
		Cluster: managers.Cluster,
		To:      &api.Hello{Node: target.Name, Agent: addressOf(target, pki.Node), Helper: fmt.Sprintf("%s:%d", target.Loopback, netmap.HelperPort)},
		Replica: &api.Replica{Address: "10.20.0.90/24", Volumes: []*api.Volume{{Name: "keys", Target: "/data"}},
			Probe: &api.Probe{Http: ":8080/healthz"}},
		Spare: "10.20.0.91/24",
	}
	for n, client := range map[*node]*api.AgentClient{home: &bed.Source, target: &bed.Target} {
		conn, err := manager.dial(n, pki.Node)
		if err != nil {
			return err
		}
		defer conn.Close()
		*client = api.NewAgentClient(conn)
	}
	inventory, err := bed.Source.Inventory(ctx, &api.Empty{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("inventory of %s: %w", owner, err)
	}
	i := slices.IndexFunc(inventory.Instances, func(i *api.Instance) bool { return i.Container == replica })
	if i < 0 {
		return fmt.Errorf("%s does not have %s", owner, replica)
	}
	bed.Replica.ImageId = inventory.Instances[i].ImageId
	for _, mode := range []api.Mode{api.Mode_LIVE, api.Mode_COLD} {
		bed.Mode, bed.Tag = mode, fmt.Sprintf("%s-%d", strings.ToLower(mode.String()), time.Now().Unix())
		err := contract.Check(ctx, bed, func(format string, args ...any) { s.say("%-5s "+format, append([]any{mode}, args...)...) })
		if err != nil {
			s.fault("%s: %v", mode, err)
		}
	}
	now, faults, err := s.settle(ctx)
	for _, f := range faults {
		s.fault("%s", f)
	}
	if err == nil && now != owner {
		s.fault("%s went from %s to %s, and nobody had ordered it", replica, owner, now)
	}
	return err
}
