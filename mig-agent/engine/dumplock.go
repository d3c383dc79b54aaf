package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// The dump lock of an operation is held by the runc that dumps, by its CRIU, and by the processes CRIU forks: they all
// inherit the file. It is free when the last of them is gone.
//
//	runc ── criu ── criu ...     a dump goes on
//	runc    criu (parent 1)      CRIU was killed: what it had forked waits for it for ever, and runc for that
//
// Of the second kind nothing more is to come, so it is ended. A page server (lazy) is left alone: it may well be an
// orphan, and EndPages ends it.

const (
	lookEvery   = 300 * time.Millisecond // a look reads /proc: a dump of usual length is spared it
	orphanGrace = 500 * time.Millisecond // from a parent's death to what it had forked being ended
	dumpLockDue = 20 * time.Millisecond  // between two tries to get the lock
)

// lockDump gets the lock, and ends meanwhile the orphans of a CRIU that was killed and, for one who takes the dump back, a
// page server, which may be up only now and would wait for ever.
func (h Host) lockDump(op string, takeBack bool) (*os.File, error) {
	f, err := os.OpenFile(h.dumpLock(op), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("dump lock: %w", err)
	}
	orphans := h.orphans(op)
	for looked := time.Now(); ; time.Sleep(dumpLockDue) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("dump lock: %w", err)
		}
		if time.Since(looked) > lookEvery {
			looked = time.Now()
			orphans.look()
			if takeBack {
				if err := h.EndPages(op); err != nil {
					f.Close()
					return nil, err
				}
			}
		}
	}
}

func (h Host) dumpLock(op string) string { return filepath.Join(h.workFolder(op), "dump.lock") }

// orphans watches for what a killed CRIU left behind.
type orphans struct {
	lock  string
	lazy  bool
	since time.Time // orphans have been there; zero: none
}

func (h Host) orphans(op string) *orphans {
	return &orphans{lock: h.dumpLock(op), lazy: exists(h.portFile(op))}
}

// look ends the orphans that have been there for a while.
func (o *orphans) look() {
	if o.lazy {
		return
	}
	pids := orphansOf(holders(o.lock))
	switch {
	case len(pids) == 0:
		o.since = time.Time{}
	case o.since.IsZero():
		o.since = time.Now()
	case time.Since(o.since) > orphanGrace:
		slog.Warn("CRIU was killed as it dumped; ending what it left", "pids", pids)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone meanwhile: as well
		}
	}
}

// orphansOf gives those whose parent is not one of the holders, and all below them. The first of a dump, runc, is none,
// and this process, which waits for the lock, is none either.
func orphansOf(all map[int]procStat) (pids []int) {
	for pid, p := range all {
		for p.name != "runc" {
			parent, ok := all[p.parent]
			if !ok {
				pids = append(pids, pid)
				break
			}
			p = parent
		}
	}
	return pids
}

// holders finds the processes, except this one, that have a file open.
func holders(file string) map[int]procStat {
	all := map[int]procStat{}
	want, err := os.Stat(file)
	if err != nil {
		return all
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !hasOpen(dir, want) {
			continue
		}
		if p, ok := readStat(pid); ok {
			all[pid] = p
		}
	}
	return all
}

func hasOpen(dir string, want os.FileInfo) bool {
	files, _ := filepath.Glob(dir + "/fd/*")
	for _, f := range files {
		if got, err := os.Stat(f); err == nil && os.SameFile(got, want) {
			return true
		}
	}
	return false
}
