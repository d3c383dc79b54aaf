package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// descriptorsFile is what runc notes beside a CRIU image: where the first three files of the processes lead. It reads it
// before it starts CRIU.
const descriptorsFile = "descriptors.json"

// Descriptors gives what will be in that file of a container.
func Descriptors(id string) ([]byte, error) {
	var state struct {
		Descriptors json.RawMessage `json:"external_descriptors"`
	}
	if err := readJSON(filepath.Join(runcRoot, id, "state.json"), &state); err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	if len(state.Descriptors) == 0 {
		return nil, errors.New("descriptors: none in runc's state")
	}
	return state.Descriptors, nil
}

// Restorer is a restore that has not begun: runc and CRIU are there and wait for the inventory of the image (gate.go).
type Restorer struct{ gate *gate }

// ReadyRestore gives the armed start of a container its word ahead of the image, and waits until CRIU is there.
func (h Host) ReadyRestore(op, id string, lazy bool, descriptors []byte) (*Restorer, error) {
	folder := h.restoreFolder(op)
	for _, dir := range []string{folder, h.workFolder(op)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("ready restore: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, descriptorsFile), descriptors, 0o600); err != nil {
		return nil, fmt.Errorf("ready restore: %w", err)
	}
	gate, err := raiseGate(h.restoreGate(op))
	if err != nil {
		return nil, fmt.Errorf("ready restore: %w", err)
	}
	if err := h.giveWord(op, id, folder, lazy); err != nil {
		gate.close()
		return nil, fmt.Errorf("ready restore: %w", err)
	}
	awaitLog(filepath.Join(h.workFolder(op), "restore.log"), nil)
	var res RestoreResult
	if readJSON(h.armed(id)+resultSuffix, &res) == nil { // it cannot be good so early
		gate.close()
		return nil, fmt.Errorf("ready restore: %w: %s", errNoWait, res.Error)
	}
	return &Restorer{gate}, nil
}

// Close lets a restore go that has not begun.
func (r *Restorer) Close() { r.gate.close() }

func (h Host) giveWord(op, id, image string, lazy bool) error {
	err := writeJSON(filepath.Join(h.armed(id), wordFile), word{Image: image, Work: h.workFolder(op), Lazy: lazy})
	if err != nil {
		err = fmt.Errorf("not armed: %w", err)
	}
	return err
}

func (h Host) armed(id string) string { return filepath.Join(h.Dir, "work", armedDir, id) }

// A restore that takes much longer than it ever does will not end: of a CRIU that was killed, children may live on that
// keep runc waiting. The source must go on before its clients' 5 s are over.
const (
	restoreBase  = 3 * time.Second
	restorePerMB = 4 * time.Millisecond // ten times what it takes on a quiet machine
)

func (h Host) restoreTime(op string) (time.Duration, error) {
	size, err := folderSize(h.OpFolder(op)) // with the rounds on which the image builds
	return restoreBase + time.Duration(size>>20)*restorePerMB, err
}

// Restore lets the restore that is ready go on with the image, or without one gives the armed start its word, and waits for
// the result. With lazy a daemon must be there to fetch the memory that the image has not (LazyDaemon).
func (h Host) Restore(ctx context.Context, op, id string, lazy bool, ready *Restorer) (RestoreResult, error) {
	if ready != nil {
		defer ready.Close()
	}
	began := time.Now()
	limit, err := h.restoreTime(op)
	if err != nil {
		return RestoreResult{}, fmt.Errorf("restore: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended := make(chan error, 1)
	var res RestoreResult
	go func() {
		var err error
		res, err = awaitResult(ctx, h.armed(id)+resultSuffix)
		ended <- err
	}()
	if ready != nil {
		err = h.completeRestore(ctx, op, ready, ended)
	} else if err = h.makeWork(op); err == nil {
		err = h.giveWord(op, id, h.ImageFolder(op), lazy)
	}
	if err == nil {
		err = <-ended
	}
	if err != nil {
		return RestoreResult{}, fmt.Errorf("restore: %w", err)
	}
	res.TookMS = float64(time.Since(began).Microseconds()) / 1000
	return res, nil
}

// completeRestore gives the image to the restore that waits for it.
func (h Host) completeRestore(ctx context.Context, op string, ready *Restorer, ended <-chan error) error {
	files, err := os.ReadDir(h.ImageFolder(op))
	if err != nil {
		return err
	}
	for _, f := range files {
		if name := f.Name(); name != restoreGate && name != descriptorsFile {
			if err := os.Link(filepath.Join(h.ImageFolder(op), name), filepath.Join(h.restoreFolder(op), name)); err != nil {
				return err
			}
		}
	}
	inventory, err := os.ReadFile(filepath.Join(h.ImageFolder(op), restoreGate))
	if err != nil {
		return err
	}
	return ready.gate.pass(ctx, inventory, ended)
}

// awaitResult polls for what our runtime says became of a restore.
func awaitResult(ctx context.Context, path string) (RestoreResult, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var res RestoreResult
		switch err := readJSON(path, &res); {
		case err == nil && res.Error != "":
			return res, errors.New(res.Error)
		case err == nil:
			return res, nil
		case !errors.Is(err, fs.ErrNotExist):
			return res, err
		}
		select {
		case <-ctx.Done():
			return RestoreResult{}, ctx.Err()
		case <-tick.C:
		}
	}
}
