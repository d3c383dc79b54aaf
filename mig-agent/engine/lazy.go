package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Memory of a lazy move follows after its commit:
//
//	frozen processes -- CRIU's page server -- 127.0.0.1 -- mutual TLS (package pages) -- 127.0.0.1 -- daemon -- processes
//
// The daemon answers page faults of the restored processes through a userfaultfd of each, and fetches the rest meanwhile.

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// choosePort finds a free port for the page server of an operation, and notes it: whoever ends the operation must be
// able to end the server.
func (h Host) choosePort(op string) (int, error) {
	ln, err := net.Listen("tcp", loopback(0))
	if err != nil {
		return 0, fmt.Errorf("page server: %w", err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	if err := os.WriteFile(h.portFile(op), []byte(strconv.Itoa(port)), 0o600); err != nil {
		return 0, fmt.Errorf("page server: %w", err)
	}
	return port, nil
}

func (h Host) portFile(op string) string { return filepath.Join(h.OpFolder(op), "pages.port") }

// EndPages ends a page server to which nobody is connected: it serves one connection and goes with it. Where somebody is
// connected, or no server is, nothing happens.
func (h Host) EndPages(op string) error {
	port, err := readPID(h.portFile(op))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end page server: %w", err)
	}
	if conn, err := net.DialTimeout("tcp", loopback(port), time.Second); err == nil {
		conn.Close()
	}
	return nil
}

// LazyDaemon is the process that fetches the memory of an operation's image from a page server at a port of loopback.
// It writes a byte to status when it waits for the processes to be restored.
func (h Host) LazyDaemon(op string, port int, status *os.File) (*exec.Cmd, error) {
	if err := h.makeWork(op); err != nil {
		return nil, fmt.Errorf("lazy-pages daemon: %w", err)
	}
	cmd := exec.Command("criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", strconv.Itoa(port),
		"--images-dir", h.ImageFolder(op), "--work-dir", h.workFolder(op), "--status-fd", strconv.Itoa(childFD),
		"--log-file", lazyLog)
	cmd.ExtraFiles = []*os.File{status}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

const lazyLog = "lazy-pages.log"

// LazyProblem is what the daemon said last of what went wrong, "" when nothing.
func (h Host) LazyProblem(op string) string {
	text, err := os.ReadFile(filepath.Join(h.workFolder(op), lazyLog))
	if err != nil {
		return ""
	}
	problem := ""
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "Error") {
			problem = strings.TrimSpace(line)
		}
	}
	return problem
}

// Userfaults are duplicates of the userfaultfds of a daemon. Without them the kernel would give empty pages for those
// that have not come when the daemon dies; while they are held, whoever touches such a page waits.
type Userfaults struct{ held map[int]int } // number in the daemon -> ours

// Hold takes those that the process has now, and closes those that it has closed. Of one that is ending nothing is closed:
// it has none for another reason.
func (u *Userfaults) Hold(proc string, pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("hold page faults: %w", err)
	}
	defer unix.Close(pidfd)
	dir := filepath.Join(proc, strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("hold page faults: %w", err)
	}
	if u.held == nil {
		u.held = map[int]int{}
	}
	there := map[int]bool{}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if what, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || what != "anon_inode:[userfaultfd]" {
			continue
		}
		there[n] = true
		if _, ours := u.held[n]; ours {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			return fmt.Errorf("hold page faults: %w", err)
		}
		u.held[n] = fd
	}
	if ending, err := exiting(proc, pid); err != nil || ending { // looked at last: it ends before it loses its files
		return errors.Join(errors.New("hold page faults: the daemon is ending"), err)
	}
	for n, fd := range u.held {
		if !there[n] {
			unix.Close(fd)
			delete(u.held, n)
		}
	}
	return nil
}

// exiting says whether a process has begun to end.
func exiting(proc string, pid int) (bool, error) {
	const flag = 0x4 // PF_EXITING
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return false, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the state on
	if len(fields) < 7 {
		return false, fmt.Errorf("stat of pid %d: %q", pid, text)
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return flags&flag != 0, err
}

// Release closes all.
func (u *Userfaults) Release() {
	for _, fd := range u.held {
		unix.Close(fd)
	}
	u.held = nil
}

// Held counts them.
func (u *Userfaults) Held() int { return len(u.held) }

// Paged is how the memory of a lazy move ended at the target: a file of the operation.
type Paged struct {
	Error string `json:"error,omitempty"` // why it did not come
}

func (h Host) pagedFile(op string) string { return filepath.Join(h.OpFolder(op), "paged") }

// WritePaged says how it ended.
func (h Host) WritePaged(op string, p Paged) error { return writeJSON(h.pagedFile(op), p) }

// ReadPaged says whether it has ended, and how.
func (h Host) ReadPaged(op string) (p Paged, ended bool, err error) {
	switch err = readJSON(h.pagedFile(op), &p); {
	case errors.Is(err, fs.ErrNotExist):
		return p, false, nil
	case err != nil:
		return p, false, fmt.Errorf("how memory ended: %w", err)
	}
	return p, true, nil
}

// LockPages says that somebody sees to the memory of an operation, until the file is closed. It fails with EWOULDBLOCK
// where somebody does already.
func (h Host) LockPages(op string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(h.OpFolder(op), "pages.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock pages: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock pages: %w", err)
	}
	return f, nil
}
