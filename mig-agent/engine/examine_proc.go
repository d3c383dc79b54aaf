package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// process is one process as /proc shows it.
type process struct {
	pid       int
	parent    int
	inner     int // pid in its own namespace; 1: the first process of the container
	name      string
	uid       int
	tracer    int    // pid of who traces it, 0 = nobody
	caps      uint64 // effective
	anonymous int64  // bytes of memory that no file holds
}

// readProcesses reads those that still are there.
func readProcesses(proc string, pids []int) []process {
	var all []process
	for _, pid := range pids {
		if p, err := readStatus(proc, pid); err == nil {
			all = append(all, p)
		}
	}
	sort.Slice(all, func(a, b int) bool { return all[a].pid < all[b].pid })
	return all
}

// family splits the processes of a container into the first one and what descends from it, which CRIU carries, and guests:
// what `docker exec` has started beside it, which stays and ends. Without a first one all are family.
func family(all []process) (ours, guests []process) {
	parents, first := map[int]int{}, 0
	for _, p := range all {
		parents[p.pid] = p.parent
		if p.inner == 1 {
			first = p.pid
		}
	}
	if first == 0 {
		return all, nil
	}
	for _, p := range all {
		at, ok := p.pid, true
		for at != first && ok {
			at, ok = parents[at]
		}
		if ok {
			ours = append(ours, p)
		} else {
			guests = append(guests, p)
		}
	}
	return ours, guests
}

func readStatus(proc string, pid int) (process, error) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "status"))
	if err != nil {
		return process{}, err
	}
	return parseStatus(pid, string(text)), nil
}

// parseStatus reads /proc/PID/status. A line that is missing leaves its field zero.
func parseStatus(pid int, text string) process {
	p := process{pid: pid}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Name":
			p.name = value
		case "PPid":
			p.parent, _ = strconv.Atoi(value)
		case "NSpid": // from the outermost namespace to its own
			if all := strings.Fields(value); len(all) > 0 {
				p.inner, _ = strconv.Atoi(all[len(all)-1])
			}
		case "Uid": // real, effective, saved, file system
			real, _, _ := strings.Cut(value, "\t")
			p.uid, _ = strconv.Atoi(real)
		case "TracerPid":
			p.tracer, _ = strconv.Atoi(value)
		case "CapEff":
			p.caps, _ = strconv.ParseUint(value, 16, 64)
		case "RssAnon", "RssShmem":
			p.anonymous += kilobytes(value)
		}
	}
	return p
}

// kilobytes reads "123 kB" as bytes; what is no number is 0.
func kilobytes(text string) int64 {
	number, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > 1<<50 {
		return 0
	}
	return n << 10
}

// mounted is one line of /proc/PID/mountinfo.
type mounted struct {
	id      int
	device  string // major:minor
	root    string // of the mount, in its file system
	point   string // where it is mounted
	options string
	kind    string // of the file system
}

func readMounts(proc, pid string) ([]mounted, error) {
	text, err := os.ReadFile(filepath.Join(proc, pid, "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	return parseMounts(string(text)), nil
}

// parseMounts reads the lines it can: ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - KIND SOURCE SUPER.
func parseMounts(text string) (all []mounted) {
	for line := range strings.Lines(text) {
		head, rest, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(head), strings.Fields(rest)
		if !ok || len(f) < 6 || len(kind) == 0 {
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		all = append(all, mounted{id: id, device: f[2], root: unescape(f[3]), point: unescape(f[4]), options: f[5], kind: kind[0]})
	}
	return all
}

// unescape undoes what the kernel writes for space, tab, newline and backslash.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// sourceOf is where on the host the files of a bind mount are; "" when they are on none of the host's mounts.
func sourceOf(m mounted, host []mounted) string {
	best := ""
	for _, h := range host {
		below, ok := strings.CutPrefix(m.root, h.root)
		if h.device != m.device || !ok || below != "" && h.root != "/" && below[0] != '/' {
			continue
		}
		// Of several mounts of one file system, the one that shows the most of it.
		if path := filepath.Join(h.point, below); best == "" || len(path) < len(best) {
			best = path
		}
	}
	return best
}
