package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// group makes a name for a cgroup of this test alone, and removes it from the kernel's hierarchies at the end.
func group(t *testing.T, controllers ...string) string {
	name := fmt.Sprintf("netservices-test-%d", os.Getpid())
	t.Cleanup(func() {
		for _, c := range controllers {
			os.Remove(filepath.Join("/sys/fs/cgroup", c, name, "child"))
			os.Remove(filepath.Join("/sys/fs/cgroup", c, name))
		}
	})
	return name
}

func content(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// On the real kernel: a budget below what a child may use takes the child down with it; none lifts the group's.
func TestSetBudgetV1(t *testing.T) {
	const cpu, memory = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"
	if !exists(filepath.Join(cpu, "cpu.cfs_quota_us")) && !exists(filepath.Join(cpu, "cgroup.procs")) {
		t.Skip("this kernel has no cgroup v1 cpu hierarchy")
	}
	h := Host{Cgroups: "/sys/fs/cgroup"}
	name := group(t, "cpu", "memory")
	if err := h.SetBudget(name, 1, 64<<20); err != nil {
		t.Fatal(err)
	}
	child := filepath.Join(cpu, name, "child")
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(child, "cpu.cfs_quota_us", 80000); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		cores float64
		bytes int64
		want  string
	}{
		{0.5, 32 << 20, "5000 10000 50000 33554432"},
		{2, 64 << 20, "20000 10000 50000 67108864"},   // whoever knows what the child may use raises it
		{0.05, 64 << 20, "5000 100000 5000 67108864"}, // less than a millisecond of a short period
		{0, 0, "-1 10000 5000 9223372036854771712"},
	} {
		if err := h.SetBudget(name, step.cores, step.bytes); err != nil {
			t.Fatal(err)
		}
		got := content(t, cpu, name, "cpu.cfs_quota_us") + " " + content(t, cpu, name, "cpu.cfs_period_us") + " " + content(t, child, "cpu.cfs_quota_us") + " " +
			content(t, memory, name, "memory.limit_in_bytes")
		if got != step.want {
			t.Errorf("%v cores, %d bytes: %s, want %s", step.cores, step.bytes, got, step.want)
		}
	}
}

// On plain files: what would be written to cgroup v2.
func TestSetBudgetV2(t *testing.T) {
	h := Host{Cgroups: t.TempDir()}
	if err := h.SetBudget("netservices", 0.25, 1<<20); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(h.Cgroups, "netservices")
	if got := content(t, dir, "cpu.max") + ", " + content(t, dir, "memory.max"); got != "2500 10000, 1048576" {
		t.Errorf("limits: %s", got)
	}
	if got := content(t, h.Cgroups, "cgroup.subtree_control"); got != "+cpu +memory" {
		t.Errorf("controllers handed down: %s", got)
	}
	if err := h.SetBudget("netservices", 0, 0); err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir, "cpu.max") + ", " + content(t, dir, "memory.max"); got != "max 10000, max" {
		t.Errorf("no limits: %s", got)
	}
}

func TestUsage(t *testing.T) {
	h := Host{Cgroups: t.TempDir()}
	files := map[string]string{
		"cpuacct/netservices/one/cpuacct.usage":             "1500000000\n",
		"memory/netservices/one/memory.usage_in_bytes":      "1000\n",
		"memory/netservices/one/memory.stat":                "inactive_file 1\ntotal_inactive_file 400\n",
		"netservices.slice/docker-two.scope/cpu.stat":       "usage_usec 2500000\n",
		"netservices.slice/docker-two.scope/memory.current": "700\n",
		"netservices.slice/docker-two.scope/memory.stat":    "inactive_file 900\n", // read a moment later
	}
	for name, text := range files {
		path := filepath.Join(h.Cgroups, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"one": "1.5s 600", "two": "2.5s 0"} {
		u, err := h.Usage(id)
		if got := fmt.Sprint(u.CPU, " ", u.Memory); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", id, got, err, want)
		}
	}
	if _, err := h.Usage("three"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a container without a cgroup: %v", err)
	}
}

func TestNetAndDiskBytes(t *testing.T) {
	const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  500       5    0    0    0     0          0         0  500       5    0    0    0     0       0          0
  eth0:  1000       7    0    0    0     0          0         0  200       4    0    0    0     0       0          0
`
	if got := netBytes(dev); got != 1200 {
		t.Errorf("net %d", got)
	}
	dir := t.TempDir()
	before := DiskBytes(dir)
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 40960), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := DiskBytes(dir) - before; got < 40960 || got > 60000 {
		t.Errorf("a file of 40960 bytes takes %d", got)
	}
	if DiskBytes("") != 0 || DiskBytes(filepath.Join(dir, "none")) != 0 {
		t.Error("a folder that is not there takes room")
	}
}
