package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// reloadTime bounds how long dockerd may take to read its configuration again.
const reloadTime = 10 * time.Second

// Uninstall takes everything of ours off the host but volumes: dockerd's entry, by reload, the tmpfs, sysctls, the
// services' cgroup, and our folder, last: a run that was cut short can be repeated. No container may use our runtime.
func (h Host) Uninstall(ctx context.Context, docker *Docker, d Dockerd) error {
	if exists(h.Dir) {
		b, err := h.rememberBefore(d.JSON) // a version that noted nothing has left its entry all the same
		if err != nil {
			return fmt.Errorf("uninstall: %w", err)
		}
		if err := h.restoreDockerd(ctx, docker, d, b); err != nil {
			return fmt.Errorf("uninstall: %w", err)
		}
		for key, value := range b.Sysctl {
			if err := os.WriteFile(filepath.Join(h.Proc, "sys", key), []byte(value), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("uninstall: %w", err)
			}
		}
	}
	if h.CRIUFrom() == FromBundle { // what our CRIU knows of this kernel; the host has none that would
		os.Remove("/run/criu.kdat")
	}
	work := filepath.Join(h.Dir, "work")
	if err := unix.Unmount(work, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("uninstall: unmount %s: %w", work, err)
	}
	if err := h.removeGroup(docker.Group()); err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	if err := os.RemoveAll(h.Dir); err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	return nil
}

// restoreDockerd makes dockerd forget us, and its file what it was.
func (h Host) restoreDockerd(ctx context.Context, docker *Docker, d Dockerd, b before) error {
	now, err := os.ReadFile(d.JSON)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	last, err := b.restored(now)
	if err != nil {
		return fmt.Errorf("%s: %w", d.JSON, err)
	}
	text, err := b.ending(now)
	if err != nil {
		return fmt.Errorf("%s: %w", d.JSON, err)
	}
	if err := d.reload(text); err != nil {
		return err
	}
	if err := docker.awaitForgotten(ctx); err != nil {
		return err
	}
	if last != nil {
		return replaceFile(d.JSON, last, 0o644)
	}
	if err := os.Remove(d.JSON); err != nil {
		return err
	}
	if !b.Folder {
		os.Remove(filepath.Dir(d.JSON)) // unless somebody else has put something there
	}
	return nil
}

// awaitForgotten returns when dockerd has no runtime of ours any more.
func (d *Docker) awaitForgotten(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	for {
		info, err := d.cli.Info(ctx)
		if err != nil {
			return wrap("ask dockerd for its runtimes", err)
		}
		if _, knows := info.Runtimes[RuntimeName]; !knows {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("dockerd still has the runtime %s %v after its reload", RuntimeName, reloadTime)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// removeGroup removes the services' cgroup from every hierarchy. One with processes stays, and is an error.
func (h Host) removeGroup(group string) error {
	dirs := []string{filepath.Join(h.Cgroups, group)}
	hierarchies, err := os.ReadDir(h.Cgroups)
	if err != nil {
		return err
	}
	for _, e := range hierarchies {
		dirs = append(dirs, filepath.Join(h.Cgroups, e.Name(), group))
	}
	for _, dir := range dirs {
		var inside []string
		filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				inside = append(inside, path)
			}
			return nil // what is gone meanwhile needs no removal
		})
		for _, path := range slices.Backward(inside) {
			if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove cgroup %s: %w", path, err)
			}
		}
	}
	return nil
}
