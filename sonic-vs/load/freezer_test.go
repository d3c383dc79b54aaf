package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A real cgroup of each version the kernel offers comes, freezes, thaws and goes.
func TestSampleFreezers(t *testing.T) {
	found := 0
	for _, root := range []string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		parent := filepath.Join(root, fmt.Sprintf("sonic-vs-sampler-test-%d", os.Getpid()))
		if err := os.Mkdir(parent, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { syscall.Rmdir(parent) })
		w := openFreezer(parent)
		if w == nil {
			continue
		}
		w.close()
		found++
		t.Run(filepath.Base(root), func(t *testing.T) { sampleOne(t, parent) })
	}
	if found == 0 {
		t.Skip("no freezer: neither cgroup v1's hierarchy nor a writable v2 is mounted")
	}
}

func sampleOne(t *testing.T, parent string) {
	dir, cgroup := t.TempDir(), filepath.Join(parent, "kms-0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- sampleFreezers(ctx, dir, []Cgroups{{"leaf1", parent + "/*"}}, time.Now())
	}()
	// wait until the sampler has written a state, as all the rest depends on it
	wait := func(lines int) {
		t.Helper()
		for range 500 {
			if got, _, _ := readLines(&Part{}, dir, freezerFile, ParseFreeze); len(changes(got)) >= lines {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("no %d states after 5 s", lines)
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { setFreezer(cgroup, false); syscall.Rmdir(cgroup) })
	do(os.Mkdir(cgroup, 0o755))
	wait(1)
	do(setFreezer(cgroup, true))
	wait(2)
	do(setFreezer(cgroup, false))
	wait(3)
	do(syscall.Rmdir(cgroup))
	wait(4)
	cancel()
	do(<-done)

	var p Part
	lines, _, err := readLines(&p, dir, freezerFile, ParseFreeze)
	if err != nil || p.Problems != nil {
		t.Fatal(err, p.Problems)
	}
	if diff := cmp.Diff([]string{thawed, frozen, thawed, gone}, changes(lines)); diff != "" {
		t.Error(diff)
	}
	if last := lines[len(lines)-1]; last.Samples == 0 || last.Longest == 0 {
		t.Errorf("the file does not end with a heartbeat: %+v", last)
	}
}

// changes are the states of the one container, in order.
func changes(lines []Freeze) []string {
	var states []string
	for _, f := range lines {
		if f.State != "" && f.Node == "leaf1" && f.Container == "kms-0" {
			states = append(states, f.State)
		}
	}
	return states
}

// A frozen process that cannot stop yet is FREEZING in v1; v2 tells it by two files that differ.
func TestReadV2(t *testing.T) {
	for _, tt := range []struct{ order, events, want string }{
		{"0\n", "populated 1\nfrozen 0\n", thawed},
		{"1\n", "populated 1\nfrozen 0\n", freezing},
		{"1\n", "populated 1\nfrozen 1\n", frozen},
		{"0\n", "populated 1\nfrozen 1\n", frozen}, // by a cgroup above
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"cgroup.freeze": tt.order, "cgroup.events": tt.events} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		w := openFreezer(dir)
		if w == nil {
			t.Fatal("not seen as a cgroup")
		}
		if got, err := w.read(w.files); err != nil || got != tt.want {
			t.Errorf("%q %q: %s, %v; want %s", tt.order, tt.events, got, err, tt.want)
		}
		w.close()
	}
}
