package scenario

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/sonic-vs/chaos"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/load"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// TestMain: this test program is also the sonic-vs its nodes, helpers and loads are started with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		root := &cobra.Command{SilenceUsage: true, SilenceErrors: true}
		root.AddCommand(testbed.Commands()...)
		root.AddCommand(vswitch.Command())
		root.AddCommand(images.Commands()...)
		root.AddCommand(load.Command())
		os.Exit(testbed.ExitCode(root.ExecuteContext(context.Background())))
	}
	os.Exit(m.Run())
}

const repo = "../.."

var full = flag.Bool("full", false, "run all cases of every scenario, not a sample")

// TestScenarios raises one test bed of each topology with the suite of out/bin on it and runs its scenarios there. A
// scenario's own lines are the log; its faults fail the test.
func TestScenarios(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Minute)
	defer cancel()
	buildPrograms(t)
	for _, topology := range []string{triangle, bare, inLine, internet} {
		all := slices.DeleteFunc(All(), func(sc Scenario) bool { return sc.topology != topology })
		t.Run(topology, func(t *testing.T) { playAll(ctx, t, all) })
	}
}

// playAll raises the topology that the scenarios have in common.
func playAll(ctx context.Context, t *testing.T, all []Scenario) {
	instance := "e2e" + all[0].topology
	down(t, instance)
	t.Cleanup(func() { down(t, instance) })
	s, err := raise(ctx, Config{
		Instance: instance, Topology: all[0].file(repo), Repo: repo, Out: t.TempDir(), Rate: 50, Quick: !*full, Lines: lines{t},
	})
	if err != nil {
		keepLogs(t, instance)
		t.Fatal(err)
	}
	defer s.close()
	for _, sc := range all {
		t.Run(sc.Name, func(t *testing.T) {
			s.Lines = lines{t}
			if err := s.play(ctx, sc); err != nil {
				keepLogs(t, instance)
				t.Error(err)
			}
		})
	}
	if all[0].topology == triangle {
		t.Run("chaos", func(t *testing.T) { // make chaos plays all of it
			s.Lines = lines{t}
			for _, sample := range []Chaos{
				{Choice: chaos.Choice{Light: true}, Moves: 12, Time: 80 * time.Second, Seed: 1},
				{Choice: chaos.Choice{Faults: []string{"target-dockerd-live"}, Steps: []string{"restored"}}, Moves: 1, Seed: 1}, // a rescue
			} {
				if err := s.chaos(ctx, sample); err != nil {
					keepLogs(t, instance)
					t.Error(err)
				}
			}
		})
		t.Run("leftovers", func(t *testing.T) { seeLeftovers(ctx, t, s) })
	}
}

// buildPrograms makes out/bin what the sources say: the test must not judge programs of yesterday.
func buildPrograms(t *testing.T) {
	build := exec.Command("make", "build")
	build.Dir = repo
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build programs: %v\n%s", err, out)
	}
}

func down(t *testing.T, instance string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := testbed.Down(ctx, instance); err != nil && !errors.Is(err, testbed.ErrNotUp) {
		t.Errorf("down: %v", err)
	}
}

// keepLogs prints what agents and manager said, before the test bed goes.
func keepLogs(t *testing.T, instance string) {
	bed, err := testbed.Load(instance)
	if err != nil {
		t.Log(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i, n := range bed.Nodes {
		names := []string{suite.Agent, helper}
		if bed.Topology.Nodes[i].Manager {
			names = append(names, suite.Manager)
		}
		for _, name := range names {
			out, _ := bed.Exec(ctx, n.Name, "docker", "logs", "--tail", "60", name).CombinedOutput()
			t.Logf("%s: %s says\n%s", n.Name, name, out)
		}
	}
}

// seeLeftovers spoils the settled test bed in each way that agent-kill looks for, and mends it: the look must not be
// blind.
func seeLeftovers(ctx context.Context, t *testing.T, s *stage) {
	owner, faults, err := s.settle(ctx)
	if err != nil || len(faults) > 0 {
		t.Fatalf("not settled: %v %q", err, faults)
	}
	home, away := s.node(owner), s.node(other(owner))
	in := func(n *node, command string) {
		t.Helper()
		if out, err := s.suite.Bed.Exec(ctx, n.Name, "sh", "-ec", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %s: %v\n%s", n.Name, command, err, out)
		}
	}
	const (
		inHolder = "nsenter -n -t $(docker inspect -f '{{.State.Pid}}' " + holder + ") "
		agent    = "/host/netservices/mig-agent/"
	)
	for _, b := range []struct {
		name, want string
		where      *node
		spoil, fix string
	}{
		{"container frozen", "frozen: ", home, "docker pause " + replica, "docker unpause " + replica},
		{"rule", "1 rules in chain left", home,
			inHolder + "nft 'add table ip x; add chain ip x left { type filter hook output priority 0; }; add rule ip x left drop'",
			inHolder + "nft delete table ip x"},
		{"container", holder + ` is "created"`, away, "docker create --name " + holder + " " + suite.Agent + ":0.1.0 pause", "docker rm " + holder},
		{"interface", "interfaces of holders", away, "ip link add nshleft type veth peer name nshpeer", "ip link del nshleft"},
		{"mount", "mount: ", away, "mkdir -p /tmp/op/x; mount -t tmpfs none /tmp/op/x", "umount /tmp/op/x; rm -r /tmp/op"},
		{"operation's files", "work/op has 1 entries", away, "mkdir -p " + agent + "work/op/x", "rmdir " + agent + "work/op/x"},
		{"volume", "volumes/kms-0: there is true", away, "mkdir -p /host/netservices/volumes/kms-0", "rmdir /host/netservices/volumes/kms-0"},
		{"operation unfinished", "operation left is at frozen as source", away,
			`echo '{"format":1,"op":"left","role":"source","step":"frozen"}' >` + agent + "journal/left.source.jsonl",
			"rm " + agent + "journal/left.source.jsonl"},
		{"row", "RESOUR_INSTANCE says", away, "redis-cli -n 7 hset 'RESOUR_INSTANCE|kms|0|" + away.Name + "' state running",
			"redis-cli -n 7 del 'RESOUR_INSTANCE|kms|0|" + away.Name + "'"},
		{"service stopped", "runs on 0 nodes", home, "docker pause mig-agent; docker stop -t 0 " + replica, "docker unpause mig-agent"},
	} {
		t.Run(b.name, func(t *testing.T) {
			in(b.where, b.spoil)
			var faults []string
			seen := false
			for limit := time.Now().Add(10 * time.Second); !seen && time.Now().Before(limit); { // docker ps may lag behind docker stop
				_, faults = s.unsettled(ctx)
				seen = strings.Contains(strings.Join(faults, "\n"), b.want)
			}
			in(b.where, b.fix)
			if !seen {
				t.Errorf("got %q, want %q in it", faults, b.want)
			}
		})
	}
	if _, faults, err := s.settle(ctx); err != nil || len(faults) > 0 {
		t.Errorf("does not settle again: %v %q", err, faults)
	}
}

// lines is the log of a test as a writer.
type lines struct{ t *testing.T }

func (l lines) Write(text []byte) (int, error) {
	l.t.Helper()
	l.t.Log(strings.TrimRight(string(text), "\n"))
	return len(text), nil
}
