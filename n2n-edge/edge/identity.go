package edge

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sonic-netservices/internal/n2n"
)

// identityFile is what is kept of an identity: one file for each device of the host.
type identityFile struct {
	Format int     `json:"format"`
	MAC    n2n.MAC `json:"mac"`
	Token  []byte  `json:"token"`
}

// LoadIdentity gives the edge's MAC and token: those it had before, so that a supernode which still remembers them lets it in
// again after a crash, else fresh ones, which are kept.
func LoadIdentity(cfg *Config) (Identity, error) {
	var id Identity
	path := filepath.Join(cfg.State, cfg.Device+".json")
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		var f identityFile
		if err := json.Unmarshal(text, &f); err != nil {
			return id, fmt.Errorf("state: %s: %w", path, err)
		}
		if f.Format != 1 || len(f.Token) != len(id.Token) || f.MAC.IsZero() {
			return id, fmt.Errorf("state: %s: format %d, a token of %d bytes: this program knows format 1, 16 bytes", path, f.Format, len(f.Token))
		}
		id.MAC, id.Token = f.MAC, [16]byte(f.Token)
	case errors.Is(err, fs.ErrNotExist):
		_, _ = rand.Read(id.Token[:]) // never fails (crypto/rand)
		_, _ = rand.Read(id.MAC[:])
		id.MAC[0] = id.MAC[0]&^1 | 2 // one station, of no maker
	default:
		return id, fmt.Errorf("state: %w", err)
	}
	known := err == nil
	if cfg.MAC != "" && cfg.mac != id.MAC {
		id.MAC, known = cfg.mac, false
	}
	if known {
		return id, nil
	}
	return id, id.save(path)
}

// save writes the file so that a crash leaves the old one or the new one.
func (id *Identity) save(path string) error {
	text, err := json.Marshal(identityFile{1, id.MAC, id.Token[:]})
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".identity")
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("state: write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}
