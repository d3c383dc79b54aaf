// Package rootfs makes small Debian roots: the base root of the virtual switches, with Docker, Redis, CRIU and lldpd, and
// the one that images of example services take Debian's own servers from.
//
// It reads the archive named by the machine's own apt sources and writes CacheDir/root-<hash of the recipe>, once:
// every virtual switch uses such a folder as the read-only lower layer of its own root. It is told by sonic-vs/testbed
// and sonic-vs/images.
package rootfs

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CacheDir holds the base roots. It outlives `down`: making one takes a minute and the network.
const CacheDir = "/var/cache/sonic-netservices"

//go:embed make.sh
var script string

//go:embed packages
var switchPackages string

//go:embed packages-services
var servicePackages string

// A Root is one of those this package can make, by the packages it is made of.
type Root struct{ packages string }

var (
	Switch   = Root{switchPackages}  // of a virtual switch
	Services = Root{servicePackages} // servers for examples
)

// Path is the folder of the root this program's recipe makes.
func (r Root) Path() string {
	sum := sha256.Sum256([]byte(script + "\x00" + r.packages))
	return filepath.Join(CacheDir, "root-"+hex.EncodeToString(sum[:6]))
}

// Ensure returns the root's folder and makes it if it is missing. Two callers at once make it once.
func (r Root) Ensure(ctx context.Context) (string, error) {
	path := r.Path()
	if exists(path) {
		return path, nil
	}
	lock, err := takeLock(ctx)
	if err != nil {
		return "", fmt.Errorf("base root: %w", err)
	}
	defer lock.Close()
	if exists(path) { // somebody else made it while we waited
		return path, nil
	}
	if err := removeUnfinished(); err != nil {
		return "", fmt.Errorf("base root: %w", err)
	}
	slog.Info("make base root, once (about a minute)", "path", path)
	if err := r.build(ctx, path); err != nil {
		return "", fmt.Errorf("make base root: %w", err)
	}
	return path, nil
}

// Clean removes what a killed Ensure left behind, unless another Ensure is at work.
func Clean() error {
	if !exists(CacheDir) {
		return nil
	}
	lock, err := openLock()
	if err != nil {
		return fmt.Errorf("clean base roots: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // somebody is making one
	}
	return removeUnfinished()
}

func (r Root) build(ctx context.Context, path string) error {
	tmp, err := os.MkdirTemp(CacheDir, "tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	recipe, list, root := filepath.Join(tmp, "make.sh"), filepath.Join(tmp, "packages"), filepath.Join(tmp, "root")
	for name, text := range map[string]string{recipe: script, list: r.packages} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}

	// setpriv, not SysProcAttr.Pdeathsig: that takes a parent in another PID namespace for a dead one. The signal is
	// sent when the forking thread ends, so this goroutine keeps its thread until the script is done.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "setpriv", "--pdeathsig", "KILL", "bash", recipe, root, list)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // debootstrap talks a lot, but a silent minute is worse
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // also makes every mount private
	}
	if err := cmd.Run(); err != nil {
		return err
	}
	return os.Rename(root, path)
}

// removeUnfinished removes the folders of killed builds. The caller holds the lock.
func removeUnfinished() error {
	left, err := filepath.Glob(filepath.Join(CacheDir, "tmp-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// takeLock waits for the lock of the cache; closing the file gives it back.
func takeLock(ctx context.Context) (*os.File, error) {
	f, err := openLock()
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func openLock() (*os.File, error) {
	if err := os.MkdirAll(CacheDir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(CacheDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
