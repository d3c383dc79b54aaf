package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/build/rootfs"
)

// Down removes an instance and everything that carries its name: processes, namespaces, links, cgroups, mounts, folders.
// It asks the kernel what is there and needs no state file, so it works after a crash of anything at any moment. The
// state goes last: a Down that was killed can be repeated.
func Down(ctx context.Context, instance string) error {
	if !instanceName.MatchString(instance) {
		return fmt.Errorf("instance %q: want %s", instance, instanceName)
	}
	lock, err := takeLock(ctx, instance)
	if err != nil {
		return err
	}
	defer lock.Close()
	slog.Info("take down", "instance", instance)
	if err := remove(ctx, instance); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(stateTop, instance)); err != nil {
		return err
	}
	removeIfEmpty(stateTop)
	return rootfs.Clean()
}

// remove is Down but for state and lock, which the caller holds.
func remove(ctx context.Context, instance string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	namespaces, err := filepath.Glob(netnsPath(instance, "*"))
	if err != nil {
		return err
	}
	var cgroups []string
	for _, h := range all {
		cgroups = append(cgroups, h.dir(instance))
	}
	if err := sweepCgroups(ctx, cgroups); err != nil {
		return err
	}
	for _, ns := range namespaces {
		if err := killInNetns(ctx, ns); err != nil {
			return err
		}
		if err := removeNetns(ns); err != nil {
			return err
		}
	}
	unshareNetnsDir()
	if err := unmountBelow(dataDir(instance)); err != nil {
		return err
	}
	if err := removeAll(ctx, dataDir(instance)); err != nil {
		return err
	}
	if s, err := readState(instance); err == nil {
		removeNsctl(instance, s.Nsctl)
	}
	for _, h := range all {
		removeIfEmpty(h.dir())
	}
	removeIfEmpty(dataTop, filepath.Dir(dataTop))
	return nil
}

// removeIfEmpty removes folders that several instances share, if this was the last one.
func removeIfEmpty(dirs ...string) {
	for _, dir := range dirs {
		os.Remove(dir) // fails when not empty: another instance is there
	}
}

// DownAll removes every instance found.
func DownAll(ctx context.Context) error {
	all, err := Instances()
	if err != nil {
		return err
	}
	var errs []error
	for _, instance := range all {
		if err := Down(ctx, instance); err != nil {
			errs = append(errs, fmt.Errorf("down %s: %w", instance, err))
		}
	}
	return errors.Join(append(errs, rootfs.Clean())...)
}

// killInNetns ends what still runs in a namespace: clients' commands, which are in no cgroup of ours.
func killInNetns(ctx context.Context, path string) error {
	if !isNetns(path) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		left, err := processesIn(path)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes stay in %s", len(left), path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// processesIn lists the processes of a network namespace, but this one.
func processesIn(path string) (pids []int, err error) {
	var want unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return nil, err
	}
	procs, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	for _, p := range procs {
		var has unix.Stat_t
		if unix.Stat(p, &has) != nil || has.Dev != want.Dev || has.Ino != want.Ino {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(p)))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// removeAll removes a folder that a dying mount namespace may still have something mounted in.
func removeAll(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := os.RemoveAll(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
