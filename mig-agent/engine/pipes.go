package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// CRIU keeps the pages of a lazy dump in pipes of up to pipeBytes. A pipe larger than fs.pipe-max-size needs
// CAP_SYS_RESOURCE; whoever lacks it gets "page-pipe: tee: Operation not permitted" in the middle of a move that is past
// its commit. So the limit is raised for a lazy dump on such a host, and put back when no operation needs it any more.
// fs.pipe-user-pages-soft does not bind a process with CAP_SYS_ADMIN, without which there is no CRIU.
//
//	work/pipes.before     what the limit was, while it is raised
//	work/op/<op>/pipes    the operation needs it
const (
	pipeBytes   = 4 << 20
	pipesBefore = "pipes.before"
	pipesMark   = "pipes"
)

func (h Host) pipeLimit() string { return filepath.Join(h.Proc, "sys/fs/pipe-max-size") }

// raisePipes makes pipes of pipeBytes possible for an operation, where they are not.
func (h Host) raisePipes(op string) error {
	if canGrowPipes() {
		return nil
	}
	return h.withPipes(func(before string) error {
		if err := os.WriteFile(filepath.Join(h.OpFolder(op), pipesMark), nil, 0o600); err != nil {
			return err
		}
		if !exists(before) {
			text, err := os.ReadFile(h.pipeLimit())
			if err == nil {
				err = replaceFile(before, text, 0o600)
			}
			if err != nil {
				return err
			}
		}
		return os.WriteFile(h.pipeLimit(), []byte(strconv.Itoa(pipeBytes)), 0)
	})
}

// lowerPipes ends an operation's need. The last one puts the limit back, also one that a predecessor of this process
// raised.
func (h Host) lowerPipes(op string) error {
	mark := filepath.Join(h.OpFolder(op), pipesMark)
	if !exists(mark) {
		return nil
	}
	return h.withPipes(func(before string) error {
		if err := os.Remove(mark); err != nil {
			return err
		}
		others, err := filepath.Glob(filepath.Join(h.OpFolder("*"), pipesMark))
		if err != nil || len(others) > 0 {
			return err
		}
		text, err := os.ReadFile(before)
		if errors.Is(err, fs.ErrNotExist) { // it died before it raised anything
			return nil
		}
		if err == nil {
			err = os.WriteFile(h.pipeLimit(), bytes.TrimSpace(text), 0)
		}
		if err != nil {
			return err
		}
		return os.Remove(before)
	})
}

// withPipes lets one process at a time change the limit.
func (h Host) withPipes(change func(before string) error) error {
	lock, err := os.OpenFile(filepath.Join(h.Dir, "work", "pipes.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("fs.pipe-max-size: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("fs.pipe-max-size: %w", err)
	}
	if err := change(filepath.Join(h.Dir, "work", pipesBefore)); err != nil {
		return fmt.Errorf("fs.pipe-max-size: %w", err)
	}
	return nil
}

// canGrowPipes tries what CRIU will do.
func canGrowPipes() bool {
	r, w, err := os.Pipe()
	if err != nil {
		return false
	}
	defer r.Close()
	defer w.Close()
	_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pipeBytes)
	return err == nil
}
