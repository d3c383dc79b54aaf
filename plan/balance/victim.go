package balance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sonic-netservices/netmap"
)

// Leaving is the explained choice of what leaves an overloaded node: Order best first, Stays by name.
type Leaving struct {
	Node    string      `json:"node"`
	Kind    netmap.Kind `json:"kind"`
	Before  float64     `json:"before"` // utilisation of the kind now
	Below   float64     `json:"below"`  // where it ought to be
	Order   []Victim    `json:"order"`
	Stays   []Victim    `json:"stays"`
	Garbage []string    `json:"garbage,omitempty"` // why the node's readings say nothing
}

// Victim is one replica of the node.
type Victim struct {
	ID        netmap.ReplicaID `json:"-"`
	Replica   string           `json:"replica"`
	Share     float64          `json:"share"` // of the kind's capacity
	After     float64          `json:"after"` // utilisation without it
	Relieves  bool             `json:"relieves"`
	DataBytes float64          `json:"data_bytes"`
	Why       string           `json:"why"`

	// Of those that Weigh has looked at: the best node for it. None when it fits nowhere.
	To   string  `json:"to,omitempty"`
	Gain float64 `json:"gain,omitempty"`
}

// Leave orders the replicas that may leave a node whose kind is overloaded: first those whose absence alone brings the
// kind below the limit, least data first; then the others, largest share first. Kind "" stands for the fullest one.
// Keep says why a replica may not leave now.
func Leave(snap *netmap.Snapshot, node string, kind netmap.Kind, below float64, keep map[netmap.ReplicaID]string) (Leaving, error) {
	n, ok := snap.Node(node)
	if !ok {
		return Leaving{}, fmt.Errorf("leave %s: no such node", node)
	}
	if !(below > 0 && below <= 1) {
		return Leaving{}, fmt.Errorf("leave %s: below: %v is not in (0, 1]", node, below)
	}
	l := Leaving{Node: node, Kind: kind, Below: below, Order: []Victim{}, Stays: []Victim{}}
	resources, garbage := readings(n, nil)
	if l.Garbage = garbage; len(garbage) > 0 {
		return l, nil
	}
	var hot netmap.Resource
	for _, r := range resources {
		if r.Kind == kind || kind == "" && (hot.Kind == "" || r.Utilisation() > hot.Utilisation()) {
			hot = r
		}
	}
	if hot.Capacity == 0 {
		return Leaving{}, fmt.Errorf("leave %s: kind: it has no %s", node, cmp.Or(string(kind), "resource"))
	}
	l.Kind, l.Before = hot.Kind, hot.Utilisation()
	for _, r := range snap.Replicas {
		if r.Node != node {
			continue
		}
		v := Victim{ID: r.ID, Replica: r.ID.String()}
		need := r.Demand[hot.Kind]
		if !measured(need) || !measured(r.DataBytes) {
			v.Why = fmt.Sprintf("uses %v %s and carries %v bytes: no reading", need, hot.Kind, r.DataBytes)
			l.Stays = append(l.Stays, v)
			continue
		}
		without := hot
		without.Used = max(0, hot.Used-need)
		v.Share, v.After, v.DataBytes = need/hot.Capacity, without.Utilisation(), r.DataBytes
		v.Relieves = v.After < below
		switch why := keep[r.ID]; {
		case why != "":
			v.Why = why
		case r.State != netmap.Running:
			v.Why = fmt.Sprintf("is %s, not running", r.State)
		case need == 0:
			v.Why = fmt.Sprintf("uses no %s", hot.Kind)
		default:
			v.Why = fmt.Sprintf("holds %.2f of %s; without it %.2f", v.Share, hot.Kind, v.After)
			l.Order = append(l.Order, v)
			continue
		}
		l.Stays = append(l.Stays, v)
	}
	slices.SortFunc(l.Order, leavesFirst)
	slices.SortFunc(l.Stays, func(a, b Victim) int { return compareID(a.ID, b.ID) })
	return l, nil
}

func leavesFirst(a, b Victim) int {
	switch {
	case a.Relieves && !b.Relieves:
		return -1
	case b.Relieves && !a.Relieves:
		return 1
	}
	data, share := cmp.Compare(a.DataBytes, b.DataBytes), cmp.Compare(b.Share, a.Share)
	if !a.Relieves {
		data, share = share, data
	}
	return cmp.Or(data, share, compareID(a.ID, b.ID))
}

// Weigh looks for the best node for each of the first few of Order. Then comes first, of those that have one and relieve
// the node about as much, the one whose move is worth most: who is cheap to carry, or has room near, spares the network
// what a good target alone cannot. Who fits nowhere stands behind those few. Ask gives the question about a replica that
// the field answers.
func (l *Leaving) Weigh(f *Field, ask func(netmap.ReplicaID) Problem) {
	few := l.Order[:min(Weighed, len(l.Order))]
	for i := range few {
		node, gain, ok, err := f.Best(ask(few[i].ID))
		switch {
		case err != nil:
			few[i].Why += fmt.Sprintf("; has no place: %v", err)
		case ok:
			few[i].To, few[i].Gain = node, gain
		}
	}
	first := slices.IndexFunc(few, func(v Victim) bool { return v.To != "" })
	if first < 0 {
		return
	}
	reference := few[first]
	rank := func(v Victim) int {
		switch {
		case v.To == "":
			return 2
		case v.Relieves == reference.Relieves && (v.Relieves || v.Share >= alike*reference.Share):
			return 0
		}
		return 1
	}
	slices.SortStableFunc(few, func(a, b Victim) int {
		order := cmp.Compare(rank(a), rank(b))
		if order == 0 && rank(a) == 0 {
			order = cmp.Compare(grain(b.Gain), grain(a.Gain))
		}
		return order
	})
}

// Weighed is how many Weigh looks at: more would carry less data, and look longer.
const Weighed = 5

// alike is the part of another's share that makes a replica worth to leave in its place.
const alike = 0.5

func compareID(a, b netmap.ReplicaID) int {
	return cmp.Or(strings.Compare(a.Service, b.Service), cmp.Compare(a.Replica, b.Replica))
}

// String is the choice for people.
func (l Leaving) String() string {
	var b strings.Builder
	if len(l.Garbage) > 0 {
		fmt.Fprintf(&b, "leave %s: its readings say nothing: %s\n", l.Node, strings.Join(l.Garbage, "; "))
		return b.String()
	}
	fmt.Fprintf(&b, "leave %s: %s %.2f ought to be below %.2f\n", l.Node, l.Kind, l.Before, l.Below)
	for i, v := range l.Order {
		relief := "not enough alone"
		if v.Relieves {
			relief = "enough"
		}
		fmt.Fprintf(&b, "  %d. %s: %s, %s; carries %s", i+1, v.Replica, v.Why, relief, amount(v.DataBytes, "bytes"))
		if v.To != "" {
			fmt.Fprintf(&b, " to %s, gain %.3f", v.To, v.Gain)
		}
		b.WriteString("\n")
	}
	for _, v := range l.Stays {
		fmt.Fprintf(&b, "  stays %s: %s\n", v.Replica, v.Why)
	}
	return b.String()
}
