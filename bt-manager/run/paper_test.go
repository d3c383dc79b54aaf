package run

import (
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
)

// The paper's figure 3 as it is drawn runs on the same leaves. It deploys.
func TestPaperDeploys(t *testing.T) {
	cfg := config()
	cfg.File = trees.File{Name: "paper.xml", Text: string(trees.Paper)}
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

// It moves what lacks every kind, and, as drawn, leaves alone what lacks one: a healthy kind hides it. manager.xml
// inverts the whole instead (TestSustainedOverloadMovesOnce).
func TestPaperMovesOnlyWhatLacksEverything(t *testing.T) {
	for name, c := range map[string]struct {
		all  bool
		want []string
	}{
		"one kind":   {false, nil},
		"every kind": {true, []string{"move kms-0 to leaf2"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := star("leaf1", "leaf2")
			w.put(service("kms", 3.4), "leaf1")
			for _, m := range w.nodes {
				m.capacity["storage"], m.base["storage"] = 100<<30, 10<<30
			}
			if c.all {
				w.nodes["leaf1"].base["storage"], w.nodes["leaf1"].base["forwarding"] = 90<<30, 900
			}
			// Uneven, so that kms makes it more even: what the paper calls a benefit.
			w.nodes["leaf2"].capacity["compute"], w.nodes["leaf2"].base["compute"] = 12, 0.1
			w.nodes["leaf2"].base["storage"] = 60 << 30
			cfg := config()
			cfg.File = file(trees.Paper)
			p := start(t, w, cfg)
			p.run(30 * time.Second)
			p.orders(c.want...)
		})
	}
}
