package run

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
)

// world is a network in memory, with a clock the test moves.
type world struct {
	now      time.Time
	nodes    map[string]*machine
	links    []netmap.Link
	wanted   []decide.Replica // of services that wait to be admitted
	replicas map[netmap.ReplicaID]*decide.Replica
	services []string // admitted; index+1
	ops      map[string]*operation

	refuses map[string]string // by node: what it says to a replica that comes
	breaks  map[string]int    // by node: how many deployments still fail there
	stuck   map[decide.Step]bool
	deaf    map[decide.Step]bool // an order to go on does not get through
	begins  map[string]error     // by node: why nothing can be begun there
	rests   map[string]decide.Rest
	admits  map[string]error // by service: why it cannot be admitted
	begun   []decide.Operation
	asked   []string // what the trees ordered after Begin: "cutover tree-kms-0-e1-1"
}

// machine is a node: what it has, and what it uses without any replica.
type machine struct {
	capacity, base map[netmap.Kind]float64
	dead, drained  bool
	garbage        bool // its rows say no numbers
	silent         time.Duration
}

type operation struct {
	decide.Operation
	from  string
	stage decide.Stage
	next  decide.Stage // reached at due
	due   time.Time
	fails string
}

func newWorld(nodes ...string) *world {
	w := &world{now: time.Unix(1_800_000_000, 0), nodes: map[string]*machine{}, replicas: map[netmap.ReplicaID]*decide.Replica{},
		ops: map[string]*operation{}, refuses: map[string]string{}, breaks: map[string]int{}, stuck: map[decide.Step]bool{},
		deaf: map[decide.Step]bool{}, begins: map[string]error{}, admits: map[string]error{}, rests: map[string]decide.Rest{}}
	for _, n := range nodes {
		w.nodes[n] = &machine{
			capacity: map[netmap.Kind]float64{netmap.Compute: 4, netmap.Memory: 8 << 30, netmap.Forwarding: 1000},
			base:     map[netmap.Kind]float64{netmap.Compute: 0.4, netmap.Memory: 1 << 30, netmap.Forwarding: 100},
		}
	}
	return w
}

// connect puts a cable between two nodes.
func (w *world) connect(a, b string, bps float64) {
	w.links = append(w.links, netmap.Link{From: a, To: b, SpeedBPS: bps}, netmap.Link{From: b, To: a, SpeedBPS: bps})
	slices.SortFunc(w.links, func(x, y netmap.Link) int { return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To)) })
}

// service gives one replica that needs cores.
func service(name string, cores float64) decide.Replica {
	return decide.Replica{ID: netmap.ReplicaID{Service: name}, Demand: netmap.Demand{netmap.Compute: cores, netmap.Memory: 256 << 20},
		DataBytes: 125e6, Mode: netmap.Live}
}

// put lets a replica run on a node, as if it had for long.
func (w *world) put(r decide.Replica, node string) {
	w.services = append(w.services, r.ID.Service)
	r.Index, r.Node = len(w.services), node
	w.replicas[r.ID] = &r
}

func id(name string) netmap.ReplicaID { return netmap.ReplicaID{Service: name} }

// load sets what a replica uses.
func (w *world) load(name string, cores float64) { w.replicas[id(name)].Demand[netmap.Compute] = cores }

func (w *world) Snapshot() *netmap.Snapshot {
	s := &netmap.Snapshot{Links: w.links, Reserved: map[string]netmap.Demand{}}
	used := map[string]netmap.Demand{}
	for _, r := range w.sorted() {
		if r.Node == "" {
			continue
		}
		s.Replicas = append(s.Replicas, netmap.Placed{ID: r.ID, Node: r.Node, State: netmap.Running, Demand: maps.Clone(r.Demand), DataBytes: r.DataBytes})
		if used[r.Node] == nil {
			used[r.Node] = netmap.Demand{}
		}
		for k, x := range r.Demand {
			used[r.Node][k] += x
		}
	}
	for _, op := range w.ops {
		if w.settle(op); op.stage == decide.Working || op.stage == decide.Transferred || op.stage == decide.TargetReady {
			s.Reserved[op.To] = maps.Clone(w.replicas[op.Replica].Demand)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		m := w.nodes[name]
		n := netmap.Node{Name: name, Liveness: netmap.Alive, Drained: m.drained, Heard: m.silent}
		if m.dead {
			n.Liveness, n.Heard = netmap.Dead, 15*time.Second
		}
		for _, k := range slices.Sorted(maps.Keys(m.capacity)) {
			r := netmap.Resource{Kind: k, Capacity: m.capacity[k], Used: m.base[k] + used[name][k]}
			if m.garbage {
				r.Used = math.NaN()
			}
			n.Resources = append(n.Resources, r)
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

func (w *world) sorted() []decide.Replica {
	var all []decide.Replica
	for _, r := range w.replicas {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b decide.Replica) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return all
}

func (w *world) Requests() (names []string) {
	for _, r := range w.wanted {
		names = append(names, r.ID.Service)
	}
	return names
}

func (w *world) Admit(name string) (int, error) {
	i := slices.IndexFunc(w.wanted, func(r decide.Replica) bool { return r.ID.Service == name })
	if err := w.admits[name]; err != nil {
		return 0, err
	}
	if i < 0 {
		return 0, fmt.Errorf("nobody wants %s", name)
	}
	w.put(w.wanted[i], "")
	w.wanted = slices.Delete(w.wanted, i, i+1)
	return len(w.services), nil
}

func (w *world) Replicas() []decide.Replica {
	for _, op := range w.ops {
		w.settle(op)
	}
	return w.sorted()
}

func (w *world) Begin(op decide.Operation) error {
	if w.ops[op.ID] != nil {
		return nil
	}
	r := w.replicas[op.Replica]
	if r.Op != "" {
		return fmt.Errorf("%w: %s is in flight", decide.ErrRefused, r.Op)
	}
	if err := w.begins[op.To]; err != nil {
		return err
	}
	w.begun = append(w.begun, op)
	o := &operation{Operation: op, from: r.Node, stage: decide.Working, next: decide.Transferred, due: w.now.Add(time.Second)}
	switch why := w.refuses[op.To]; {
	case why != "":
		o.next, o.fails, o.due = decide.Denied, why, w.now.Add(100*time.Millisecond)
	case op.Verb == decide.Deploy && w.breaks[op.To] > 0:
		w.breaks[op.To]--
		o.next, o.fails = decide.Aborted, "the container ends at once"
	case op.Verb == decide.Deploy:
		o.next = decide.Committed
	}
	w.ops[op.ID] = o
	r.Op = op.ID
	return nil
}

// settle lets an operation come to where it is by now.
func (w *world) settle(op *operation) {
	if op.stage != decide.Working || w.now.Before(op.due) {
		return
	}
	op.stage = op.next
	r := w.replicas[op.Replica]
	switch op.stage {
	case decide.Committed:
		r.Node, r.Op = op.To, ""
	case decide.Aborted, decide.Denied:
		r.Op = ""
	}
}

func (w *world) Advance(id string, to decide.Step) error {
	op := w.ops[id]
	if op.stage != decide.Transferred && op.stage != decide.TargetReady {
		return fmt.Errorf("%s does not rest", id)
	}
	if w.deaf[to] {
		return fmt.Errorf("the journal is full")
	}
	w.asked = append(w.asked, string(to)+" "+id)
	op.stage, op.due = decide.Working, w.now.Add(500*time.Millisecond)
	if w.stuck[to] {
		op.due = w.now.Add(time.Hour)
	}
	switch to {
	case decide.Prewarm:
		op.next = decide.TargetReady
	case decide.Cutover:
		op.next = decide.Committed
	case decide.Cancel:
		op.next, op.fails = decide.Aborted, "cancelled"
	}
	return nil
}

func (w *world) Progress(id string) decide.Progress {
	op := w.ops[id]
	if op == nil {
		return decide.Progress{Stage: decide.Gone}
	}
	w.settle(op)
	p := decide.Progress{Stage: op.stage}
	switch op.stage {
	case decide.Committed:
		p.Node = op.To
	case decide.Aborted, decide.Denied:
		p.Detail = op.fails
	}
	return p
}

func (w *world) Rest(key string, r decide.Rest) {
	if w.rests[key] = r; r.Tries == 0 {
		delete(w.rests, key)
	}
}

func (w *world) Rests() map[string]decide.Rest { return maps.Clone(w.rests) }

func (w *world) Landed() (list []decide.Landing) {
	for _, op := range w.ops {
		if w.settle(op); op.Verb == decide.Move && (op.stage == decide.Committed || op.stage == decide.Aborted) {
			list = append(list, decide.Landing{Replica: op.Replica, From: op.from, To: op.To, At: op.due})
		}
	}
	slices.SortFunc(list, func(a, b decide.Landing) int { return a.At.Compare(b.At) })
	return list
}

func (w *world) Audit(string, decide.Entry) {}
