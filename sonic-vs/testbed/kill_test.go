package testbed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestKilledUp kills `up` without warning at many moments, in some rounds with a frozen cgroup in a node: after `down`
// nothing of the instance is left, without a state file too, and the next `up` finds a clean machine.
func TestKilledUp(t *testing.T) {
	const instance = "tbkill"
	ctx := context.Background()
	clean(t, instance)
	started := time.Now()
	if err := raise(t, instance).Wait(); err != nil {
		t.Fatalf("up: %v", err)
	}
	whole := time.Since(started)
	seed := uint64(started.UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("up takes %v, seed %d", whole, seed)

	// The short moments are the interesting ones: namespaces, links and first processes are made in the first tenth.
	moments := []time.Duration{0, whole / 40, whole / 20, whole / 10}
	for range 4 {
		moments = append(moments, time.Duration(rng.Int64N(int64(whole))))
	}
	for i, after := range moments {
		t.Run(fmt.Sprintf("%v", after.Round(time.Millisecond)), func(t *testing.T) {
			if err := Down(ctx, instance); err != nil {
				t.Fatal(err)
			}
			noTrace(t, instance)
			up := raise(t, instance)
			time.Sleep(after)
			if i%2 == 1 {
				freezeAny(t, instance)
			}
			if err := up.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if i%3 == 2 {
				os.Remove(statePath(instance))
			}
			if err := Down(ctx, instance); err != nil { // at once, while the nodes go on starting
				t.Fatal(err)
			}
			up.Wait()
			noTrace(t, instance)
		})
	}
}

func raise(t *testing.T, instance string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	up := exec.Command(self, "up", "-t", triangle, "--instance", instance, "--out", t.TempDir())
	up.Stderr = os.Stderr
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	return up
}

// freezeAny freezes the insides of the nodes that have a first process by now.
func freezeAny(t *testing.T, instance string) {
	t.Helper()
	topo, err := ReadTopology(triangle)
	if err != nil {
		t.Fatal(err)
	}
	tb, err := look(instance, topo)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range tb.Nodes {
		if n.Pid != 0 {
			freezeInside(t, n)
		}
	}
}
