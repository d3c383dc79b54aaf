package helper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sonic-netservices/mig-agent/address"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/journal"
)

// UninstallContainer is the helper that takes mig-agent off a switch.
const UninstallContainer = "mig-agent-uninstall"

// ErrRefused says that something still needs mig-agent on this switch; nothing was touched.
var ErrRefused = errors.New("refused")

// Removal says what is taken off a switch. sonic-package-manager calls nothing of a package that it removes, so an
// operator disables the feature, runs `mig-agent uninstall`, and removes the package then.
type Removal struct {
	Config
	Agent   string // name of the agent's container
	Volumes string // folder of the replicas' volumes
	Force   bool   // end replicas that are here, forget unfinished operations
	Purge   bool   // delete volumes, too
}

// Uninstall undoes all that mig-agent did to this switch. It is called after Enter, and idempotent.
func Uninstall(ctx context.Context, r Removal) (done []string, err error) {
	docker, err := engine.OpenDocker(ctx, "/var/run/docker.sock")
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	if err := r.refuse(ctx, docker); err != nil {
		return nil, err
	}
	for _, role := range []string{engine.RoleHelper, engine.RoleService, engine.RoleHolder} {
		names, err := docker.Ours(ctx, role)
		if err != nil {
			return done, err
		}
		for _, name := range names {
			if name == UninstallContainer {
				continue
			}
			if err := docker.Remove(ctx, name); err != nil {
				return done, err
			}
			done = append(done, "container "+name)
		}
	}
	if err := docker.DropPauseImages(ctx); err != nil {
		return done, err
	}
	if err := address.Clear(ctx, ""); err != nil {
		return done, err
	}
	host := engine.Host{Dir: r.Dir, Proc: "/proc", Cgroups: "/sys/fs/cgroup"}
	if err := host.Uninstall(ctx, docker, r.Dockerd); err != nil {
		return done, err
	}
	done = append(done, "service segment", "dockerd's runtime "+engine.RuntimeName, r.Dir)
	if r.Purge {
		if err := os.RemoveAll(r.Volumes); err != nil {
			return done, err
		}
		return append(done, r.Volumes), nil
	}
	os.Remove(r.Volumes) // fails when a volume is in it
	return done, nil
}

// refuse names what an operator must see to first.
func (r Removal) refuse(ctx context.Context, docker *engine.Docker) error {
	agent, err := docker.Container(ctx, r.Agent)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	if agent.Running {
		return fmt.Errorf("%w: %s runs and would install itself again: disable the feature first", ErrRefused, r.Agent)
	}
	if r.Force {
		return nil
	}
	here, err := docker.Ours(ctx, engine.RoleService)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(r.Dir, "replicas", "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		here = append(here, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	slices.Sort(here)
	if here = slices.Compact(here); len(here) > 0 {
		return fmt.Errorf("%w: %s can only run with mig-agent: enable it again and move them (nsctl drain), or end them with --force",
			ErrRefused, strings.Join(here, ", "))
	}
	dir := filepath.Join(r.Dir, "journal")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	j, err := journal.Open(dir, "uninstall")
	if err != nil {
		return err
	}
	list, err := j.List()
	if err != nil {
		return err
	}
	for _, e := range list {
		recs, err := j.Load(e.Op, e.Role)
		if err != nil {
			return err
		}
		if !journal.Finished(recs) {
			return fmt.Errorf("%w: operation %s is unfinished: enable mig-agent again, it brings it to its end, or forget it with --force",
				ErrRefused, e.Op)
		}
	}
	return nil
}
