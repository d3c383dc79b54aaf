package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// freezer is the cgroup that freezes one container: v1's freezer hierarchy where it is mounted, else cgroup v2.
type freezer struct {
	dir string
	v2  bool
}

// freezerByName finds the cgroup of a container by its full id, also when its processes are gone or unknown: the
// folder named after the id below CgroupParent.
func freezerByName(root, id string) (freezer, error) {
	for _, name := range []string{id, "docker-" + id + ".scope"} {
		for _, parent := range []string{CgroupParent, "netservices.slice"} {
			if dir := filepath.Join(root, "freezer", parent, name); exists(dir) {
				return freezer{dir: dir}, nil
			}
			for _, mount := range []string{root, filepath.Join(root, "unified")} {
				if dir := filepath.Join(mount, parent, name); exists(filepath.Join(dir, "cgroup.freeze")) {
					return freezer{dir: dir, v2: true}, nil
				}
			}
		}
	}
	return freezer{}, fmt.Errorf("cgroup of container %.12s: %w", id, fs.ErrNotExist)
}

// freeze stops every process of the group and waits until all are.
func (z freezer) freeze(ctx context.Context) error {
	if err := z.write(true); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	for {
		frozen, err := z.frozen()
		if err != nil {
			return fmt.Errorf("freeze: %w", err)
		}
		if frozen {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("freeze: %w", ctx.Err())
		case <-time.After(500 * time.Microsecond):
		}
	}
}

// thaw lets the group go on; a group that is gone needs none.
func (z freezer) thaw() error {
	if err := z.write(false); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}

func (z freezer) write(on bool) error {
	name, text := "freezer.state", "THAWED"
	switch {
	case z.v2 && on:
		name, text = "cgroup.freeze", "1"
	case z.v2:
		name, text = "cgroup.freeze", "0"
	case on:
		text = "FROZEN"
	}
	return os.WriteFile(filepath.Join(z.dir, name), []byte(text), 0)
}

func (z freezer) frozen() (bool, error) {
	if !z.v2 {
		state, err := os.ReadFile(filepath.Join(z.dir, "freezer.state"))
		return strings.TrimSpace(string(state)) == "FROZEN", err
	}
	state, err := os.ReadFile(filepath.Join(z.dir, "cgroup.events"))
	return strings.Contains(string(state), "frozen 1"), err
}

// kill ends every process of the group. A frozen v1 group must be thawed for the signal to act; the signal is sent
// first, so no process gets to run an instruction of its own.
func (z freezer) kill(ctx context.Context) error {
	for {
		pids, err := z.pids()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || err == nil && len(pids) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("kill: %w", err)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill pid %d: %w", pid, err)
			}
		}
		if err := z.thaw(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill: %w", ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (z freezer) pids() ([]int, error) {
	data, err := os.ReadFile(filepath.Join(z.dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(data)) {
		var pid int
		if _, err := fmt.Sscan(field, &pid); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
