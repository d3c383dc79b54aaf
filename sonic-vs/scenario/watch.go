package scenario

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/mig-agent/journal"
)

// watcher sees what a journal writes as it is written.
type watcher struct {
	dir string
	fd  int
	old map[string]bool // operations that were there before
}

// watchJournal begins to watch a journal's folder.
func watchJournal(dir string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch journal: %w", err)
	}
	w := &watcher{dir: dir, fd: fd, old: map[string]bool{}}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE); err != nil {
		w.close()
		return nil, fmt.Errorf("watch journal %s: %w", dir, err)
	}
	names, err := sourceFiles(dir)
	for _, name := range names {
		w.old[name] = true
	}
	return w, err
}

func (w *watcher) close() { unix.Close(w.fd) }

// await returns when a new operation's source has written the step, with the operation and the time.
func (w *watcher) await(ctx context.Context, step journal.Step) (op string, at time.Time, err error) {
	mark := fmt.Appendf(nil, `"step":%q`, step)
	events := make([]byte, 64<<10)
	for {
		names, err := sourceFiles(w.dir)
		if err != nil {
			return "", at, err
		}
		for _, name := range names {
			if w.old[name] {
				continue
			}
			text, err := os.ReadFile(name)
			if err == nil && bytes.Contains(text, mark) {
				return strings.TrimSuffix(filepath.Base(name), sourceSuffix), time.Now(), nil
			}
		}
		// Wakes with the next write, and now and then to see whether ctx has ended.
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, 50); err != nil && err != unix.EINTR {
			return "", at, fmt.Errorf("watch journal: %w", err)
		}
		unix.Read(w.fd, events) // what they say does not matter: the files are read
		if ctx.Err() != nil {
			return "", at, ctx.Err()
		}
	}
}

const sourceSuffix = "." + string(journal.Source) + ".jsonl"

func sourceFiles(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "*"+sourceSuffix))
}
