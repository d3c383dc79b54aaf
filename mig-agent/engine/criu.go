package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is the switch's own side of the engine: CRIU, runc and cgroups, as seen from pid 1's namespaces.
type Host struct {
	Dir     string // the agent's folder: work/, bin/
	Proc    string // /proc
	Cgroups string // /sys/fs/cgroup
}

// runcRoot is where dockerd keeps runc's state, for every runtime entry (seen on 26.1 and 28.5).
const runcRoot = "/run/docker/runtime-runc/moby"

// criuConfig is read by CRIU itself through the container's annotation org.criu.config; runc has no flags for these.
//   - skip-in-flight: a connection still in the accept queue is left out; its client's SYN is answered by the target.
//   - network-lock skip: the packets are held on the target already, and CRIU's own lock would drop them.
const criuConfig = "tcp-established\nskip-in-flight\nnetwork-lock skip\n"

// CRIUConfigPath is the file that criuConfig is written to.
func CRIUConfigPath(dir string) string { return filepath.Join(dir, "criu.conf") }

// OpFolder holds the files of one operation, on tmpfs.
func (h Host) OpFolder(op string) string { return filepath.Join(h.Dir, "work", "op", op) }

// ImageFolder holds the CRIU image of one operation, at the source and at the target.
func (h Host) ImageFolder(op string) string { return filepath.Join(h.OpFolder(op), "image") }

// restoreFolder is the image as a restore that waits at its gate sees it: it fills when the image is complete.
func (h Host) restoreFolder(op string) string { return filepath.Join(h.OpFolder(op), "restore") }

// MemoryTable says what the target of an operation has of the container's memory.
func (h Host) MemoryTable(op string) string { return filepath.Join(h.OpFolder(op), "memory.table") }

// MemoryFolder holds memory at the target that was sent ahead of its image; it becomes part of that.
func (h Host) MemoryFolder(op string) string { return filepath.Join(h.OpFolder(op), "memory") }

// Processes of a container, as this host counts them.
func (h Host) Processes(id string) ([]int, error) {
	z, err := freezerByName(h.Cgroups, id)
	if err != nil {
		return nil, err
	}
	return z.pids()
}

// TakeBack lets the container go on here, after waiting for a dump that may still run; a page server of one that would
// wait for ever has been ended before (EndPages). A container that is gone is an
// error only for the caller, who knows whether it should be there.
func (h Host) TakeBack(op, id string) error {
	if exists(h.workFolder(op)) {
		leaveGate(h.dumpGate(op))
		lock, err := h.lockDump(op, true)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	z, err := freezerByName(h.Cgroups, id)
	if err != nil {
		return fmt.Errorf("take back: %w", err)
	}
	return z.thaw()
}

// Kill ends a container's processes without letting a frozen one run again.
func (h Host) Kill(ctx context.Context, id string) error {
	z, err := freezerByName(h.Cgroups, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return z.kill(ctx)
}

// KillQuietly is Kill for frozen processes whose copy goes on with their connections in the same network namespace: the
// kernel would keep them, to say goodbye to their peers, and the copy could not have them.
func (h Host) KillQuietly(ctx context.Context, id string) error {
	pids, err := h.Processes(id)
	if err != nil {
		return fmt.Errorf("kill quietly: %w", err)
	}
	for _, pid := range pids {
		sockets, err := h.repair(pid)
		for _, fd := range sockets { // ours are the last that close
			defer unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("kill quietly: pid %d: %w", pid, err)
		}
	}
	return h.Kill(ctx, id)
}

// repair puts the TCP connections of a process into repair mode, in which closing one says nothing, and gives copies of
// their descriptors, also after an error.
func (h Host) repair(pid int) (sockets []int, err error) {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(handle)
	dir := filepath.Join(h.Proc, strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if what, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || !strings.HasPrefix(what, "socket:") {
			continue
		}
		fd, err := unix.PidfdGetfd(handle, n, 0)
		if err != nil {
			return sockets, os.NewSyscallError("pidfd_getfd", err)
		}
		if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) != nil { // no TCP, or a listener
			unix.Close(fd)
			continue
		}
		sockets = append(sockets, fd)
	}
	return sockets, nil
}

// Arm makes the container's next start wait for a word. It is called by whoever then calls docker start.
func Arm(dir, id string) error {
	armed := filepath.Join(dir, "work", armedDir, id)
	if err := os.RemoveAll(armed); err != nil {
		return fmt.Errorf("arm: %w", err)
	}
	os.Remove(armed + resultSuffix)
	if err := os.MkdirAll(armed, 0o700); err != nil {
		return fmt.Errorf("arm: %w", err)
	}
	return nil
}

// StartFresh lets an armed start go on as an ordinary one: of a container that shall begin with data that came after it was armed.
func StartFresh(dir, id string) error {
	if err := writeJSON(filepath.Join(dir, "work", armedDir, id, wordFile), word{Fresh: true}); err != nil {
		return fmt.Errorf("start fresh: not armed: %w", err)
	}
	return nil
}

// Disarm makes an armed start fail, also one whose restore waits at a gate that nobody holds any more. Nothing armed is no
// error.
func Disarm(dir, id, reason string) error {
	armed := filepath.Join(dir, "work", armedDir, id)
	if !exists(armed) {
		return nil
	}
	var w word
	if readJSON(filepath.Join(armed, wordFile), &w) == nil && w.Image != "" {
		leaveGate(filepath.Join(w.Image, restoreGate))
	}
	if err := writeJSON(filepath.Join(armed, wordFile), word{Abort: reason}); err != nil {
		return fmt.Errorf("disarm: %w", err)
	}
	return nil
}

// Unarm makes the next start an ordinary one, whatever the armed one has come to.
func Unarm(dir, id string) error {
	Disarmed(dir, id)
	if err := os.RemoveAll(filepath.Join(dir, "work", armedDir, id)); err != nil {
		return fmt.Errorf("unarm: %w", err)
	}
	return nil
}

// Disarmed removes what an armed start left behind once its container is restored or given up.
func Disarmed(dir, id string) {
	os.Remove(filepath.Join(dir, "work", armedDir, id+resultSuffix))
}

// Forget removes the files of an operation, and what it had set. It waits for a dump that may still be on its way: without
// the files it would not find its gate.
func (h Host) Forget(op string) error {
	if op == "" || filepath.Base(op) != op || op == ".." || op == "." {
		return fmt.Errorf("forget: op %q", op)
	}
	if err := h.sweep(op); err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	leaveGate(h.dumpGate(op))
	leaveGate(h.restoreGate(op))
	err := errors.Join(h.EndPages(op), h.lowerPipes(op))
	if exists(h.workFolder(op)) {
		lock, lockErr := h.lockDump(op, true)
		if lockErr != nil {
			return errors.Join(err, fmt.Errorf("forget: %w", lockErr))
		}
		defer lock.Close()
	}
	return errors.Join(err, os.RemoveAll(h.OpFolder(op)))
}

// rootOfRestore is where CRIU builds the mounts of what it restores.
const rootOfRestore = "/tmp/.criu.mntns."

// sweep takes away what a CRIU that was killed has left mounted: its view of the cgroups in the operation's folder and,
// unless another operation's CRIU may be at work there, the roots of restores.
func (h Host) sweep(op string) error {
	text, err := os.ReadFile(filepath.Join(h.Proc, "self/mountinfo"))
	if err != nil {
		return err
	}
	others, err := os.ReadDir(filepath.Dir(h.OpFolder(op)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	alone := !slices.ContainsFunc(others, func(e fs.DirEntry) bool { return e.Name() != op })
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := fields[4]
		restored := alone && strings.HasPrefix(point, rootOfRestore)
		if !restored && !strings.HasPrefix(point, h.OpFolder(op)+"/") {
			continue
		}
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
		if restored {
			os.Remove(point)
		}
	}
	return nil
}

func (h Host) makeWork(op string) error { return os.MkdirAll(h.workFolder(op), 0o700) }

func (h Host) workFolder(op string) string { return filepath.Join(h.OpFolder(op), "criu") }
