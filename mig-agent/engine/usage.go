package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what one container has used, counted since its start.
type Usage struct {
	CPU    time.Duration
	Memory int64 // bytes now, without page cache that can go at once
}

// Usage reads the cgroup of a container; fs.ErrNotExist when it has none.
func (h Host) Usage(id string) (Usage, error) {
	for _, parent := range []string{CgroupParent, "netservices.slice"} {
		for _, name := range []string{id, "docker-" + id + ".scope"} {
			if v1 := filepath.Join(h.Cgroups, "cpuacct", parent, name); exists(v1) {
				return usageV1(v1, filepath.Join(h.Cgroups, "memory", parent, name))
			}
			if v2 := filepath.Join(h.Cgroups, parent, name); exists(filepath.Join(v2, "cpu.stat")) {
				return usageV2(v2)
			}
		}
	}
	return Usage{}, fmt.Errorf("cgroup of container %.12s: %w", id, fs.ErrNotExist)
}

// GroupMemory is what all services together use of the memory their budget limits; 0 while there is no such group.
func (h Host) GroupMemory(group string) int64 {
	var used, cache int64
	if v1 := filepath.Join(h.Cgroups, "memory", group); exists(v1) {
		used, _ = readNumber(filepath.Join(v1, "memory.usage_in_bytes"))
		cache, _ = statField(filepath.Join(v1, "memory.stat"), "total_inactive_file")
	} else if v2 := filepath.Join(h.Cgroups, group); exists(v2) {
		used, _ = readNumber(filepath.Join(v2, "memory.current"))
		cache, _ = statField(filepath.Join(v2, "memory.stat"), "inactive_file")
	}
	return max(0, used-cache)
}

func usageV1(cpu, memory string) (Usage, error) {
	ns, err1 := readNumber(filepath.Join(cpu, "cpuacct.usage"))
	used, err2 := readNumber(filepath.Join(memory, "memory.usage_in_bytes"))
	cache, err3 := statField(filepath.Join(memory, "memory.stat"), "total_inactive_file")
	return Usage{CPU: time.Duration(ns), Memory: max(0, used-cache)}, errors.Join(err1, err2, err3)
}

func usageV2(dir string) (Usage, error) {
	usec, err1 := statField(filepath.Join(dir, "cpu.stat"), "usage_usec")
	used, err2 := readNumber(filepath.Join(dir, "memory.current"))
	cache, err3 := statField(filepath.Join(dir, "memory.stat"), "inactive_file")
	return Usage{CPU: time.Duration(usec) * time.Microsecond, Memory: max(0, used-cache)}, errors.Join(err1, err2, err3)
}

// statField is the number behind a word in a file of "WORD NUMBER" lines.
func statField(path, word string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == word {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, word)
}

// NetBytes counts what went through the interfaces of a process's network namespace, both directions, without lo.
func (h Host) NetBytes(pid int) (int64, error) {
	text, err := os.ReadFile(filepath.Join(h.Proc, strconv.Itoa(pid), "net/dev"))
	if err != nil {
		return 0, err
	}
	return netBytes(string(text)), nil
}

func netBytes(dev string) (sum int64) {
	for line := range strings.Lines(dev) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || strings.TrimSpace(name) == "lo" || len(f) < 9 {
			continue
		}
		received, _ := strconv.ParseInt(f[0], 10, 64)
		sent, _ := strconv.ParseInt(f[8], 10, 64)
		sum += received + sent
	}
	return sum
}

// walkLimit bounds the files that are looked at for one size; what has more counts as large as those.
const walkLimit = 200_000

// DiskBytes is the room that the files below a folder take; 0 when it is not there. Files that go meanwhile are nothing.
func DiskBytes(root string) (sum int64) {
	if root == "" {
		return 0
	}
	seen := 0
	_ = filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if seen++; seen > walkLimit {
			return fs.SkipAll
		}
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}
