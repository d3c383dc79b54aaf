package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
)

// Options are how one move is done; the zero value leaves it to the agents.
type Options struct {
	Lazy      bool  `json:"lazy,omitempty"`
	Precopy   int32 `json:"precopy,omitempty"` // api.Precopy
	Bandwidth int64 `json:"bandwidth_bps,omitempty"`
}

// ParseOptions reads options from a message and names what no move can be done with.
func ParseOptions(o *api.MoveOptions, mode netmap.Mode) (Options, error) {
	bad := func(field, format string, args ...any) (Options, error) {
		return Options{}, status.Errorf(codes.InvalidArgument, "options.%s: %s", field, fmt.Sprintf(format, args...))
	}
	live := mode == "" || mode == netmap.Live
	switch {
	case o == nil:
		return Options{}, nil
	case o.Lazy && !live:
		return bad("lazy", "only a live move has memory to send later, not %s", mode)
	case o.Precopy != api.Precopy_PRECOPY_AUTO && !live:
		return bad("precopy", "only a live move sends memory, not %s", mode)
	case api.Precopy_name[int32(o.Precopy)] == "":
		return bad("precopy", "%d is unknown to this version", o.Precopy)
	case o.BandwidthBps < 0:
		return bad("bandwidth_bps", "%d is negative", o.BandwidthBps)
	}
	return Options{o.Lazy, int32(o.Precopy), o.BandwidthBps}, nil
}

func (o Options) message() *api.MoveOptions {
	if o == (Options{}) {
		return nil
	}
	return &api.MoveOptions{Lazy: o.Lazy, Precopy: api.Precopy(o.Precopy), BandwidthBps: o.Bandwidth}
}

// preflight says what Migrate would meet in the state: every check, and, when the source can be asked for the rest, the
// order to ask it with.
func (s *State) preflight(w World, id netmap.ReplicaID, to string, mode netmap.Mode, options Options) (*api.PreflightReply, *api.MoveOrder, error) {
	service, ok := s.Services[id.Service]
	if !ok {
		return nil, nil, status.Errorf(codes.NotFound, "no service %s", id.Service)
	}
	at, ok := service.Replicas[id.Replica]
	if !ok {
		return nil, nil, status.Errorf(codes.NotFound, "service %s has no replica %d", id.Service, id.Replica)
	}
	target, ok := s.Members[to]
	if !ok {
		return nil, nil, unknownNode(s, to)
	}
	if mode == "" {
		mode = service.Spec.Migration
	}
	reply := &api.PreflightReply{From: at.Node, To: to, Mode: modeMessage(mode)}
	check := func(name, node string, holds bool, format string, args ...any) {
		reply.Checks = append(reply.Checks, &api.Check{Name: name, Node: node, Holds: holds, Detail: fmt.Sprintf(format, args...)})
	}
	if op, busy := s.InFlight(id); busy {
		check("operation", at.Node, false, "%s (%s) is in flight, at step %s", op.ID, op.Verb, op.Step)
	}
	check("place", to, to != at.Node, "%s is on %s", id, at.Node)
	if why := s.forbidden(service.Spec, to, id); why != "" {
		check("constraints", to, false, "%s", why)
	}
	nodes := []Member{s.Members[at.Node]}
	if to != at.Node {
		nodes = append(nodes, target)
	}
	for _, m := range nodes {
		if !w.Here[m.Node] {
			check("agent", m.Node, false, "is away")
			continue
		}
		check("agent", m.Node, true, "%s, API level %d", m.Version, m.API)
		if can := slices.Contains(m.Modes, string(mode)); can {
			check("mode", m.Node, true, "%s", mode)
		} else {
			check("mode", m.Node, false, "cannot move %s: %s", mode, m.Cannot[string(mode)])
		}
	}
	if !w.Here[at.Node] || to == at.Node {
		return reply, nil, nil
	}
	return reply, s.moveOrder(&Op{Replica: id, Node: at.Node, To: to, Mode: mode, Options: options}), nil
}

// Preflight tells what Migrate would do and everything that is missing. Nothing is touched.
func (m *Manager) Preflight(ctx context.Context, id netmap.ReplicaID, to string, mode netmap.Mode, o *api.MoveOptions) (*api.PreflightReply, error) {
	m.mu.Lock()
	options, err := ParseOptions(o, mode)
	var reply *api.PreflightReply
	var order *api.MoveOrder
	if err == nil {
		reply, order, err = m.state.preflight(m.world(), id, to, mode, options)
	}
	source := m.state.Members[reply.GetFrom()]
	m.mu.Unlock()
	if err != nil || order == nil {
		return reply, err
	}
	agent, err := m.agents.agent(source)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, preflightLimit)
	defer cancel()
	seen, err := agent.Preflight(ctx, order)
	if err != nil {
		detail := status.Convert(err).Message()
		if status.Code(err) == codes.Unimplemented {
			detail = "is older than API level 3 and cannot examine a move; install the newest version there"
		}
		reply.Checks = append(reply.Checks, &api.Check{Name: "agent", Node: source.Node, Detail: detail})
		return reply, nil
	}
	seen.Checks = append(reply.Checks, seen.Checks...)
	seen.From, seen.To, seen.Mode = reply.From, reply.To, reply.Mode
	return seen, nil
}

// traceText writes a move's trace as the journal keeps it.
func traceText(v *api.Move) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(v)
}

// Trace reads what traceText wrote; without one it is what the manager remembers of the move itself.
func (p Past) Trace() *api.Move {
	v := &api.Move{}
	if len(p.End.Trace) == 0 || (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(p.End.Trace, v) != nil {
		v = p.Op.move()
		v.EndedUnixMs, v.SwitchToReleaseMs = p.At.UnixMilli(), p.GapMS
	}
	return v
}

// move is what an operation itself says of its move.
func (op *Op) move() *api.Move {
	return &api.Move{
		Op: op.ID, Service: op.Replica.Service, Replica: int32(op.Replica.Replica), From: op.Node, To: op.To,
		Mode: modeMessage(op.Mode), StartedUnixMs: op.Started.UnixMilli(), Options: op.Options.message(),
	}
}

// Moves lists moves, the newest first: those under way, then those that ended.
func (s *State) Moves(most int) (list []*api.MoveView) {
	var ops []*Op
	for _, op := range s.Ops {
		if op.Verb == Move {
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b *Op) int { return b.Started.Compare(a.Started) })
	for _, op := range ops {
		list = append(list, op.view())
	}
	for _, past := range slices.Backward(s.Done) {
		if past.Verb == Move {
			list = append(list, past.view())
		}
		if len(list) >= most {
			break
		}
	}
	return list[:min(len(list), most)]
}

// Move gives one, under way or ended.
func (s *State) Move(id string) (*api.MoveView, error) {
	if op, ok := s.Ops[id]; ok && op.Verb == Move {
		return op.view(), nil
	}
	if past, ok := s.Past(id); ok && past.Verb == Move {
		return past.view(), nil
	}
	return nil, status.Errorf(codes.NotFound, "no move %s; the newest %d operations are remembered", id, kept)
}

func (op *Op) view() *api.MoveView {
	return &api.MoveView{Move: op.move(), Outcome: api.Outcome_PENDING, Step: string(op.Step), Error: op.Problem, Reason: op.Reason}
}

func (p Past) view() *api.MoveView {
	v := &api.MoveView{Move: p.Trace(), Outcome: api.Outcome_ABORTED, Error: p.Error, Reason: p.Reason}
	if p.Outcome == Committed {
		v.Outcome = api.Outcome_COMMITTED
	}
	return v
}
