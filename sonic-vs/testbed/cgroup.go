package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is one cgroup hierarchy of this machine: one per controller set on v1, one on v2, both kinds on a hybrid.
type hierarchy struct {
	Mount       string   `json:"mount"`       // /sys/fs/cgroup/cpu
	Controllers []string `json:"controllers"` // cpu; cpu and cpuacct; name=systemd; none on v2
}

func (h hierarchy) v2() bool { return len(h.Controllers) == 0 }

// cgroupTop is the folder of the testbeds in every hierarchy, at the root: below the caller's own cgroup they would
// fall under its limits and end with it.
const cgroupTop = "sonic-vs"

// hierarchies reads which hierarchies are mounted.
func hierarchies() ([]hierarchy, error) {
	known, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return nil, err
	}
	controllers := []string{}
	for line := range strings.Lines(string(known)) {
		controllers = append(controllers, strings.Fields(line)[0])
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	all := parseHierarchies(string(mounts), controllers)
	if len(all) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted below /sys/fs/cgroup")
	}
	return all, nil
}

func parseHierarchies(mountinfo string, controllers []string) []hierarchy {
	var all []hierarchy
	for line := range strings.Lines(mountinfo) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 || l[3] != "/" || !strings.HasPrefix(l[4], "/sys/fs/cgroup") {
			continue
		}
		h := hierarchy{Mount: l[4]}
		switch r[0] {
		case "cgroup":
			for _, o := range strings.Split(r[2], ",") {
				if strings.HasPrefix(o, "name=") || slices.Contains(controllers, o) {
					h.Controllers = append(h.Controllers, o)
				}
			}
		case "cgroup2":
		default:
			continue
		}
		all = slices.DeleteFunc(all, func(o hierarchy) bool { return o.Mount == h.Mount }) // mounted over
		all = append(all, h)
	}
	return all
}

// dir is a cgroup of the testbed in this hierarchy: sonic-vs/<instance>/<node>.
func (h hierarchy) dir(names ...string) string {
	return filepath.Join(append([]string{h.Mount, cgroupTop}, names...)...)
}

// makeCgroups makes the cgroup of a node in every hierarchy.
func makeCgroups(all []hierarchy, instance, node string) error {
	pure := len(all) == 1 && all[0].v2()
	for _, h := range all {
		parent := h.Mount
		for _, dir := range []string{h.dir(), h.dir(instance), h.dir(instance, node)} {
			if pure { // only v2 alone has controllers to hand down
				if err := delegate(parent); err != nil {
					return err
				}
			}
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if slices.Contains(h.Controllers, "cpuset") {
				if err := inheritCpuset(parent, dir); err != nil {
					return err
				}
			}
			parent = dir
		}
	}
	return nil
}

// inheritCpuset: on v1 a new cpuset is empty and takes no process.
func inheritCpuset(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		v, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), v, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// delegate gives the children of a v2 cgroup all controllers it has.
func delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(have)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("hand controller %s down from %s: %w", c, dir, err)
		}
	}
	return nil
}

// sweepCgroups ends every process in the cgroups below dirs, frozen ones too, and removes the cgroups.
//
// A frozen v1 cgroup keeps its dying processes until it thaws, and with them the PID namespace of the whole node; so
// the kill comes first, then the thaw, which nobody survives to notice. Repeated until empty: a fork may have won.
func sweepCgroups(ctx context.Context, dirs []string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var below []string // parents before children
		for _, dir := range dirs {
			below = append(below, cgroupsBelow(dir)...)
		}
		for _, dir := range below {
			for _, pid := range pidsIn(dir) {
				if pid != os.Getpid() {
					unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
		for _, dir := range below {
			thaw(dir)
		}
		var stays error
		for _, dir := range slices.Backward(below) {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && stays == nil {
				stays = fmt.Errorf("remove cgroup %s: %w (processes %v)", dir, err, pidsIn(dir))
			}
		}
		if stays == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return stays
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func cgroupsBelow(dir string) []string {
	var all []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return nil // a cgroup that goes while we walk is what we want
	})
	return all
}

func thaw(dir string) {
	for file, word := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
		if f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0); err == nil { // only one of the two exists
			f.WriteString(word)
			f.Close()
		}
	}
}

// pidsIn lists the processes of one cgroup as this PID namespace knows them.
func pidsIn(dir string) []int {
	f, err := os.Open(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var pids []int
	for s := bufio.NewScanner(f); s.Scan(); {
		if pid, err := strconv.Atoi(s.Text()); err == nil && pid > 1 { // 0: not of this PID namespace
			pids = append(pids, pid)
		}
	}
	return pids
}

// findInit is the PID of the node's PID 1 as seen here, 0 when the node is dead. Looked up anew each time: a PID kept
// in a file could have become another process.
func findInit(all []hierarchy, instance, node string) int {
	for _, h := range all {
		if !h.v2() && !slices.Contains(h.Controllers, "freezer") {
			continue // one v1 hierarchy is enough
		}
		dir := h.dir(instance, node)
		for _, pid := range slices.Concat(pidsIn(dir), pidsIn(filepath.Join(dir, initCgroup))) {
			if isNodeInit(pid) {
				return pid
			}
		}
	}
	return 0
}

// isNodeInit: PID 1 in the namespace right below ours; PID 1 of a container in the node is one deeper.
func isNodeInit(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(ids)
			return len(f) == 2 && f[1] == "1"
		}
		if strings.HasPrefix(line, "State:\tZ") {
			return false
		}
	}
	return false
}
