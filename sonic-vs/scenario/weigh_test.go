package scenario

import (
	"io"
	"strings"
	"testing"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
)

// The expectations of line, put to the formulas themselves on idle switches: they agree, and each wrong figure shows.
func TestWeigh(t *testing.T) {
	sc, err := find("line")
	if err != nil {
		t.Fatal(err)
	}
	topology, err := testbed.ReadTopology(sc.file(repo))
	if err != nil {
		t.Fatal(err)
	}
	home := map[string]string{"hops": "leaf5", "bandwidth": "leaf3", "idle": "leaf4", "full": "leaf2"}
	for _, a := range acts {
		if home[a.name] == "" {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			l := &lineStage{stage: &stage{Config: Config{Lines: io.Discard}, suite: &suite.Suite{Bed: &testbed.Testbed{Topology: topology}}},
				cores: 2, home: home[a.name]}
			snap := &netmap.Snapshot{}
			for _, n := range topology.Nodes {
				l.nodes = append(l.nodes, &node{Node: testbed.Node{Name: n.Name}})
				snap.Nodes = append(snap.Nodes, netmap.Node{Name: n.Name, Liveness: netmap.Alive, Resources: []netmap.Resource{
					{Kind: netmap.Compute, Capacity: l.coresOf(a, n.Name)}, {Kind: netmap.Memory, Capacity: 8e9},
					{Kind: netmap.Storage, Capacity: 8e9}, {Kind: netmap.Forwarding, Capacity: 1e5, Used: 14},
				}})
			}
			for _, c := range topology.Links {
				for _, ends := range [][2]string{{c.A.Node, c.B.Node}, {c.B.Node, c.A.Node}} {
					snap.Links = append(snap.Links, netmap.Link{From: ends[0], To: ends[1], SpeedBPS: 1e6 * float64(c.Speed)})
				}
			}
			d, err := balance.Decide(snap, balance.Problem{Replica: netmap.ReplicaID{Service: service}, Source: l.home, DataBytes: 10e6,
				Demand: netmap.Demand{netmap.Compute: lineDemand, netmap.Memory: 64 << 20, netmap.Storage: 64 << 20}}, balance.Defaults())
			if err != nil {
				t.Fatal(err)
			}
			faults := func() string {
				l.faults = nil
				l.weigh(a, d)
				return strings.Join(l.faults, "\n")
			}
			if said := faults(); said != "" {
				t.Fatal(said)
			}
			for _, list := range [][]balance.Score{d.Candidates, d.Refused} {
				for i := range list {
					for _, spoil := range []func(s *balance.Score) *float64{
						func(s *balance.Score) *float64 { return &s.SU },
						func(s *balance.Score) *float64 { return &s.SUB },
						func(s *balance.Score) *float64 { return &s.SUBAfter },
						func(s *balance.Score) *float64 { return &s.Benefit },
						func(s *balance.Score) *float64 { return &s.CostSeconds },
						func(s *balance.Score) *float64 { return &s.Gain },
					} {
						was := *spoil(&list[i])
						*spoil(&list[i]) += 0.001
						if said := faults(); list[i].Node != d.Source && !strings.Contains(said, list[i].Node+": ") {
							t.Errorf("%s: a wrong figure is not seen: %+v", list[i].Node, list[i])
						}
						*spoil(&list[i]) = was
					}
				}
			}
			if len(d.Candidates) > 1 {
				d.Candidates[0], d.Candidates[1] = d.Candidates[1], d.Candidates[0]
				if faults() == "" {
					t.Error("another order is not seen")
				}
			}
		})
	}
}
