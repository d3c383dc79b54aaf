package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sonic-netservices/sonic-vs/suite"
)

// What is measured. All but bare are moves.
const (
	live  = "live"
	plain = "plain" // live without memory sent ahead of the freeze: what that is worth
	bare  = "bare"  // runc's checkpoint and restore, no move
	cold  = "cold"
	lazy  = "lazy"
	warm  = "warm"
)

var modes = []string{live, plain, bare, cold, lazy, warm}

const (
	runFile   = "run.json"
	traceFile = "trace.json"
	bareFile  = "bare.json"
)

// run is one move or bare checkpoint, with what its folder holds.
type run struct {
	Mode    string    `json:"mode"`
	MB      int       `json:"mb"`
	N       int       `json:"n"` // 1, 2, ... of this mode and size
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	Begun   time.Time `json:"begun"`
	Load    float64   `json:"load"`              // average of the last minute, when the run began
	Skipped string    `json:"skipped,omitempty"` // why the agents do not do this; nothing was measured
	Error   string    `json:"error,omitempty"`   // of the order

	seen  seen        // by the clients
	trace *suite.Move // nil: the move failed
	bare  bareRun
}

func (r run) name() string { return fmt.Sprintf("%dmb-%d-%s", r.MB, r.N, r.Mode) }

// write keeps what is known before the records are read.
func (r run) write(dir string) error { return writeJSON(filepath.Join(dir, runFile), r) }

// readRun reads one folder.
func readRun(dir string) (run, error) {
	var r run
	if err := readJSON(filepath.Join(dir, runFile), &r); err != nil {
		return r, err
	}
	if !slices.Contains(modes, r.Mode) || r.MB < 1 || r.N < 1 {
		return r, fmt.Errorf("%s: mode %q, %d MiB, number %d", dir, r.Mode, r.MB, r.N)
	}
	switch {
	case r.Skipped != "":
		return r, nil
	case r.Mode == bare && r.Error != "":
		return r, nil
	case r.Mode == bare:
		return r, readJSON(filepath.Join(dir, bareFile), &r.bare)
	}
	records, err := readRecords(dir)
	if err != nil {
		return r, err
	}
	r.seen = look(records)
	if r.Error == "" {
		r.trace = new(suite.Move)
		return r, readJSON(filepath.Join(dir, traceFile), r.trace)
	}
	return r, nil
}

// readRuns reads the runs of a bench in the order in which they were made.
func readRuns(dir string) ([]run, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var runs []run
	var all error
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		r, err := readRun(filepath.Join(dir, e.Name()))
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		runs = append(runs, r)
	}
	if all == nil && len(runs) == 0 {
		all = fmt.Errorf("%s holds no run", dir)
	}
	slices.SortFunc(runs, func(a, b run) int { return a.Begun.Compare(b.Begun) })
	return runs, all
}

// clearRuns makes room in a folder of runs, if what is in it is a bench's.
func clearRuns(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		_, err := os.Stat(filepath.Join(dir, e.Name(), runFile))
		if err != nil {
			return fmt.Errorf("%s holds %s, which is no run of a bench", dir, e.Name())
		}
	}
	return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
}

// loadAverage of the last minute.
func loadAverage() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	var one float64
	if _, err := fmt.Sscan(string(text), &one); err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %q: %w", strings.TrimSpace(string(text)), err)
	}
	return one, nil
}
