package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A gate makes a CRIU wait that has begun already: the first file it opens is a FIFO of ours, at which it stands until it
// reads what the file would have held.
//
//	raised --pass--> passed      CRIU has read the file and goes on
//	       --close-> closed      the FIFO ends: CRIU cannot read the file and gives up, having done nothing
//
// CRIU reads until its buffer is full or the FIFO ends, so it goes on when the gate is dropped, not at the first byte.
// A dump looks first for a cache of inode paths in its work folder, a restore for the inventory of its image. The end of
// this process closes its gates.
type gate struct {
	path string
	r    *os.File // keeps what was written until CRIU comes; the end of the FIFO is the end of w
	w    *os.File
}

const (
	dumpGate    = "irmap-cache"   // in the work folder
	restoreGate = "inventory.img" // in the image folder
)

// emptyCache is the file at the gate of a dump: a cache with nothing in it.
var emptyCache = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil,
	0x55105940), // of CRIU's service files
	0x57004059) // of an inode cache (criu/include/magic.h)

// raiseGate puts one in the place of a file. Who waits at an earlier one gives up.
func raiseGate(path string) (*gate, error) {
	leaveGate(path)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("gate: %w", err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	g := &gate{path: path}
	var err error
	if g.r, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
		g.w, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		g.close()
		return nil, fmt.Errorf("gate: %w", err)
	}
	return g, nil
}

// pass gives CRIU the file and waits until it has read it. ended says that CRIU is gone, and why: one that has not come
// by here has done what it did at a time of its own.
func (g *gate) pass(ctx context.Context, file []byte, ended <-chan error) error {
	if _, err := g.w.Write(file); err != nil { // less than a FIFO holds: it does not wait
		return fmt.Errorf("gate: %w", err)
	}
	look := time.NewTicker(gateLook)
	defer look.Stop()
	for {
		left, err := g.left()
		if err != nil {
			return fmt.Errorf("gate: %w", err)
		}
		if left == 0 {
			defer g.drop()
			return os.Remove(g.path) // CRIU may write a file of that name
		}
		select {
		case err := <-ended:
			return fmt.Errorf("ended before its gate: %w", errors.Join(err, errNoWait))
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("gate: %w", ctx.Err())
		}
	}
}

// gateLook is how often a gate is looked at: CRIU stands there already, as a rule.
const gateLook = 200 * time.Microsecond

var errNoWait = errors.New("CRIU did not wait for its word")

// left counts the bytes that CRIU has not read.
func (g *gate) left() (n int, err error) {
	raw, err := g.r.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n, errors.Join(err, cerr)
}

// close ends the waiting: of who is there, and of who is on the way. After pass, and again, it does no harm.
func (g *gate) close() {
	leaveGate(g.path)
	g.drop()
}

func (g *gate) drop() {
	for _, f := range []*os.File{g.r, g.w} {
		if f != nil {
			f.Close()
		}
	}
}

// leaveGate closes a gate, also one that another process holds. Who waits reads rubbish, as much as CRIU reads at once; who
// comes later finds a file of it: without one CRIU would go on. Where no gate is nothing happens.
func leaveGate(path string) {
	if !isGate(path) {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // who waits for a writer has one
	if err != nil {
		return
	}
	defer f.Close()
	rubbish := bytes.Repeat([]byte("not wanted any more\n"), 256)
	shut := path + ".shut"
	if err := os.WriteFile(shut, rubbish, 0o600); err == nil {
		os.Rename(shut, path)
	}
	f.Write(rubbish)
}

func isGate(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

func (h Host) dumpGate(op string) string { return filepath.Join(h.workFolder(op), dumpGate) }

func (h Host) restoreGate(op string) string { return filepath.Join(h.restoreFolder(op), restoreGate) }

// awaitLog gives a CRIU that was started until it has begun its log, to be spared its work inside the freeze. That it has
// not is no error: it may be slow.
func awaitLog(path string, ended <-chan struct{}) {
	const begins = 500 * time.Millisecond
	for since := time.Now(); !exists(path) && time.Since(since) < begins; {
		select {
		case <-ended:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}
