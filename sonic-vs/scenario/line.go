package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/netmap"
	servicefile "sonic-netservices/spec"
)

// What the service of line declares and what its node may give it, in cores. A core is enough for what it is asked;
// scarce is not, and is used up.
const (
	lineDemand = 0.2
	scarce     = 0.1
)

// act is one overload and what the tree has to make of it, on leaf1 - leaf2 = leaf3 - leaf4 - leaf5: 40 Mbit/s, and 8
// where the line is drawn double. The scores are by hand, of gain = (1 - max a') + 0.3 (SUB - SUB') - 0.3 cost / 10 s. An
// idle node with c cores comes to a' = 0.2/c for compute and nearly 0 for the rest, so SUB' is 0.2/c, too: with all nodes
// alike the first two terms are, and the cost decides. With u = 8 D / 40 Mbit/s, D what the move carries, a fast hop
// costs u and the slow one 5u.
type act struct {
	name  string
	about string
	quick bool               // in a short run, too
	at    string             // where the service is to be; "": where it is
	cores map[string]float64 // what services may use, by node; missing: the whole machine; "*": every other node
	asked time.Duration      // how long clients ask for more than the node gives; 0: until the tree has decided
	want  []string           // the candidates, best first; none: nothing may move
	idle  string             // a node that has never had a service
}

var acts = []act{
	{
		name: "spike", quick: true, at: "leaf5", asked: 4 * time.Second,
		about: "4 s above the threshold: armed, and disarmed before five samples are there",
	},
	{
		// leaf4 u, leaf3 2u, leaf2 2u + 5u, leaf1 3u + 5u.
		name: "hops", quick: true, at: "leaf5", want: []string{"leaf4", "leaf3", "leaf2", "leaf1"},
		about: "all alike: the nearest, leaf4 before leaf3",
	},
	{
		// leaf4 u, leaf5 2u, leaf2 5u, leaf1 u + 5u: of two neighbours the one behind the fast link, and two fast hops before
		// a slow one.
		name: "bandwidth", at: "leaf3", want: []string{"leaf4", "leaf5", "leaf2", "leaf1"},
		about: "one hop both ways: over the fast link, leaf4 before leaf2",
	},
	{
		// On a machine of 2 cores leaf2 and leaf1 come to 1 - 0.1 - 0.03 = 0.87, less 6u and 7u; with 2.5 MB u is 0.5 s and
		// 0.015 of gain: 0.78 and 0.765. leaf3 has 1 - 0.5 - 0.15 - 0.015 = 0.335, leaf5 1 - 0.57 - 0.17 - 0.015 = 0.24. The
		// paper's eq. 3 divides by the imbalance of the target, so that leaf2 would never be chosen.
		name: "idle", at: "leaf4", idle: "leaf2", cores: map[string]float64{"leaf3": 0.4, "leaf5": 0.35},
		want:  []string{"leaf2", "leaf1", "leaf3", "leaf5"},
		about: "leaf2, which never had a service, before its nearer neighbours with less room",
	},
	{
		// 0.2 of 0.25 cores would be 0.80 everywhere, and 0.70 is the limit for targets.
		name: "full", quick: true, cores: map[string]float64{"*": 0.25},
		about: "no switch has room: it stays, and why says what each would have been",
	},
}

// overloadLine overloads the switch of one service again and again, each time in another network, and looks at what the
// tree does and says. It wants switches on which nothing has run.
func overloadLine(ctx context.Context, s *stage) error {
	l := &lineStage{stage: s, set: map[string]float64{}}
	if err := l.prepare(ctx); err != nil {
		return err
	}
	for _, a := range acts {
		if len(s.Cases) > 0 && !slices.Contains(s.Cases, a.name) || len(s.Cases) == 0 && s.Quick && !a.quick {
			continue
		}
		if err := l.perform(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	for _, n := range s.nodes {
		if err := l.budget(ctx, n.Name, l.cores); err != nil {
			return err
		}
	}
	_, err := s.suite.Nsctl(ctx, "remove", service)
	return err
}

// lineStage is the stage of line.
type lineStage struct {
	*stage
	cores float64            // of the machine, and of a switch without a budget
	set   map[string]float64 // budgets, by node
	home  string             // of the service
}

// prepare replaces the service by one with other demands, where the first act wants it.
func (l *lineStage) prepare(ctx context.Context) error {
	if _, err := l.suite.Nsctl(ctx, "remove", service); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	for l.cores == 0 { // until syncd-plugin has read twice
		compute, err := l.compute(limit, l.leader().Name)
		if l.cores = compute.Capacity; l.cores == 0 && pause(limit) != nil {
			return fmt.Errorf("%s has no reading of its compute: %w", l.leader().Name, errors.Join(err, limit.Err()))
		}
	}
	file, err := l.ownSpec()
	if err != nil {
		return err
	}
	l.home = acts[0].at
	_, err = l.suite.Deploy(ctx, file, l.home)
	return err
}

// ownSpec is the service's file with a demand and without a limit of its own: the node's budget is what limits it.
func (l *lineStage) ownSpec() (string, error) {
	text, err := os.ReadFile(l.spec())
	if err != nil {
		return "", err
	}
	v, err := servicefile.Parse(service, text)
	if err != nil {
		return "", err
	}
	v.Limits.CPU, v.Demand["compute"] = 0, lineDemand
	v.Environment["GOMAXPROCS"], v.Environment["KMS_WORK"] = "1", keyWork
	if text, err = servicefile.Print(v); err != nil {
		return "", err
	}
	path := filepath.Join(l.dir, service+".yaml")
	return path, os.WriteFile(path, text, 0o644)
}

// perform sets the stage, lets the clients ask, and judges.
func (l *lineStage) perform(ctx context.Context, a act) error {
	if err := l.arrange(ctx, a); err != nil {
		return err
	}
	before, err := l.managerRecords(0)
	if err != nil {
		return err
	}
	began := time.Now().Truncate(time.Millisecond) // as nsctl why tells times
	seen, err := l.overload(ctx, a, len(before))
	if err != nil {
		return err
	}
	if seen.peak <= 0.80 {
		l.fault("%s: %s was at %.2f of its %v cores at most: no overload", a.name, l.home, seen.peak, scarce)
	}
	if seen.failed != nil {
		l.fault("%s: clients: %v", a.name, seen.failed)
	}
	since, err := l.managerRecords(len(before))
	if err != nil {
		return err
	}
	ops, outcomes := begun(since, replica, orders.Move)
	switch {
	case len(a.want) == 0 && len(ops) == 0:
		l.say("%-10s %s at %.2f of %v cores: nothing moves; %s", a.name, l.home, seen.peak, scarce, a.about)
	case len(ops) == 1 && len(a.want) > 0 && ops[0].To == a.want[0] && outcomes[0] == orders.Committed && strings.HasPrefix(ops[0].ID, "tree-"):
		l.say("%-10s %s at %.2f of %v cores: to %s by %s after %v; %s", a.name, l.home, seen.peak, scarce, ops[0].To, ops[0].ID,
			ops[0].Started.Sub(began).Round(100*time.Millisecond), a.about)
	case len(a.want) == 0:
		return fmt.Errorf("%s to %s, because %s; nothing may move", ops[0].ID, ops[0].To, ops[0].Reason)
	default:
		return fmt.Errorf("%s at %.2f of %v cores: moves %v, ended %q; want one that the tree orders, to %s", l.home, seen.peak, scarce,
			ops, outcomes, a.want[0])
	}
	if a.asked == 0 {
		d, err := l.decided(ctx, a, began)
		if err != nil {
			return err
		}
		l.weigh(a, d)
	}
	if len(ops) > 0 {
		l.home = ops[0].To
	}
	if err := l.healthy(ctx); err != nil {
		l.fault("%s: %s does not answer: %v", a.name, service, err)
	}
	return nil
}

// arrange brings the service to where the act wants it, with room for it everywhere, and sets the act's budgets then.
func (l *lineStage) arrange(ctx context.Context, a act) error {
	for _, n := range l.nodes {
		if err := l.budget(ctx, n.Name, l.cores); err != nil {
			return err
		}
	}
	if a.at != "" && a.at != l.home {
		if _, err := l.suite.Migrate(ctx, replica, a.at, string(netmap.Live)); err != nil {
			return err
		}
		l.home = a.at
	}
	if a.idle != "" {
		if ops, err := os.ReadDir(l.node(a.idle).agentPath("journal")); err != nil || len(ops) > 0 {
			return fmt.Errorf("%s has had %d operations (%v): line wants fresh switches", a.idle, len(ops), err)
		}
	}
	for _, n := range l.nodes {
		if err := l.budget(ctx, n.Name, l.coresOf(a, n.Name)); err != nil {
			return err
		}
	}
	return nil
}
