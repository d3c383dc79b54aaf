package scenario

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sonic-netservices/mig-agent/journal"
)

// watcher sees what a journal writes as it is written.
type watcher struct {
	pattern string // of the files of one role
	fd      int
	old     map[string]bool // files that were there before
}

// watchJournal begins to watch the operations in a journal's folder in which the node has the role.
func watchJournal(dir string, role journal.Role) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch journal: %w", err)
	}
	w := &watcher{pattern: filepath.Join(dir, "*."+string(role)+".jsonl"), fd: fd, old: map[string]bool{}}
	if err := w.add(dir); err != nil {
		w.close()
		return nil, err
	}
	names, err := filepath.Glob(w.pattern)
	for _, name := range names {
		w.old[name] = true
	}
	return w, err
}

func (w *watcher) close() { unix.Close(w.fd) }

// add wakes with the writes to another file or folder as well.
func (w *watcher) add(path string) error {
	if _, err := unix.InotifyAddWatch(w.fd, path, unix.IN_MODIFY|unix.IN_CREATE); err != nil {
		return fmt.Errorf("watch journal %s: %w", path, err)
	}
	return nil
}

// next returns with the next write, and now and then to see whether ctx has ended.
func (w *watcher) next(ctx context.Context) error {
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, 50); err != nil && err != unix.EINTR {
		return fmt.Errorf("watch journal: %w", err)
	}
	unix.Read(w.fd, make([]byte, 64<<10)) // what it says does not matter: the files are read
	return ctx.Err()
}

// await returns when a new operation has written the step, with its name.
func (w *watcher) await(ctx context.Context, step journal.Step) (op string, err error) {
	mark := fmt.Appendf(nil, `"step":%q`, step)
	for {
		names, err := filepath.Glob(w.pattern)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if w.old[name] {
				continue
			}
			text, err := os.ReadFile(name)
			if err == nil && bytes.Contains(text, mark) {
				op, _, _ := strings.Cut(filepath.Base(name), ".")
				return op, nil
			}
		}
		if err := w.next(ctx); err != nil {
			return "", err
		}
	}
}
