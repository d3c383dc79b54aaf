package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CRIU makes the processes it restores its siblings: runc is the parent of both.
//
//	mig-runc ── runc ── criu               a restore goes on
//	                 └─ criu, criu ...     what will be the container's processes
//
// If CRIU is killed, those wait for it for ever, and runc for them, as they hold its connection. They are half a
// container, so they are ended, and runc fails at once.

const killedDue = 50 * time.Millisecond // between two looks at runc's children

// endKilled ends what a CRIU that was killed left below runc, until ctx ends.
func endKilled(ctx context.Context, runc int) {
	tick := time.NewTicker(killedDue)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		below := children(runc)
		if !criuKilled(below) {
			continue
		}
		slog.Warn("CRIU was killed as it restored; ending what it left", "below", runc)
		for pid := range below {
			_ = syscall.Kill(pid, syscall.SIGKILL) // a zombie as well: it takes no notice
		}
	}
}

// criuKilled is true if one of the processes is a CRIU that a signal ended and nobody has waited for yet.
func criuKilled(all map[int]procStat) bool {
	for _, p := range all {
		if p.name == "criu" && p.state == "Z" && syscall.WaitStatus(p.exit).Signaled() {
			return true
		}
	}
	return false
}

// children are those of all threads of a process.
func children(pid int) map[int]procStat {
	all := map[int]procStat{}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread is gone
		}
		for _, f := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				continue
			}
			if p, ok := readStat(child); ok {
				all[child] = p
			}
		}
	}
	return all
}

// procStat is what /proc/PID/stat says of one.
type procStat struct {
	parent int
	name   string
	state  string // one letter; Z: it has ended, and nobody has waited for it
	exit   int    // as wait(2) gives it
}

// readStat reads "PID (NAME) STATE PARENT ... EXIT", where the name may hold anything (proc_pid_stat(5)).
func readStat(pid int) (p procStat, ok bool) {
	const parent, exit = 1, 49 // places after the name
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	_, rest, _ := strings.Cut(string(text), "(")
	end := strings.LastIndex(rest, ")")
	if end < 0 {
		return p, false
	}
	fields := strings.Fields(rest[end+1:])
	if len(fields) <= exit {
		return p, false
	}
	p.name, p.state = rest[:end], fields[0]
	if p.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return p, false
	}
	p.exit, err = strconv.Atoi(fields[exit])
	return p, err == nil
}
