package testbed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

	type moment struct {
		name string
		wait func()
	}
	var moments []moment
	sleep := func(d time.Duration) {
		moments = append(moments, moment{d.Round(time.Millisecond).String(), func() { time.Sleep(d) }})
	}
	for _, d := range []time.Duration{0, whole / 40, whole / 20, whole / 10} { // namespaces and links are made now
		sleep(d)
	}
	for range 4 {
		sleep(time.Duration(rng.Int64N(int64(whole))))
	}
	for range 3 { // a node's first process is there and not yet where down looks for it
		moments = append(moments, moment{"stage", func() { waitForStage(t, instance) }})
	}
	for i, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			if err := Down(ctx, instance); err != nil {
				t.Fatal(err)
			}
			noTrace(t, instance)
			up := raise(t, instance)
			m.wait()
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

// TestUpAfterKilledUp: an `up` that starts while the first process of a node is still on its way to where it can be
// found waits for it, and does not start the node a second time.
func TestUpAfterKilledUp(t *testing.T) {
	const instance = "tbagain"
	clean(t, instance)
	var up *exec.Cmd
	var stage int
	for range 20 { // stages are quick; not every one is caught
		up = raise(t, instance)
		if stage = stopStage(t, instance); stage != 0 {
			break
		}
		if err := up.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := Down(context.Background(), instance); err != nil {
			t.Fatal(err)
		}
	}
	if stage == 0 {
		t.Fatal("no node-stage could be stopped")
	}
	if err := up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	up.Wait()
	next := raise(t, instance)
	time.Sleep(500 * time.Millisecond) // all it needs to start nodes, if it did not wait
	if err := unix.Kill(stage, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := next.Wait(); err != nil {
		t.Errorf("up after a killed up: %v", err)
	}
	tb, err := Load(instance)
	if err != nil {
		t.Fatal(err)
	}
	inits := 0
	for _, p := range processesOf(t, instance) {
		if strings.Contains(p, "tini") {
			inits++
		}
	}
	if inits != len(tb.Nodes) {
		t.Errorf("%d nodes have %d first processes", len(tb.Nodes), inits)
	}
}

// stopStage stops the first process of a node before it has entered the node's cgroup; 0: all were quicker.
func stopStage(t *testing.T, instance string) int {
	t.Helper()
	waitForStage(t, instance)
	for _, p := range processesOf(t, instance) {
		var pid int
		if fmt.Sscan(p, &pid); !strings.Contains(p, "node-stage") || unix.Kill(pid, unix.SIGSTOP) != nil {
			continue
		}
		cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err == nil && !strings.Contains(string(cgroup), instance) {
			return pid
		}
		unix.Kill(pid, unix.SIGCONT)
	}
	return 0
}

// waitForStage returns as soon as the first process of a node exists.
func waitForStage(t *testing.T, instance string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		for _, p := range processesOf(t, instance) {
			if strings.Contains(p, "node-stage") {
				return
			}
		}
	}
	t.Fatal("no node-stage within 10 s")
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
