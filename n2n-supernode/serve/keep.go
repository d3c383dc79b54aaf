package serve

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"sonic-netservices/n2n-supernode/rendezvous"
)

const (
	// keepEvery bounds how often the state is written: after a crash, what registered later registers again.
	keepEvery = 5 * time.Second
	// keepAlive is how often it is written when all that changed is that edges were heard again.
	keepAlive = 5 * time.Minute
)

// keeper holds the state of the supernode in a file. It has the tokens of all edges, so nobody else may read it.
type keeper struct {
	path  string    // "": nothing is kept
	tried time.Time // to write
	wrote time.Time
}

// open gives the state of an earlier life, nil when there is none. A file that makes no sense is put aside: edges are back
// within one interval without it.
func (k *keeper) open(dir string) (*rendezvous.State, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	k.path = filepath.Join(dir, "state.json")
	text, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	var s rendezvous.State
	if err := json.Unmarshal(text, &s); err != nil || s.Format != rendezvous.StateFormat {
		if err == nil {
			err = fmt.Errorf("format %d, this version reads %d", s.Format, rendezvous.StateFormat)
		}
		slog.Warn("the state is put aside, edges have to register", "file", k.path, "err", err)
		return nil, os.Rename(k.path, k.path+".unread")
	}
	return &s, nil
}

// keepDue writes the state when it has changed and the time has come.
func (k *keeper) keepDue(m *rendezvous.Machine, now time.Time) error {
	if now.Sub(k.tried) < keepEvery {
		return nil
	}
	k.tried = now
	if !m.Changed() && now.Sub(k.wrote) < keepAlive {
		return nil
	}
	return k.keep(m, now)
}

// keep writes the state, whole or not at all.
func (k *keeper) keep(m *rendezvous.Machine, now time.Time) error {
	if k.path == "" {
		return nil
	}
	s, edges, version := m.State()
	f, err := os.CreateTemp(filepath.Dir(k.path), ".state-*") // 0600
	if err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	defer os.Remove(f.Name())
	if err := errors.Join(writeState(f, s, edges), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	if err := os.Rename(f.Name(), k.path); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	k.wrote = now
	m.Kept(version)
	debug.FreeOSMemory() // the text of many edges is more than they themselves
	return nil
}

// writeState writes a state as JSON, its edges one by one.
func writeState(to io.Writer, s *rendezvous.State, edges iter.Seq[rendezvous.EdgeState]) error {
	s.Edges = []rendezvous.EdgeState{}
	head, err := json.Marshal(s)
	if err != nil {
		return err
	}
	head, end := bytes.TrimSuffix(head, []byte("]}")), ""
	w := bufio.NewWriter(to)
	w.Write(head) // Flush has the error
	each := json.NewEncoder(w)
	for e := range edges {
		w.WriteString(end)
		end = ","
		if err := each.Encode(&e); err != nil {
			return err
		}
	}
	w.WriteString("]}\n")
	return w.Flush()
}
