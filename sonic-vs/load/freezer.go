package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cgroups are the cgroups of one node's service containers, by a glob pattern of their folders:
// below the freezer hierarchy of cgroup v1, or below the unified hierarchy of v2.
type Cgroups struct {
	Node string
	Glob string
}

// ParseCgroups reads "NODE=GLOB".
func ParseCgroups(text string) (Cgroups, error) {
	node, glob, ok := strings.Cut(text, "=")
	if !ok || node == "" {
		return Cgroups{}, fmt.Errorf("freezer %q: want NODE=GLOB", text)
	}
	if _, err := filepath.Match(glob, ""); err != nil {
		return Cgroups{}, fmt.Errorf("freezer %q: %w", text, err)
	}
	return Cgroups{node, glob}, nil
}

// States of a freezer. Both versions of cgroups speak the words of v1.
const (
	thawed   = "THAWED"
	freezing = "FREEZING" // asked for, not all tasks stopped yet
	frozen   = "FROZEN"
	gone     = "GONE" // the cgroup was removed
)

// Freeze is one line of freezer.jsonl: a change of a container's freezer, or a heartbeat.
type Freeze struct {
	T         time.Duration `json:"t"`
	Prev      time.Duration `json:"prev,omitempty"` // the sample before: the change lies between the two
	Node      string        `json:"node,omitempty"`
	Container string        `json:"container,omitempty"` // name of its cgroup
	State     string        `json:"state,omitempty"`
	Samples   int           `json:"samples,omitempty"` // heartbeat: rounds since the one before
	Longest   time.Duration `json:"longest,omitempty"` // heartbeat: longest time between two of these rounds
}

// ParseFreeze reads one line of the freezer file.
func ParseFreeze(line []byte) (Freeze, error) {
	var f Freeze
	if err := parseStrict(line, &f); err != nil {
		return f, err
	}
	if f.T < 0 || f.Longest < 0 || f.Samples < 0 {
		return f, errors.New("negative number or time")
	}
	if heartbeat := f.Samples > 0; heartbeat == (f.State != "") {
		return f, errors.New("neither a change nor a heartbeat, or both")
	}
	if f.State != "" && !slices.Contains([]string{thawed, freezing, frozen, gone}, f.State) {
		return f, fmt.Errorf("state %q", f.State)
	}
	return f, nil
}

const (
	sampleEvery    = 5 * time.Millisecond
	searchEvery    = 20  // rounds: new containers are found after 100 ms
	heartbeatEvery = 200 // rounds: a second
)

// watch is one container under observation. Its files stay open, which does not keep the cgroup from being removed.
type watch struct {
	node, container, state string
	files                  []*os.File
	read                   func([]*os.File) (string, error)
}

// sampleFreezers writes freezer.jsonl until ctx ends.
func sampleFreezers(ctx context.Context, dir string, groups []Cgroups, start time.Time) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, freezerFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("make freezer file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc := json.NewEncoder(f)
	watches := map[string]*watch{}
	defer func() {
		for _, w := range watches {
			w.close()
		}
	}()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	beat := Freeze{}
	prev := time.Since(start)
	for round := 0; ; round++ {
		if round%searchEvery == 0 {
			search(groups, watches)
		}
		now := time.Since(start)
		beat.Samples++
		beat.Longest = max(beat.Longest, now-prev)
		for path, w := range watches {
			state, err := w.read(w.files)
			if err != nil {
				state = gone
			}
			if state != w.state {
				if err := enc.Encode(Freeze{T: now, Prev: prev, Node: w.node, Container: w.container, State: state}); err != nil {
					return fmt.Errorf("write freezer state: %w", err)
				}
				w.state = state
			}
			if state == gone {
				w.close()
				delete(watches, path)
			}
		}
		prev = now
		end := ctx.Err() != nil
		if beat.Samples == heartbeatEvery || end {
			beat.T = now
			if err := enc.Encode(beat); err != nil {
				return fmt.Errorf("write freezer heartbeat: %w", err)
			}
			beat = Freeze{}
		}
		if end {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done(): // one last round: the records end with a heartbeat
		}
	}
}

// search opens the freezers that have appeared.
func search(groups []Cgroups, watches map[string]*watch) {
	for _, g := range groups {
		paths, _ := filepath.Glob(g.Glob) // the pattern was checked
		for _, path := range paths {
			if watches[path] == nil {
				if w := openFreezer(path); w != nil {
					w.node, w.container = g.Node, filepath.Base(path)
					watches[path] = w
				}
			}
		}
	}
}

// openFreezer returns nil for what is no cgroup, or is one no longer.
func openFreezer(path string) *watch {
	if f, err := os.Open(filepath.Join(path, "freezer.state")); err == nil {
		return &watch{files: []*os.File{f}, read: readV1}
	}
	order, err := os.Open(filepath.Join(path, "cgroup.freeze"))
	if err != nil {
		return nil
	}
	events, err := os.Open(filepath.Join(path, "cgroup.events"))
	if err != nil {
		order.Close()
		return nil
	}
	return &watch{files: []*os.File{order, events}, read: readV2}
}

func (w *watch) close() {
	for _, f := range w.files {
		f.Close()
	}
}

// readV1 reads freezer.state, one of the three words.
func readV1(files []*os.File) (string, error) {
	state, err := readAgain(files[0])
	return string(bytes.TrimSpace(state)), err
}

// readV2 reads cgroup.freeze (what was asked for) and cgroup.events (what is).
func readV2(files []*os.File) (string, error) {
	order, err := readAgain(files[0])
	if err != nil {
		return "", err
	}
	events, err := readAgain(files[1])
	switch {
	case err != nil:
		return "", err
	case bytes.Contains(events, []byte("frozen 1\n")):
		return frozen, nil
	case bytes.HasPrefix(order, []byte("1")):
		return freezing, nil
	}
	return thawed, nil
}

// readAgain reads a small file of the kernel from its beginning. ENODEV says that its cgroup was removed.
func readAgain(f *os.File) ([]byte, error) {
	b := make([]byte, 128)
	n, err := f.ReadAt(b, 0)
	if n > 0 {
		return b[:n], nil
	}
	return nil, err
}
