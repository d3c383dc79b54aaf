package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where an instance leaves things; every name carries the instance's.
const (
	stateTop = "/run/sonic-vs"                 // <instance>/{lock,state.json}
	dataTop  = "/var/lib/sonic-netservices/vs" // <instance>/<node>/{upper,work,root,docker,host,switch.log}
)

func dataDir(names ...string) string { return filepath.Join(append([]string{dataTop}, names...)...) }

// state is written before the first resource of an instance is made. Every resource's name follows from it, so one
// record covers them all; what really exists is asked of the kernel, never of this file.
type state struct {
	Topology *Topology `json:"topology"`
	Restart  Restart   `json:"restart"`
	Base     string    `json:"base"`            // the base root, also for nodes raised again later
	Nsctl    string    `json:"nsctl,omitempty"` // the nsctl.yaml left for this instance
}

func statePath(instance string) string { return filepath.Join(stateTop, instance, "state.json") }

func readState(instance string) (*state, error) {
	text, err := os.ReadFile(statePath(instance))
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", statePath(instance), err)
	}
	return s, nil
}

func (s *state) write(instance string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := statePath(instance) + ".tmp"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, statePath(instance))
}

// takeLock waits for the instance's lock. `down` removes the lock file with the rest, so a lock counts only while its
// file is still the one under the name.
func takeLock(ctx context.Context, instance string) (*os.File, error) {
	path := filepath.Join(stateTop, instance, "lock")
	told := false
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a `down` was quicker
		}
		if err != nil {
			return nil, err
		}
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && sameFile(f, path) {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			slog.Info("wait: another sonic-vs is at work on this instance", "instance", instance)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("instance %s is busy: %w", instance, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// Instances lists the instances that left anything on this machine, with or without a state file.
func Instances() ([]string, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	tops := []string{stateTop, dataTop}
	for _, h := range all {
		tops = append(tops, h.dir())
	}
	var names []string
	for _, top := range tops {
		entries, err := os.ReadDir(top)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && instanceName.MatchString(e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// theInstance is the one meant when none is named.
func theInstance(name string) (string, error) {
	if name != "" {
		if !instanceName.MatchString(name) {
			return "", fmt.Errorf("instance %q: want %s", name, instanceName)
		}
		return name, nil
	}
	all, err := Instances()
	if err != nil {
		return "", err
	}
	switch len(all) {
	case 0:
		return "", ErrNotUp
	case 1:
		return all[0], nil
	}
	return "", fmt.Errorf("several instances are up, name one with --instance: %s", strings.Join(all, ", "))
}
