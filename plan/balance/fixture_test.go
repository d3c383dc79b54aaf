package balance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sonic-netservices/netmap"
)

const (
	gbps = 1e9
	gib  = 1 << 30
)

// node writes a node as "compute 0.2 storage 0.5": each kind used of a capacity of 1.
func node(name, uses string) netmap.Node {
	n := netmap.Node{Name: name, Liveness: netmap.Alive}
	words := strings.Fields(uses)
	for i := 0; i < len(words); i += 2 {
		var used float64
		if _, err := fmt.Sscan(words[i+1], &used); err != nil {
			panic(err)
		}
		n.Resources = append(n.Resources, netmap.Resource{Kind: netmap.Kind(words[i]), Capacity: 1, Used: used})
	}
	return n
}

// cable gives both directions.
func cable(a, b string, bps float64) []netmap.Link {
	return []netmap.Link{{From: a, To: b, SpeedBPS: bps}, {From: b, To: a, SpeedBPS: bps}}
}

func network(nodes []netmap.Node, cables ...[]netmap.Link) *netmap.Snapshot {
	return &netmap.Snapshot{Nodes: nodes, Links: slices.Concat(cables...)}
}

var kms0 = netmap.ReplicaID{Service: "kms", Replica: 0}

// move is kms-0, which needs that much compute, on its way from a node.
func move(source string, compute float64) Problem {
	return Problem{Replica: kms0, Source: source, Demand: netmap.Demand{netmap.Compute: compute}, DataBytes: 1e8}
}

func decide(t *testing.T, snap *netmap.Snapshot, problem Problem, params Params) Decision {
	t.Helper()
	d, err := Decide(snap, problem, params)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ranked are the candidates, best first.
func ranked(d Decision) string {
	var names []string
	for _, c := range d.Candidates {
		names = append(names, c.Node)
	}
	return strings.Join(names, " ")
}

// refusal is why a node is no candidate, "" when it is one.
func refusal(d Decision, node string) string {
	for _, s := range d.Refused {
		if s.Node == node {
			return strings.Join(append(slices.Clone(s.Refused), s.Deleted...), "; ")
		}
	}
	return ""
}
