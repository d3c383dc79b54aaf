package bench

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The three clients (facts: migration 2).
const (
	rawClient  = "raw"  // one raw TCP connection; a request is sent when it is due, also while others wait
	keptClient = "kept" // one HTTP connection, kept
	newClient  = "new"  // a new HTTP connection each
)

// record is what became of one request: it has either Answered or Failed. Times are nanoseconds since the load began.
type record struct {
	Client   string        `json:"client"`
	N        int           `json:"n"`
	Due      time.Duration `json:"due"`
	Conn     int           `json:"conn,omitempty"` // number of the connection; 0: none came about
	Answered time.Duration `json:"answered,omitempty"`
	Answer   string        `json:"answer,omitempty"` // as it came
	Failed   time.Duration `json:"failed,omitempty"` // given up
	Broken   bool          `json:"broken,omitempty"` // the connection ended with this request open
	Error    string        `json:"error,omitempty"`
}

func (r record) check() error {
	switch {
	case r.Client != rawClient && r.Client != keptClient && r.Client != newClient:
		return fmt.Errorf("client %q", r.Client)
	case r.N < 0 || r.Due < 0 || r.Conn < 0:
		return errors.New("negative number or time")
	case (r.Answered > 0) == (r.Failed > 0):
		return errors.New("neither answered nor failed, or both")
	case r.Failed > 0 && r.Error == "" || r.Answered > 0 && (r.Error != "" || r.Broken):
		return errors.New("failed without an error, or answered with one")
	}
	return nil
}

const requestFile = "requests.jsonl.gz"

func writeRecords(dir string, records []record) (err error) {
	f, err := os.Create(filepath.Join(dir, requestFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(z)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return z.Close()
}

func readRecords(dir string) ([]record, error) {
	f, err := os.Open(filepath.Join(dir, requestFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	var list []record
	for dec := json.NewDecoder(z); ; {
		var r record
		err := dec.Decode(&r)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err == nil {
			err = r.check()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: record %d: %w", f.Name(), len(list)+1, err)
		}
		list = append(list, r)
	}
}

// writeJSON writes one raw record that is a file.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
