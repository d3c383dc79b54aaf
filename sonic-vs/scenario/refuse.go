package scenario

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
)

// refuse: a target that is busy with the replica already refuses it, and so does one that cannot restore what the
// source would dump. The service goes on where it is, and moves as soon as the reason is gone.
func refuse(ctx context.Context, s *stage) error {
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
	source, err := s.issue(owner, pki.Node)
	if err != nil {
		return err
	}
	epoch, err := epochOf(ctx, manager, home)
	if err != nil {
		return err
	}
	request := &api.ReserveRequest{Epoch: epoch, From: owner, Replica: &api.Replica{Service: service,
		Address: strings.Replace(kmsAddress, ":8080", "/24", 1), ImageId: "sha256:" + strings.Repeat("0", 64)}}
	reserve := func(op string, mode api.Mode, platform *api.Platform) error {
		return source.call(ctx, target, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
			request.Op, request.Mode, request.Platform = op, mode, platform
			_, err := api.NewPeerClient(conn).Reserve(ctx, request)
			return err
		})
	}
	s.refused(ctx, []attempt{{"live, from another platform", "^FailedPrecondition: live is not possible on " + target.Name + ": .*criu",
		func(context.Context) string {
			return said(reserve("refuse-platform", api.Mode_LIVE, &api.Platform{Criu: "3.17", Kernel: "5.10"}))
		}}})

	// A reservation that a source would make, and then a real move to the same target.
	if err := reserve("refuse-held", api.Mode_COLD, nil); err != nil {
		return fmt.Errorf("reserve on %s: %w", target.Name, err)
	}
	s.refused(ctx, []attempt{{"a move to a target that is reserved", "^exit code 2: (?s:.*)is migrating on " + target.Name,
		func(ctx context.Context) string {
			code, said := exitCode(s.move(ctx, target.Name))
			return fmt.Sprintf("exit code %d: %s", code, lastLine(said))
		}}})
	if err := s.healthy(ctx); err != nil {
		s.fault("%s does not answer after the refusals: %v", service, err)
	}
	err = source.call(ctx, target, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := api.NewPeerClient(conn).Cancel(ctx, &api.OpRef{Op: "refuse-held"})
		return err
	})
	if err != nil {
		return fmt.Errorf("cancel reservation: %w", err)
	}
	s.refused(ctx, []attempt{{"a reservation under an ID that was cancelled", "^FailedPrecondition: operation refuse-held is already aborted",
		func(context.Context) string { return said(reserve("refuse-held", api.Mode_COLD, nil)) }}})
	if err := s.move(ctx, target.Name); err != nil {
		s.fault("the reservation is gone, but the move failed: %v", err)
	}
	now, faults, err := s.settle(ctx)
	for _, f := range faults {
		s.fault("%s", f)
	}
	s.say("%s runs on %s", replica, now)
	return err
}
