package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ghostLimit is the size up to which CRIU carries a file that is open and has no name any more; its own default.
const ghostLimit = 1 << 20

// carried are the kinds of anonymous files that CRIU knows.
var carried = []string{"[eventfd]", "[eventpoll]", "[signalfd]", "[timerfd]", "inotify", "[fanotify]", "[pidfd]"}

// dockers are the files that Docker makes for a container, or for the one whose network it shares.
var dockers = regexp.MustCompile(`/containers/[0-9a-f]{64}/(resolv\.conf|hostname|hosts)$`)

// mounts: what a container has of the host's files does not travel, unless it is one of the replica's volumes or one
// of the three files that Docker makes for it.
func (e *Examined) mounts(proc string, s Subject, pid int) {
	inside, err := readMounts(proc, strconv.Itoa(pid))
	if err != nil {
		e.lack("mounts", "%v", err)
		return
	}
	host, err := readMounts(proc, "self")
	if err != nil {
		e.lack("mounts", "%v", err)
		return
	}
	e.judgeMounts(s, inside, host)
}

func (e *Examined) judgeMounts(s Subject, inside, host []mounted) {
	var problems []string
	readonly, tmp := false, false
	for _, m := range inside {
		writable := slices.Contains(strings.Split(m.options, ","), "rw")
		switch {
		case m.point == "/":
			readonly = !writable
		case m.point == "/tmp":
			tmp = writable
		}
		if m.root == "/" && m.point != "/" || m.point == "/" {
			if m.kind == "fuse" || strings.HasPrefix(m.kind, "fuse.") || m.kind == "nfs" || m.kind == "nfs4" {
				problems = append(problems, fmt.Sprintf("%s is %s, which CRIU does not carry", m.point, m.kind))
			}
			continue
		}
		problems = append(problems, bindProblem(m, s, host)...)
	}
	if readonly && !tmp {
		problems = append(problems, "the root is read-only and /tmp is not writable: a restore needs a folder; mount one on /tmp")
	}
	e.judge("mounts", problems, "%d, none of files that would stay behind", len(inside))
}

// bindProblem says what is wrong with a mount of a part of a file system.
func bindProblem(m mounted, s Subject, host []mounted) []string {
	switch m.kind {
	case "proc", "sysfs", "cgroup", "cgroup2", "tmpfs", "devtmpfs", "devpts", "mqueue":
		return nil // the runtime's own: masked paths, /dev/console
	}
	source := sourceOf(m, host)
	switch {
	case s.Volumes != "" && strings.HasPrefix(source, s.Volumes+"/"):
		return nil
	case dockers.MatchString(source):
		return nil
	case strings.Contains(m.root, "/volumes/") && strings.HasSuffix(m.root, "/_data"):
		return []string{fmt.Sprintf("%s is a volume of the image's own (VOLUME in its Dockerfile), and what is in it would be lost; "+
			"name it under volumes in the service's spec", m.point)}
	}
	if source == "" {
		source = m.root
	}
	return []string{fmt.Sprintf("%s is %s of this node, which does not move; make it a volume of the service", m.point, source)}
}

// files looks at everything the processes have open.
func (e *Examined) files(proc string, all []process) {
	var files, sockets, devices, locks []string
	open, connected := 0, 0
	pids := map[int]bool{}
	for _, p := range all {
		pids[p.pid] = true
	}
	for _, p := range all {
		mounts, err := readMounts(proc, strconv.Itoa(p.pid))
		if err != nil {
			continue // it ended a moment ago
		}
		folder := filepath.Join(proc, strconv.Itoa(p.pid), "fd")
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			fd, err := strconv.Atoi(entry.Name())
			if err != nil {
				continue
			}
			target, err := os.Readlink(filepath.Join(folder, entry.Name()))
			if err != nil {
				continue // closed a moment ago
			}
			open++
			who := fmt.Sprintf("fd %d of pid %d (%s)", fd, p.pid, p.name)
			note := func(list *[]string, problem string) {
				if problem != "" {
					*list = append(*list, who+": "+problem)
				}
			}
			if strings.HasPrefix(target, "socket:") {
				connected++
				note(&sockets, socketProblem(p.pid, fd, pids))
				continue
			}
			if kind, ok := strings.CutPrefix(target, "anon_inode:"); ok {
				if !slices.Contains(carried, kind) {
					note(&files, "an open "+kind+", which CRIU does not carry")
				}
				continue
			}
			if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "/memfd:") {
				continue // pipes, namespaces
			}
			info, _ := os.ReadFile(filepath.Join(proc, strconv.Itoa(p.pid), "fdinfo", entry.Name()))
			note(&locks, lockProblem(target, string(info)))
			var st unix.Stat_t
			if unix.Stat(filepath.Join(folder, entry.Name()), &st) != nil {
				continue
			}
			if problem := deviceProblem(target, st); problem != "" {
				note(&devices, problem)
				continue
			}
			note(&files, fileProblem(target, string(info), st, mounts))
		}
	}
	e.judge("files", files, "%d open, all of the container's own", open)
	e.judge("devices", devices, "none that a switch would have to have")
	e.judge("locks", locks, "no file is locked")
	e.judge("sockets", sockets, "%d, all of kinds that CRIU carries", connected)
}

// fileProblem: CRIU finds an open file by its mount, which must be the container's.
func fileProblem(target, info string, st unix.Stat_t, mounts []mounted) string {
	id, err := strconv.Atoi(field([]byte(info), "mnt_id:"))
	if err == nil && !slices.ContainsFunc(mounts, func(m mounted) bool { return m.id == id }) {
		return target + " is outside the container; start it with a pipe, or none"
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 0 && st.Size > ghostLimit {
		return fmt.Sprintf("%s has %d bytes and no name any more: CRIU carries up to %d of such a file; close it", target, st.Size, ghostLimit)
	}
	return ""
}

// lockProblem: CRIU refuses processes that hold locks unless it is told to carry them, which needs the same file, not
// an equal one, at the other end.
func lockProblem(target, info string) string {
	for line := range strings.Lines(info) {
		if strings.HasPrefix(line, "lock:") {
			return target + " is locked by it, and a lock does not travel; release it, or move the service warm"
		}
	}
	return ""
}

// deviceProblem names a device that is more than the kernel's own few.
func deviceProblem(target string, st unix.Stat_t) string {
	major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return target + " is a disk, which stays behind"
	case unix.S_IFCHR:
		switch {
		case major == 1 && slices.Contains([]uint32{3, 5, 7, 8, 9}, minor): // null, zero, full, random, urandom
		case major == 5, major >= 136 && major <= 143: // tty, console, ptmx; pts
		case major == 10 && minor == 200: // tun
		default:
			return fmt.Sprintf("%s is a device (%d:%d) that CRIU does not carry", target, major, minor)
		}
	}
	return ""
}
