package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// About is load.json: what was run. It is written when the load begins and again when it has ended.
type About struct {
	Format    int           `json:"format"`
	Start     time.Time     `json:"start"` // the zero of all times in the records
	Target    string        `json:"target"`
	PublicKey string        `json:"public_key"` // PEM, as the service told it before the load
	Steps     []Step        `json:"steps"`
	New       int           `json:"new"`
	Kept      int           `json:"kept"`
	Seed      uint64        `json:"seed,omitempty"`     // of random moments; 0: evenly spaced
	Duration  time.Duration `json:"duration"`           // planned; 0: until stopped
	Requests  int           `json:"requests,omitempty"` // due and recorded; only after the end
	Ended     time.Duration `json:"ended,omitempty"`    // 0: it never ended in order
}

const aboutFormat = 1

func (a About) write(dir string) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, aboutFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", aboutFile, err)
	}
	return os.Rename(path+".new", path)
}

// ParseAbout reads load.json.
func ParseAbout(text []byte) (About, error) {
	var a About
	if err := parseStrict(text, &a); err != nil {
		return a, err
	}
	if a.Format != aboutFormat {
		return a, fmt.Errorf("format %d, want %d", a.Format, aboutFormat)
	}
	if a.Start.IsZero() {
		return a, errors.New("no start")
	}
	return a, nil
}
