// Package scenario runs scenarios on virtual switches: what the product must survive or refuse, one line a step, and a
// verdict at the end.
//
// It reads the switches from outside (journals, containers, freezers, rules, rows of resour_DB), orders through nsctl
// as an operator would, and writes its records to <out>/scenario/<name>/. It is told by `sonic-vs scenario`, and by
// its own test.
package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// ErrFailed says that a scenario has found faults; each was printed.
var ErrFailed = errors.New("scenario failed")

// Scenario is one of those that can be run by name.
type Scenario struct {
	Name  string
	About string

	topology string // of sonic-vs/topologies
	run      func(ctx context.Context, s *stage) error
}

// The topologies of scenarios.
const (
	triangle = "triangle"
	bare     = "bare" // its switches come without CRIU
	inLine   = "line"
	internet = "overlay" // plain hosts, most of them behind NAT boxes
)

// file of the topology it plays on.
func (sc Scenario) file(repo string) string {
	return filepath.Join(repo, "sonic-vs/topologies", sc.topology+".yaml")
}

// All lists the scenarios; those of one topology can follow one another in this order.
func All() []Scenario {
	return []Scenario{
		{"agent-kill", "kill -9 of an agent or helper at each record of a move's journal, under load", triangle, agentKill},
		{"bad-input", "wrong specs, orders, roles and certificates: a clear error, nothing changed", triangle, badInput},
		{"bad-stream", "moves whose source cuts, damages, repeats or forges what it sends: refused, forgotten, nobody notices", triangle, badStream},
		{"refuse", "a target that cannot take the replica says so, and the service goes on", triangle, refuse},
		{"contract", "mig-agent keeps what every agent promises its manager, as the simulated ones do", triangle, contractKept},
		{"manager-kill", "kill -9 of bt-manager in each phase of a move the tree orders, under load", triangle, managerKill},
		{"failover", "three managers: kill -9 of the one that leads in each phase of a move, under load; one that sleeps through it is refused, one that loses its disk has no vote", triangle, failover},
		{"reload", "other files of trees in the middle of moves, under load: a good one is taken, a broken one is not", triangle, reload},
		{"garbage", "rows, thresholds and trees that nobody can mean: named or refused, the service goes on", triangle, garbage},
		{"rows", "resour_DB as redis-cli shows it on a switch: rows of all switches, blackboard", triangle, rows},
		{"lost-node", "power off an idle leaf and one with services: one waits and says so, one runs elsewhere", triangle, lostNode},
		{"warm", "a second instance takes over, without and with a volume, under load; it is not warm in time; its agent is killed", triangle, warm},
		{"recover", "power off a leaf whose service waits for it: an operator gives the copy up, it never answers again", triangle, recoverLost},
		{"services", "servers from Debian packages move live under load; every answer is checked", triangle, services},
		{"families", "memcached moves under TCP and UDP clients of IPv4 and IPv6; its published ports move along", triangle, families},
		{"two-owners", "a second container with the service's address is raised, and one serves in the end", triangle, twoOwners},
		{"lazy", "100 MB of memory move after the switch; the daemon that fetches them is killed: lost, said, one owner", triangle, lazy},
		{"n2n-switches", "supernode and edges as features of switches, told by CONFIG_DB: pings over the overlay, RESOUR_EDGE on all of them, restarts", triangle, n2nSwitches},
		{"bundle", "switches without CRIU: live moves run on the one that mig-agent brings along, also after damage", bare, bundled},
		{"live-restore", "ask for live-restore in CONFIG_DB and kill dockerd under load; take it back", bare, liveRestore},
		{"upgrade", "another version of mig-agent while a service runs under load, then moves by the new one", bare, upgrade},
		{"uninstall", "take mig-agent off a switch: refused while it is needed, then nothing is left; install it again", bare, uninstall},
		{"line", "five switches in a line, overloaded: spike, hops, bandwidth, an idle switch, no room anywhere", inLine, overloadLine},
		{"n2n-interop", "edges and supernodes, ours and ntop's, meet: each transform, clear, encrypted and with passwords", internet, n2nInterop},
		{"n2n-nat", "two edges behind each pair of NATs: straight where that can be, else by the supernode, and they say why", internet, n2nNAT},
		{"n2n-kill", "kill -9 of supernodes and edges, ours and ntop's, in the middle of conversations: all is back within one registration", internet, n2nKill},
		{"n2n-flood", "malformed, replayed and spoofed packets at a supernode and edges that work: nothing changes, nothing is lost, all is counted", internet, n2nFlood},
	}
}

// Config says where a scenario runs.
type Config struct {
	Instance string    // of the test bed; "" = the topology's name
	Topology string    // file; "" = the scenario's own
	Repo     string    // the repository, with the programs in out/bin
	Out      string    // folder that gets nsctl.yaml, pki/ and scenario/<name>/
	Rate     int       // requests a second of the load of agent-kill, manager-kill and failover
	Cases    []string  // of agent-kill, manager-kill, failover, services, line, n2n-interop, n2n-nat, n2n-kill or n2n-flood, as they print them; none = all
	Quick    bool      // without Cases: a sample of them
	Lines    io.Writer // one line a step, and the verdict
}

// Run raises and installs the test bed as far as that is missing, and runs one scenario on it.
func Run(ctx context.Context, c Config, name string) error {
	sc, err := find(name)
	if err != nil {
		return err
	}
	c.Topology = cmp.Or(c.Topology, sc.file(c.Repo))
	s, err := raise(ctx, c)
	if err != nil {
		return fmt.Errorf("raise test bed: %w", err)
	}
	defer s.close()
	return s.play(ctx, sc)
}

func find(name string) (Scenario, error) {
	all := All()
	i := slices.IndexFunc(all, func(sc Scenario) bool { return sc.Name == name })
	if i < 0 {
		return Scenario{}, fmt.Errorf("no scenario %q; see sonic-vs scenario list", name)
	}
	return all[i], nil
}

// play runs one scenario and says what came of it.
func (s *stage) play(ctx context.Context, sc Scenario) error {
	s.dir, s.faults = filepath.Join(s.Out, "scenario", sc.Name), nil
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	began := time.Now()
	if err := sc.run(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", sc.Name, err)
	}
	took := time.Since(began).Round(time.Second)
	if len(s.faults) == 0 {
		s.say("PASS %s in %v, records in %s", sc.Name, took, s.dir)
		return nil
	}
	s.say("FAIL %s in %v: %d faults, records in %s", sc.Name, took, len(s.faults), s.dir)
	for _, f := range s.faults {
		s.say("     %s", f)
	}
	return fmt.Errorf("%w: %s: %d faults, the first: %s", ErrFailed, sc.Name, len(s.faults), s.faults[0])
}
