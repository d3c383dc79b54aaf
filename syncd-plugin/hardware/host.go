// Package hardware is syncd-plugin: it measures what this switch has and uses, and what its ports are wired to.
//
// It reads the host's cgroups, /proc and file system below one root, SONiC's rows about the ASIC (COUNTERS_DB CRM) and
// the ports (APPL_DB LLDP_ENTRY_TABLE, PORT_TABLE), and writes RESOUR_RESOURCE, RESOUR_FORWARDING and RESOUR_NEIGHBOR.
// It is told by the clock, once a second. SAI knows neither a host's processor nor its disk, so this is a program
// beside syncd and no part of it.
package hardware

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// Host is the switch's host as it is mounted here.
type Host struct {
	Root string // holds sys/fs/cgroup, proc, netservices
}

// Group is the services of this switch together: their cgroup, and their budget, which is what they can have.
type Group struct {
	CPU          time.Duration // consumed since the group was made
	Cores        float64       // budget
	CoresSource  string        // where the budget comes from, for people
	Memory       float64       // bytes, without page cache that can go at once
	MemoryMax    float64       // budget
	MemorySource string
}

// groupNames of the services' cgroup: with Docker's cgroupfs driver and with its systemd driver.
var groupNames = []string{"netservices", "netservices.slice"}

// Group reads the services' cgroup. As long as there is none, nothing is used and the whole host is free.
func (h Host) Group() (Group, error) {
	g := Group{CoresSource: "cores of the switch", MemorySource: "memory of the switch"}
	var err error
	if g.Cores, err = h.cores(); err != nil {
		return Group{}, err
	}
	if g.MemoryMax, err = h.memory(); err != nil {
		return Group{}, err
	}
	v2 := exists(h.path("sys/fs/cgroup/cgroup.controllers"))
	for _, name := range groupNames {
		switch {
		case v2 && exists(h.path("sys/fs/cgroup", name)):
			return g, h.readV2(&g, name)
		case !v2 && (exists(h.path("sys/fs/cgroup/cpu", name)) || exists(h.path("sys/fs/cgroup/cpuacct", name))):
			return g, h.readV1(&g, name)
		}
	}
	return g, nil
}

func (h Host) readV2(g *Group, name string) error {
	file := func(f string) string { return h.path("sys/fs/cgroup", name, f) }
	usec, err := field(file("cpu.stat"), "usage_usec")
	if err != nil {
		return err
	}
	g.CPU = time.Duration(usec) * time.Microsecond
	if text, err := os.ReadFile(file("cpu.max")); err == nil { // absent at the root and without the controller
		quota, period, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		g.limitCores(quota, period, "cpu.max of /"+name)
	}
	if g.Memory, err = workingSet(file("memory.current"), file("memory.stat"), "inactive_file"); err != nil {
		return err
	}
	g.limitMemory(file("memory.max"), "memory.max of /"+name)
	return nil
}

func (h Host) readV1(g *Group, name string) error {
	ns, err := number(h.path("sys/fs/cgroup/cpuacct", name, "cpuacct.usage"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a budget may be there before the first container
		return err
	}
	g.CPU = time.Duration(ns)
	quota, err1 := os.ReadFile(h.path("sys/fs/cgroup/cpu", name, "cpu.cfs_quota_us"))
	period, err2 := os.ReadFile(h.path("sys/fs/cgroup/cpu", name, "cpu.cfs_period_us"))
	if err1 == nil && err2 == nil {
		g.limitCores(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)), "cpu.cfs_quota_us of /"+name)
	}
	dir := h.path("sys/fs/cgroup/memory", name)
	if g.Memory, err = workingSet(filepath.Join(dir, "memory.usage_in_bytes"), filepath.Join(dir, "memory.stat"), "total_inactive_file"); err != nil {
		return err
	}
	g.limitMemory(filepath.Join(dir, "memory.limit_in_bytes"), "memory.limit_in_bytes of /"+name)
	return nil
}

// limitCores takes quota / period as the budget where that is a limit: "max" and -1 are none.
func (g *Group) limitCores(quota, period, source string) {
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 == nil && err2 == nil && q > 0 && p > 0 && q/p < g.Cores {
		g.Cores, g.CoresSource = q/p, source
	}
}

func (g *Group) limitMemory(file, source string) {
	if n, err := number(file); err == nil && n > 0 && float64(n) < g.MemoryMax {
		g.MemoryMax, g.MemorySource = float64(n), source
	}
}

// workingSet is memory in use without the page cache that the kernel would drop first.
func workingSet(usage, stat, inactive string) (float64, error) {
	used, err := number(usage)
	if errors.Is(err, fs.ErrNotExist) { // the controller is not handed down until the first limit
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	cache, err := field(stat, inactive)
	if err != nil {
		return 0, err
	}
	return float64(max(0, used-cache)), nil
}

// cores of the host.
func (h Host) cores() (float64, error) {
	text, err := os.ReadFile(h.path("proc/stat"))
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "cpu"); ok && rest[0] >= '0' && rest[0] <= '9' {
			n++
		}
	}
	if n == 0 {
		return 0, errors.New("proc/stat names no processor")
	}
	return float64(n), nil
}

// memory of the host, in bytes.
func (h Host) memory() (float64, error) {
	kb, err := field(h.path("proc/meminfo"), "MemTotal:")
	return float64(kb) * 1024, err
}

// Disk is the file system on which volumes lie, in bytes.
type Disk struct {
	Capacity, Used float64
}

// Disk asks the file system. What it keeps for root is no capacity.
func (h Host) Disk() (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(h.path("netservices"), &st); err != nil {
		return Disk{}, fmt.Errorf("statfs %s: %w", h.path("netservices"), err)
	}
	used := float64(st.Blocks-st.Bfree) * float64(st.Bsize)
	return Disk{Capacity: used + float64(st.Bavail)*float64(st.Bsize), Used: used}, nil
}

// share of the disk that services may have together: what they use of a configured capacity. Of the capacity counts what
// the file system still has room for, whoever has filled it.
func share(d Disk, capacity float64, usage map[string]map[string]string) netmap.Resource {
	r := netmap.Resource{Kind: netmap.Storage, Capacity: capacity, Unit: "bytes", Source: "NETSERVICES|global services_storage"}
	for key, row := range usage {
		if u, err := resourdb.ParseUsage(key, row); err == nil { // a bad row is its writer's fault, and told by who decides
			r.Used += u.Disk
		}
	}
	if room := r.Used + max(0, d.Capacity-d.Used); room < capacity {
		r.Capacity, r.Source = room, "room in the file system of "+netmap.HostDir
	}
	return r
}

func (h Host) path(parts ...string) string {
	return filepath.Join(append([]string{h.Root}, parts...)...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// number is the one number in a file.
func number(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// field is the number behind a word at the beginning of a line.
func field(path, word string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) < 2 || words[0] != word {
			continue
		}
		n, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s: %w", path, word, err)
		}
		return n, nil
	}
	return 0, fmt.Errorf("%s: no %s", path, word)
}
