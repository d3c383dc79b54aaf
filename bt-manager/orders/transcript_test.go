package orders

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/internal/transcript"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// TestTranscripts runs each testdata/*.txt: a line that begins with "> " is a command, what follows it is everything
// that happened. Commands:
//
//	join NODE [MODE...]              an agent announces itself
//	leave NODE                       its stream ends
//	image NAME ID
//	deploy KEY=VALUE...              fields of the spec; node=NODE chooses
//	migrate REPLICA TO [MODE]
//	remove SERVICE
//	recover REPLICA [accept]         what a lost node had is given up
//	runs NODE REPLICA                a node that answers has it
//	report OP ANSWER [CODE] [TEXT]   what the agent answered to the newest action
//	clock DURATION                   the wall clock is stepped by so much
//	sum                              the journal is replaced by its sum
//	restart                          bt-manager is killed and begins again from its journal
//	services                         where the replicas are
func TestTranscripts(t *testing.T) { transcript.Test(t, play) }

// machine is a State with a journal of its records.
type machine struct {
	t       *testing.T
	out     strings.Builder
	state   *State
	journal [][]byte
	world   World
	told    map[string][]*api.Instance // what nodes that answer have
	ids     int
}

func play(t *testing.T, text string) string {
	m := &machine{t: t, state: NewState(), told: map[string][]*api.Instance{}}
	m.world = World{
		At:      time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
		Here:    map[string]bool{},
		Segment: netip.MustParsePrefix("10.20.0.1/24"), Segment6: netip.MustParsePrefix("fd20::1/64"),
		NewID: func() string { m.ids++; return fmt.Sprintf("op%d", m.ids) },
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "> "); ok {
			fmt.Fprintln(&m.out, line)
			m.world.At = m.world.At.Add(time.Second)
			m.command(strings.Fields(command))
		} else if strings.HasPrefix(line, "#") || line == "" {
			fmt.Fprintln(&m.out, line)
		}
	}
	return m.out.String()
}

func (m *machine) command(words []string) {
	args := words[1:]
	switch words[0] {
	case "join":
		m.world.Here[args[0]] = true
		modes := args[1:]
		if len(modes) == 0 {
			modes = []string{"live", "cold"}
		}
		m.commit([]Record{{Kind: Joined, At: m.world.At, Member: &Member{Node: args[0], Modes: modes, Cannot: map[string]string{"live": "no criu"}}}}, nil)
	case "leave":
		m.world.Here[args[0]] = false
	case "image":
		m.commit([]Record{{Kind: Loaded, At: m.world.At, Image: &Image{Name: args[0], ID: args[1]}}}, nil)
	case "deploy":
		var yaml strings.Builder
		node := ""
		for _, arg := range args {
			key, value, _ := strings.Cut(arg, "=")
			if key == "node" {
				node = value
				continue
			}
			if strings.Contains(value, "{") {
				value = strings.ReplaceAll(value, ":", ": ") // words hold no space, YAML wants one
			}
			fmt.Fprintf(&yaml, "%s: %s\n", key, value)
		}
		wanted, err := spec.Parse("spec", []byte(yaml.String()))
		if err != nil {
			m.t.Fatal(err)
		}
		m.commit(m.state.Deploy(m.world, wanted, node))
	case "migrate":
		id, err := netmap.ParseReplicaID(args[0])
		if err != nil {
			m.t.Fatal(err)
		}
		mode := netmap.Mode("")
		if len(args) > 2 {
			mode = netmap.Mode(args[2])
		}
		m.commit(m.state.Migrate(m.world, id, args[1], mode, Options{}))
	case "remove":
		m.commit(m.state.Remove(m.world, args[0]))
	case "clock":
		step, err := time.ParseDuration(args[0])
		if err != nil {
			m.t.Fatal(err)
		}
		m.world.At = m.world.At.Add(step)
	case "recover":
		m.commit(m.state.Recover(m.world, m.replica(args[0]), "", len(args) > 1, m.told))
	case "runs":
		id := m.replica(args[1])
		m.told[args[0]] = []*api.Instance{{Service: id.Service, Replica: int32(id.Replica), State: api.State_RUNNING}}
	case "trees":
		m.world.Trees = true
	case "admit":
		m.commit([]Record{{Kind: Admitted, At: m.world.At, ID: args[0], Index: m.state.Index + 1}}, nil)
	case "place": // replica node [lost]
		m.commit(m.state.Place(m.world, m.replica(args[0]), args[1], len(args) > 2))
	case "tree-move": // replica node: as a tree orders it
		records, err := m.state.Migrate(m.world, m.replica(args[0]), args[1], netmap.Live, Options{})
		if err == nil {
			records[0].Op.Rests = true
		}
		m.commit(records, err)
	case "advance":
		m.commit(m.state.Advance(m.world.At, args[0], decide.Step(args[1])))
	case "drain":
		m.commit([]Record{{Kind: Drained, At: m.world.At, Node: args[0], Drain: len(args) == 1}}, nil)
	case "tells": // node replica: a node's answer to a renewal shows it
		id := m.replica(args[1])
		i := &api.Instance{Service: id.Service, Replica: int32(id.Replica), State: api.State_RUNNING}
		m.commit(m.state.Evict(m.world, i, args[0]), nil)
	case "leases":
		for _, r := range m.state.leases(args[0]).Replicas {
			fmt.Fprintf(&m.out, "  %s renews %s-%d\n", args[0], r.Service, r.Replica)
		}
		for _, r := range m.state.leases(args[0]).Placed {
			fmt.Fprintf(&m.out, "  %s has %s-%d\n", args[0], r.Service, r.Replica)
		}
	case "report":
		r := Result{Answer: Answer(args[1])}
		rest := args[2:]
		if r.Answer == Refused {
			if err := r.Code.UnmarshalJSON([]byte(strconv.Quote(rest[0]))); err != nil {
				m.t.Fatal(err)
			}
			rest = rest[1:]
		}
		r.Error = strings.Join(rest, " ")
		m.commit(m.state.Report(m.world.At, args[0], r), nil)
	case "sum":
		sum, err := m.state.sum()
		if err != nil {
			m.t.Fatal(err)
		}
		text, err := Record{Kind: Summed, At: m.world.At, Sum: sum}.Encode()
		if err != nil {
			m.t.Fatal(err)
		}
		m.journal = [][]byte{text}
	case "restart":
		before := m.state
		m.state = NewState()
		for _, text := range m.journal {
			r, err := DecodeRecord(text)
			if err != nil {
				m.t.Fatal(err)
			}
			if err := m.state.Apply(r); err != nil {
				m.t.Fatal(err)
			}
		}
		if diff := cmp.Diff(before, m.state, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			m.t.Errorf("the journal tells another story (-before +after):\n%s", diff)
		}
		m.commit([]Record{{Kind: Started, At: m.world.At, Epoch: m.state.Epoch + 1}}, nil)
	case "services":
		for _, name := range slices.Sorted(maps.Keys(m.state.Services)) {
			service := m.state.Services[name]
			for _, n := range slices.Sorted(maps.Keys(service.Replicas)) {
				at := service.Replicas[n]
				fmt.Fprintf(&m.out, "  %s-%d on %s by %s (%s)\n", name, n, at.Node, at.Op, at.Reason)
			}
		}
	default:
		m.t.Fatalf("command %q", words[0])
	}
	m.invariants()
}

func (m *machine) replica(name string) netmap.ReplicaID {
	id, err := netmap.ParseReplicaID(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return id
}

// commit prints and applies records, then prints what every operation in flight needs next.
func (m *machine) commit(records []Record, err error) {
	if err != nil {
		fmt.Fprintf(&m.out, "  error: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n         "))
		return
	}
	for _, r := range records {
		text, err := r.Encode()
		if err != nil {
			m.t.Fatal(err)
		}
		m.journal = append(m.journal, text)
		if err := m.state.Apply(r); err != nil {
			m.t.Fatal(err)
		}
		fmt.Fprintf(&m.out, "  record %s\n", describe(r))
	}
	for _, id := range slices.Sorted(maps.Keys(m.state.Ops)) {
		a, _ := m.state.Next(id)
		verb := "order"
		if a.Ask {
			verb = "ask about"
		} else if a.Step == StepReach || a.Rest {
			verb = ""
		}
		fmt.Fprintf(&m.out, "  %s -> %s: %s\n", id, a.Node, strings.TrimSpace(verb+" "+string(a.Step)))
	}
}

func describe(r Record) string {
	text := string(r.Kind)
	switch r.Kind {
	case Started:
		text += fmt.Sprintf(" epoch %d", r.Epoch)
	case Joined:
		text += " " + r.Member.Node
	case Loaded:
		text += fmt.Sprintf(" %s = %s", r.Image.Name, r.Image.ID)
	case Begun:
		text += fmt.Sprintf(" %s: %s %s on %s", r.Op.ID, r.Op.Verb, r.Op.Replica, r.Op.Node)
		if r.Op.To != "" {
			text += fmt.Sprintf(" to %s, %s", r.Op.To, r.Op.Mode)
		}
		if len(r.Op.Candidates) > 0 {
			text += fmt.Sprintf(", then %v", r.Op.Candidates)
		}
		text += fmt.Sprintf(" (%s)", r.Op.Reason)
	case Stepped:
		text += fmt.Sprintf(" %s: %s", r.ID, strings.TrimSpace(string(r.Step)+" "+r.Node))
		if r.Problem != "" {
			text += fmt.Sprintf(" [%s]", r.Problem)
		}
	case Lost:
		text += " " + r.ID
		if r.Problem != "" {
			text += fmt.Sprintf(" [%s]", r.Problem)
		}
	case Ended:
		end, err := json.Marshal(r.End)
		if err != nil {
			panic(err)
		}
		text += fmt.Sprintf(" %s: %s", r.ID, end)
		if r.End.Code != codes.OK {
			text += " " + r.End.Code.String()
		}
	}
	return text
}

// invariants hold after every command.
func (m *machine) invariants() {
	replicas := map[netmap.ReplicaID]string{}
	for id, op := range m.state.Ops {
		if other, ok := replicas[op.Replica]; ok {
			m.t.Errorf("operations %s and %s are both on %s", id, other, op.Replica)
		}
		replicas[op.Replica] = id
		if m.state.Services[op.Replica.Service] == nil {
			m.t.Errorf("operation %s is on %s, which is not desired", id, op.Replica)
		}
	}
}
