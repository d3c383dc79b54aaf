package orders

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// World is what a command sees beside the state.
type World struct {
	At       time.Time
	Here     map[string]bool // nodes whose agents are connected
	Segment  netip.Prefix    // gateway and length of the service segment; zero when unknown
	Segment6 netip.Prefix    // the same for IPv6; zero when it has none
	Trees    bool            // behaviour trees run, and place what nobody places by hand
	NewID    func() string   // of operations
}

// Deploy begins to run a service on node, or where the manager chooses when node is "": one operation per replica.
func (s *State) Deploy(w World, wanted *spec.Service, node string) ([]Record, error) {
	if op, ok := s.busy(wanted.Name); ok {
		return nil, inFlight(op)
	}
	if _, ok := s.Services[wanted.Name]; ok {
		return nil, status.Errorf(codes.AlreadyExists, "service %s is deployed already; remove it first", wanted.Name)
	}
	if err := s.acceptable(w, wanted); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	image, err := s.image(wanted.Image)
	if err != nil {
		return nil, err
	}
	text, err := spec.Print(wanted)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	lasts := w.Trees && node == "" // the trees place it, now or when there is room
	records := []Record{{Kind: Desired, At: w.At, Desire: &Desire{Spec: string(text), ImageID: image, Lasts: lasts}}}
	if !lasts {
		records = append(records, Record{Kind: Admitted, At: w.At, ID: wanted.Name, Index: s.Index + 1})
	}
	placed := map[string]int{}
	for n := range wanted.Replicas {
		nodes, reason, err := s.candidates(w, wanted, node, placed)
		if err != nil {
			return nil, err
		}
		if lasts {
			continue
		}
		placed[nodes[0]]++
		records = append(records, Record{Kind: Begun, At: w.At, Op: &Op{
			ID: w.NewID(), Verb: Deploy, Replica: netmap.ReplicaID{Service: wanted.Name, Replica: n},
			Node: nodes[0], Candidates: nodes[1:], Reason: reason, Step: StepReach, Started: w.At,
		}})
	}
	return records, nil
}

// acceptable names every field that this version cannot honour, and addresses that do not fit the network.
func (s *State) acceptable(w World, wanted *spec.Service) error {
	var errs []error
	refuse := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if wanted.Replicas == spec.PerNode {
		refuse("replicas", "this version runs a number of replicas, not per-node")
	}
	if wanted.Strategy != spec.Balance {
		refuse("strategy", "this version places by balance, not %s", wanted.Strategy)
	}
	if wanted.Traffic != spec.Delay {
		refuse("traffic", "this version has no tunnels chosen by %s", wanted.Traffic)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Secrets)) {
		if wanted.Secrets[name].File != "" {
			refuse("secrets."+name, "the manager reads no files; nsctl puts in what the file holds")
		}
	}
	for n := range max(wanted.Replicas, 1) {
		address, _ := wanted.ReplicaAddress(n)
		if why := s.unusable(w, address); why != "" {
			refuse("address", "%s", why)
		}
		further, _ := wanted.ReplicaAddresses(n)
		for i, address := range further {
			if why := s.unusable(w, address); why != "" {
				refuse(fmt.Sprintf("addresses[%d]", i), "%s", why)
			}
		}
	}
	for i, p := range wanted.Ports {
		if other := s.publisher(wanted, p); other != "" {
			refuse(fmt.Sprintf("ports[%d]", i), "%d/%s is published by %s, which may come to the same node; constraints.pin or avoid keep them apart",
				p.Node, p.Protocol, other)
		}
	}
	return errors.Join(errs...)
}

// unusable says why a replica cannot have an address, "" when it can.
func (s *State) unusable(w World, address netip.Prefix) string {
	segment := w.Segment
	if address.Addr().Is6() {
		segment = w.Segment6 // without one, IPv6 stays inside the segment, in any net
	}
	if segment.IsValid() {
		if address.Masked() != segment.Masked() {
			return fmt.Sprintf("%s is not in the service segment %s", address, segment.Masked())
		}
		if address.Addr() == segment.Addr() {
			return fmt.Sprintf("%s is the gateway of the service segment", address.Addr())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		other := s.Services[name].Spec
		for n := range other.Replicas {
			first, _ := other.ReplicaAddress(n)
			further, _ := other.ReplicaAddresses(n)
			for _, taken := range append(further, first) {
				if taken.Addr() == address.Addr() {
					return fmt.Sprintf("%s belongs to %s", address.Addr(), netmap.ReplicaID{Service: name, Replica: n})
				}
			}
		}
	}
	return ""
}

// publisher names a service that publishes the same port and may meet this one on a node, "" when there is none.
func (s *State) publisher(wanted *spec.Service, p spec.Port) string {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		other := s.Services[name].Spec
		same := func(o spec.Port) bool { return o.Node == p.Node && o.Protocol == p.Protocol }
		if slices.ContainsFunc(other.Ports, same) && mayMeet(wanted.Constraints, other.Constraints) {
			return name
		}
	}
	return ""
}

// mayMeet says whether replicas under the two constraints can come to one node: unless one is pinned to nodes that are
// all closed to the other.
func mayMeet(a, b spec.Constraints) bool {
	apart := func(pinned, other spec.Constraints) bool {
		return len(pinned.Pin) > 0 && !slices.ContainsFunc(pinned.Pin, func(node string) bool {
			return !slices.Contains(other.Avoid, node) && (len(other.Pin) == 0 || slices.Contains(other.Pin, node))
		})
	}
	return !apart(a, b) && !apart(b, a)
}

// image finds the ID of an image by its name, or by the ID itself.
func (s *State) image(name string) (string, error) {
	if image, ok := s.Images[name]; ok {
		return image.ID, nil
	}
	for _, image := range s.Images {
		if image.ID == name {
			return image.ID, nil
		}
	}
	return "", status.Errorf(codes.NotFound, "image: %s is not loaded; load it with nsctl image load", name)
}

// Migrate begins to move a replica to another node. Without a mode the service's own counts.
func (s *State) Migrate(w World, id netmap.ReplicaID, to string, mode netmap.Mode, options Options) ([]Record, error) {
	service, ok := s.Services[id.Service]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no service %s", id.Service)
	}
	if op, ok := s.InFlight(id); ok {
		return nil, inFlight(op)
	}
	at, ok := service.Replicas[id.Replica]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "service %s has no replica %d", id.Service, id.Replica)
	}
	if mode == "" {
		mode = service.Spec.Migration
	}
	target, ok := s.Members[to]
	if !ok {
		return nil, unknownNode(s, to)
	}
	if to == at.Node {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is on %s already", id, to)
	}
	for _, member := range []Member{s.Members[at.Node], target} {
		if !w.Here[member.Node] {
			return nil, status.Errorf(codes.Unavailable, "node %s is away", member.Node)
		}
		if !slices.Contains(member.Modes, string(mode)) {
			return nil, status.Errorf(codes.FailedPrecondition, "node %s cannot move %s: %s", member.Node, mode,
				cmp.Or(member.Cannot[string(mode)], "its agent does not offer it"))
		}
	}
	if why := s.forbidden(service.Spec, to, id); why != "" {
		return nil, status.Error(codes.FailedPrecondition, why)
	}
	return []Record{{Kind: Begun, At: w.At, Op: &Op{
		ID: w.NewID(), Verb: Move, Replica: id, Node: at.Node, To: to, Mode: mode, Options: options,
		Reason: "operator's order", Step: StepReach, Started: w.At,
	}}}, nil
}

// Remove begins to stop a service and to delete its volumes: one operation per replica.
func (s *State) Remove(w World, name string) ([]Record, error) {
	service, ok := s.Services[name]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no service %s", name)
	}
	if op, ok := s.busy(name); ok {
		return nil, inFlight(op)
	}
	var records []Record
	if len(service.Replicas) == 0 {
		records = append(records, Record{Kind: Forgotten, At: w.At, ID: name})
	}
	for _, n := range slices.Sorted(maps.Keys(service.Replicas)) {
		records = append(records, Record{Kind: Begun, At: w.At, Op: &Op{
			ID: w.NewID(), Verb: Remove, Replica: netmap.ReplicaID{Service: name, Replica: n},
			Node: service.Replicas[n].Node, Reason: "operator's order", Step: StepReach, Started: w.At,
		}})
	}
	return records, nil
}

// Place begins to run a replica on a node that a tree chose. A lost one is placed again although it has a place.
func (s *State) Place(w World, id netmap.ReplicaID, node string, lost bool) ([]Record, error) {
	service, ok := s.Services[id.Service]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no service %s", id.Service)
	}
	if op, ok := s.InFlight(id); ok {
		return nil, inFlight(op)
	}
	if at, ok := service.Replicas[id.Replica]; ok && !lost {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is on %s already", id, at.Node)
	}
	if _, ok := s.Members[node]; !ok {
		return nil, unknownNode(s, node)
	}
	if !w.Here[node] {
		return nil, status.Errorf(codes.Unavailable, "node %s is away", node)
	}
	if why := s.forbidden(service.Spec, node, id); why != "" {
		return nil, status.Error(codes.FailedPrecondition, why)
	}
	return []Record{{Kind: Begun, At: w.At, Op: &Op{
		ID: w.NewID(), Verb: Deploy, Replica: id, Node: node, Step: StepReach, Started: w.At,
	}}}, nil
}

// Advance lets a resting move go on.
func (s *State) Advance(at time.Time, id string, to decide.Step) ([]Record, error) {
	op, ok := s.Ops[id]
	if !ok {
		return nil, fmt.Errorf("no operation %s in flight", id)
	}
	next := Record{Kind: Stepped, At: at, ID: id}
	switch {
	case to == decide.Prewarm && op.Step == StepTransferred:
		next.Step = StepPrewarm
	case to == decide.Cutover && op.Step == StepReady:
		next.Step = StepCutover
	case to == decide.Cancel && op.Step.rests():
		next.Step, next.Problem = StepCancel, "taken back by the tree"
	default:
		return nil, fmt.Errorf("operation %s is at %s: no %s", id, op.Step, to)
	}
	return []Record{next}, nil
}

func unknownNode(s *State, node string) error {
	return status.Errorf(codes.NotFound, "no node %s; nodes are %s", node, strings.Join(slices.Sorted(maps.Keys(s.Members)), ", "))
}

func inFlight(op *Op) error {
	return status.Errorf(codes.FailedPrecondition, "%s: operation %s (%s) is in flight, at step %s", op.Replica, op.ID, op.Verb, op.Step)
}
