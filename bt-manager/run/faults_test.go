package run

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/plan/balance"
)

// Whoever says no at once is passed over; what cannot be begun at all is tried again later.
func TestBeginFails(t *testing.T) {
	refused := fmt.Errorf("%w: node leaf3 cannot move live", decide.ErrRefused)
	away := errors.New("the journal cannot be written")
	t.Run("move refused", func(t *testing.T) {
		p := roomy(t, nil)
		p.begins["leaf3"] = refused
		p.run(10 * time.Second)
		p.orders("move kms-0 to leaf2")
		if got := p.find("kms", "refused").Text; got != "leaf3: node leaf3 cannot move live" {
			t.Errorf("audit %q", got)
		}
		d := p.find("kms", "chosen").Detail
		if text := fmt.Sprint(d); !strings.Contains(text, "refused leaf3: refused: node leaf3 cannot move live") {
			t.Errorf("the explanation does not say who refused:\n%s", text)
		}
	})
	t.Run("move", func(t *testing.T) {
		p := roomy(t, nil)
		p.begins["leaf3"] = away
		p.run(10 * time.Second)
		p.orders()
		p.find("kms", "failed")
		p.find("kms", "rests")
		p.begins["leaf3"] = nil
		p.run(10 * time.Second)
		p.orders("move kms-0 to leaf3")
	})
	t.Run("deploy refused", func(t *testing.T) {
		w := star("leaf2", "leaf3")
		w.nodes["leaf2"].base["compute"] = 1
		w.wanted = []decide.Replica{service("kms", 1)}
		w.begins["leaf3"] = refused
		p := start(t, w, config())
		p.run(5 * time.Second)
		p.orders("deploy kms-0 to leaf2")
	})
	t.Run("deploy", func(t *testing.T) {
		w := star("leaf3")
		w.wanted = []decide.Replica{service("kms", 1)}
		w.begins["leaf3"] = away
		p := start(t, w, config())
		p.run(5 * time.Second)
		p.orders()
		w.begins["leaf3"] = nil
		p.run(5 * time.Second)
		p.on("kms", "leaf3")
	})
}

// A service that cannot be admitted does not keep others waiting.
func TestAdmitFails(t *testing.T) {
	w := star("leaf1")
	w.wanted = []decide.Replica{service("kms", 1), service("dns", 0.5)}
	w.admits["kms"] = errors.New("the journal is full")
	p := start(t, w, config())
	p.run(5 * time.Second)
	p.orders("deploy dns-0 to leaf1")
	if got := p.find("", "not admitted").Text; got != "kms: the journal is full" {
		t.Errorf("audit %q", got)
	}
	w.admits["kms"] = nil
	p.run(10 * time.Second)
	p.on("kms", "leaf1")
	if got := p.board["root"]["Policy2"]; got != "kms-0 on leaf1" {
		t.Errorf("Policy2 is %q", got)
	}
}

// A cut-over that never began is let go: it rests, so nothing is in doubt.
func TestCutoverNeverBegun(t *testing.T) {
	p := roomy(t, nil)
	p.deaf[decide.Cutover] = true
	p.run(30 * time.Second)
	if got := p.path("kms-0"); got != "*Cutover" {
		t.Fatalf("the tree is at %s", got)
	}
	p.run(10 * time.Second)
	const op = "tree-kms-0-e1-1"
	if want := []string{"prewarm " + op, "cancel " + op}; !slices.Equal(p.asked, want) {
		t.Errorf("asked for %q", p.asked)
	}
	p.on("kms", "leaf1")
}

// Who would go first fits nowhere: who fits goes at once.
func TestWhoFitsLeavesFirst(t *testing.T) {
	w := star("leaf1", "leaf2")
	w.nodes["leaf2"].base["compute"] = 1
	w.put(service("kms", 2.4), "leaf1")
	w.put(service("auth", 1), "leaf1")
	p := start(t, w, config())
	p.run(6 * time.Second)
	p.orders("move auth-0 to leaf2")
}

// Of two that relieve the node as much, the one goes whose data is worth less than the other's way.
func TestCheapLeavesFirst(t *testing.T) {
	w := star("leaf1", "leaf2")
	heavy := service("db", 1.7)
	heavy.DataBytes = 20e9
	w.put(heavy, "leaf1")
	w.put(service("kms", 1.6), "leaf1")
	p := start(t, w, config())
	p.run(10 * time.Second)
	p.orders("move kms-0 to leaf2")
	p.on("kms", "leaf2")
}

// A node that was full an hour ago is no place for a replica, however empty it is now.
func TestRemembersTheDay(t *testing.T) {
	w := star("leaf1", "leaf2", "leaf3")
	w.nodes["leaf2"].base["compute"], w.nodes["leaf3"].base["compute"] = 2.4, 0.8
	w.put(service("kms", 1), "leaf1")
	p := start(t, w, config())
	p.run(time.Hour)
	w.nodes["leaf2"].base["compute"] = 0.1
	w.load("kms", 3.2)
	w.nodes["leaf2"].capacity["compute"], w.nodes["leaf3"].capacity["compute"] = 8, 8
	p.run(10 * time.Second)
	p.on("kms", "leaf3")
	if d := p.find("kms", "chosen").Detail.(balance.Decision); len(d.Candidates) != 2 || d.Candidates[0].Highest.Rise != 0 || math.Abs(d.Candidates[1].Highest.Rise-2.3/8) > 1e-9 {
		t.Errorf("%s", d)
	}
}

// None of those that are weighed fits anywhere: while they rest the next one gets its turn.
func TestNextVictim(t *testing.T) {
	w := star("leaf1", "leaf2")
	w.nodes["leaf2"].base["compute"] = 2.5
	for i := range balance.Weighed {
		w.put(service(fmt.Sprintf("kms%d", i), 0.6), "leaf1")
	}
	w.put(service("auth", 0.2), "leaf1")
	p := start(t, w, config())
	p.run(15 * time.Second)
	p.orders("move auth-0 to leaf2")
	p.find("kms0", "full")
}

// An operator's wish for a node counts for a deployment.
func TestWantedNode(t *testing.T) {
	w := star("leaf1", "leaf2")
	w.nodes["leaf2"].base["compute"] = 1
	r := service("kms", 0.5)
	r.Wanted = "leaf2"
	w.wanted = []decide.Replica{r}
	p := start(t, w, config())
	p.run(5 * time.Second)
	p.on("kms", "leaf2")
}

// Two replicas of one service: one policy, and never both on one node.
func TestTwoReplicas(t *testing.T) {
	w := star("leaf1", "leaf2")
	w.put(service("kms", 0.5), "")
	second := *w.replicas[id("kms")]
	second.ID.Replica = 1
	w.replicas[second.ID] = &second
	p := start(t, w, config())
	p.run(10 * time.Second)
	if got := p.board["root"]["Policy1"]; got != "kms-0 on leaf1, kms-1 on leaf2" {
		t.Errorf("Policy1 is %q", got)
	}
	p.orders("deploy kms-0 to leaf1", "deploy kms-1 to leaf2")
}

// A tree follows its replica when others move it.
func TestOperatorMoves(t *testing.T) {
	p := start(t, overloaded(), config())
	p.run(2 * time.Second)
	p.replicas[id("kms")].Node = "leaf2"
	p.run(2 * time.Second)
	if got := p.board["root"]["Policy1"]; got != "kms-0 on leaf2" {
		t.Errorf("Policy1 is %q", got)
	}
	if got := p.board["kms-0"]["source"]; got != "leaf2" {
		t.Errorf("its tree looks at %q", got)
	}
}
