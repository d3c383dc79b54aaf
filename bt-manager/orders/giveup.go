package orders

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
)

// Recover begins to run anew, with empty volumes, a replica whose only copy is on a node that does not answer. Nobody
// but an operator can know that the node is gone for good, or that what it has is not worth waiting for: without accept
// it is refused, with what would be lost. told are the instances of the nodes that answer.
//
// When the node comes back after all its agent starts nothing that was placed elsewhere (RenewRequest.placed), and what
// it has of the replica is removed (Evict).
func (s *State) Recover(w World, id netmap.ReplicaID, to string, accept bool, told map[string][]*api.Instance) ([]Record, error) {
	service, ok := s.Services[id.Service]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no service %s", id.Service)
	}
	at, ok := service.Replicas[id.Replica]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "service %s has no replica %d", id.Service, id.Replica)
	}
	if w.Here[at.Node] {
		return nil, status.Errorf(codes.FailedPrecondition, "node %s answers: %s is not lost", at.Node, id)
	}
	for node, instances := range told {
		for _, i := range instances {
			if i.Service == id.Service && int(i.Replica) == id.Replica && i.State == api.State_RUNNING {
				return nil, status.Errorf(codes.FailedPrecondition, "%s runs on %s: it is not lost", id, node)
			}
		}
	}
	loss := s.loss(id, at)
	if !accept {
		return nil, status.Errorf(codes.FailedPrecondition, "%s; --accept-loss runs it anew from %s", loss, service.Spec.Image)
	}
	nodes, _, err := s.candidates(w, service.Spec, to, nil)
	if err != nil {
		return nil, err
	}
	var records []Record
	if op, ok := s.InFlight(id); ok {
		records = append(records, Record{Kind: Ended, At: w.At, ID: op.ID,
			End: &End{Outcome: Aborted, Error: "given up with " + at.Node + " by an operator"}})
	}
	return append(records, Record{Kind: Begun, At: w.At, Op: &Op{
		ID: w.NewID(), Verb: Deploy, Replica: id, Node: nodes[0], Candidates: nodes[1:],
		Reason: "operator's order: " + loss, Step: StepReach, Started: w.At,
	}}), nil
}

// loss says what is given up with the node that has a replica.
func (s *State) loss(id netmap.ReplicaID, at Placement) string {
	what := "what it has in memory"
	var volumes []string
	for _, v := range s.Services[id.Service].Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	if len(volumes) > 0 {
		what += " and all of its volumes (" + strings.Join(volumes, ", ") + ")"
	}
	return fmt.Sprintf("%s ran on %s, which does not answer, since %s; lost is %s", id, at.Node, at.Since.UTC().Format(time.RFC3339), what)
}

// Recover begins to run a lost replica anew.
func (m *Manager) Recover(ctx context.Context, id netmap.ReplicaID, to string, accept bool) ([]*Feed, error) {
	told := m.inventories(ctx)
	feeds, err := m.command(func(w World) ([]Record, error) { return m.state.Recover(w, id, to, accept, told) })
	for _, feed := range feeds {
		m.View(func(s *State) {
			if op, ok := s.InFlight(id); ok {
				feed.add(&api.Event{Op: op.ID, Phase: "loss", Detail: strings.TrimPrefix(op.Reason, "operator's order: ")})
			}
		})
	}
	return feeds, err
}
