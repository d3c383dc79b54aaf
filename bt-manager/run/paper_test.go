package run

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/netmap"
)

var paper = trees.File{Name: "paper.xml", Text: string(trees.Paper)}

// The paper's figure 3 has the shape it is drawn in.
func TestPaperShape(t *testing.T) {
	cfg := config()
	cfg.File = paper
	p := start(t, star("leaf1"), cfg)
	var shape strings.Builder
	for _, n := range p.r.programs.intake.Nodes() {
		if n.Depth < 4 && !(n.Type == "ResourceOverloaded") && !strings.Contains(n.Path, "/") {
			fmt.Fprintf(&shape, "%s%s\n", strings.Repeat(" ", n.Depth), n.Name)
		}
	}
	const want = `root
 deploy
  service requested?
  fill blackboard
  all deployed, or deploy one
   all deployed?
   deploy one
 guard
  get states
  enough of one kind
   compute not overloaded
   storage not overloaded
   forwarding not overloaded
  preselect
  cost and benefit
  optimal node
  n-sample decision
  migrate
`
	if shape.String() != want {
		t.Errorf("shape\n%s", shape.String())
	}
}

// It deploys.
func TestPaperDeploys(t *testing.T) {
	cfg := config()
	cfg.File = paper
	w := star("leaf1", "leaf2")
	w.wanted = []decide.Replica{service("kms", 1), service("dns", 0.5)}
	p := start(t, w, cfg)
	p.run(10 * time.Second)
	if got := p.board["root"]["Policy1"]; !strings.HasPrefix(got, "kms-0 on leaf") {
		t.Errorf("Policy1 is %q", got)
	}
	p.on("dns", p.begun[1].To)
	if got := p.r.Replicas(); len(got) != 0 {
		t.Errorf("trees of %q beside the one of the paper", got)
	}
}

// uneven is kms on leaf1 with 0.85 of its cores, and leaf2 so that kms makes it more even: what the paper calls a benefit.
func uneven() *world {
	w := star("leaf1", "leaf2")
	w.put(service("kms", 3.4), "leaf1")
	for _, m := range w.nodes {
		m.capacity["storage"], m.base["storage"] = 100<<30, 10<<30
	}
	w.nodes["leaf2"].capacity["compute"], w.nodes["leaf2"].base["compute"] = 12, 0.1
	w.nodes["leaf2"].base["storage"] = 60 << 30
	return w
}

// Where manager.xml and the drawing part, each by a paragraph of what the paper leaves open or gets wrong.
func TestProductAndPaper(t *testing.T) {
	const move2 = "move kms-0 to leaf2"
	for _, c := range []struct {
		paragraph      string
		world          func() *world
		story          func(p *play) // after 2 s
		product, paper []string
	}{
		{"none: one kind is overloaded", uneven, nil, []string{move2}, []string{move2}},
		{"2: a healthy kind lets the drawing go on, none stops it", func() *world {
			w := uneven()
			w.nodes["leaf1"].base["storage"], w.nodes["leaf1"].base["forwarding"] = 90<<30, 900
			return w
		}, nil, []string{move2}, nil},
		{"1: the drawing's target is n samples old", func() *world {
			w := star("leaf1", "leaf2", "leaf3")
			w.put(service("kms", 3.4), "leaf1")
			for _, n := range []string{"leaf2", "leaf3"} {
				w.nodes[n].capacity["compute"], w.nodes[n].base["compute"], w.nodes[n].base["memory"] = 12, 0.1, 4<<30
			}
			w.nodes["leaf3"].capacity["compute"] = 14
			return w
		}, func(p *play) { p.nodes["leaf3"].base["compute"] = 12 }, []string{move2}, []string{"move kms-0 to leaf3"}},
		{"3: algorithm 1 drops what is not more even", func() *world {
			w := overloaded()
			w.nodes["leaf3"].capacity["compute"] = 6
			w.load("kms", 3.4)
			return w
		}, nil, []string{"move kms-0 to leaf3"}, nil},
		{"6: a dead node is nobody's business", func() *world {
			w := overloaded()
			r := w.replicas[id("kms")]
			r.Redeploy, r.LeaseOver = true, true
			return w
		}, func(p *play) { p.nodes["leaf1"].dead = true }, []string{"deploy kms-0 to leaf3"}, nil},
		{"7: a deployment that failed is not tried again", func() *world {
			w := star("leaf1")
			w.nodes["leaf1"].base["memory"] = 4 << 30
			w.breaks["leaf1"] = 1
			w.wanted = []decide.Replica{service("kms", 0.5)}
			return w
		}, nil, []string{"deploy kms-0 to leaf1", "deploy kms-0 to leaf1"}, []string{"deploy kms-0 to leaf1"}},
		{"8: while a service moves none is deployed", func() *world {
			w := uneven()
			w.stuck[decide.Prewarm] = true
			return w
		}, func(p *play) {
			p.run(8 * time.Second) // the move is in its Prewarm
			p.nodes["leaf1"].base["compute"] = 0
			p.wanted = []decide.Replica{service("dns", 0.1)}
		}, []string{move2, "deploy dns-0 to *"}, []string{move2}},
	} {
		t.Run(c.paragraph, func(t *testing.T) {
			for name, want := range map[string][]string{"manager.xml": c.product, "paper.xml": c.paper} {
				cfg := config()
				if name == "paper.xml" {
					cfg.File = paper
				}
				p := start(t, c.world(), cfg)
				p.run(2 * time.Second)
				if c.story != nil {
					c.story(p)
				}
				p.run(9 * time.Second)
				got := p.ordered()
				for i := range min(len(got), len(want)) {
					if prefix, any := strings.CutSuffix(want[i], "*"); any && strings.HasPrefix(got[i], prefix) {
						got[i] = want[i]
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s ordered %q, want %q\n%s", name, got, want, p.out.String())
				}
			}
		})
	}
}

// ordered are the operations begun so far.
func (p *play) ordered() (got []string) {
	for _, op := range p.begun {
		got = append(got, fmt.Sprintf("%s %s to %s", op.Verb, op.Replica, op.To))
	}
	return got
}

// chance is a network by a seed: kms on leaf1, which is overloaded in some kinds, and up to four others.
func chance(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 0))
	names := []string{"leaf1"}
	for i := range 1 + r.IntN(4) {
		names = append(names, fmt.Sprintf("leaf%d", i+2))
	}
	w := star(names...)
	for _, n := range names {
		m := w.nodes[n]
		m.capacity["compute"], m.capacity["storage"] = float64(4+r.IntN(9)), 100<<30
		for kind, whole := range m.capacity {
			m.base[kind] = whole * (0.05 + 0.5*r.Float64())
		}
	}
	moving := service("kms", 0.3)
	moving.Demand[netmap.Storage], moving.Demand[netmap.Forwarding] = 5<<30, 50 // so that its absence helps, whatever is short
	w.put(moving, "leaf1")
	for _, kind := range []netmap.Kind{netmap.Compute, netmap.Storage, netmap.Forwarding} {
		if r.IntN(2) == 0 {
			w.nodes["leaf1"].base[kind] = 0.95 * w.nodes["leaf1"].capacity[kind]
		}
	}
	return w
}

// The same networks under both trees: what differs has a paragraph, and everything else is the same.
func TestProductAndPaperByChance(t *testing.T) {
	counts := map[string]int{}
	for seed := range uint64(60) {
		run := func(f trees.File) *play {
			cfg := config()
			cfg.File = f
			p := start(t, chance(seed), cfg)
			p.run(12 * time.Second) // before the second move, if there is one
			return p
		}
		product, drawn := run(trees.File{}), run(paper)
		ours, theirs := strings.Join(product.ordered(), ", "), strings.Join(drawn.ordered(), ", ")
		over := 0
		for _, kind := range []netmap.Kind{netmap.Compute, netmap.Storage, netmap.Forwarding} {
			if m := chance(seed).nodes["leaf1"]; m.base[kind]/m.capacity[kind] > 0.8 {
				over++
			}
		}
		why := ""
		switch {
		case ours == theirs:
			why = "the same"
		case over == 3 && theirs == "":
			why = "2: nothing healthy lets the drawing go on"
		case over > 0 && theirs == "" && slices.ContainsFunc(drawn.r.Why("kms", 100), func(a Audit) bool { return a.What == "full" }):
			why = "3: algorithm 1 finds no node that makes the network more even"
		case over > 0 && ours != "" && theirs != "":
			why = "3: the other formula ranks others first"
		default:
			t.Errorf("seed %d, %d kinds overloaded: manager.xml ordered %q, paper.xml %q, and no paragraph says why\n%s\n%s", seed, over, ours, theirs, product.out.String(), drawn.out.String())
		}
		counts[why]++
	}
	t.Log(counts)
	if len(counts) < 3 || counts["the same"] == 0 {
		t.Errorf("these networks show too little: %v", counts)
	}
}
