package load

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"sonic-netservices/examples/kms/keylog"
)

// Names of the files of a load in its folder.
const (
	aboutFile   = "load.json"
	requestFile = "requests.jsonl.gz"
	freezerFile = "freezer.jsonl"
	eventFile   = "events.jsonl"
	logFile     = "volume/keys.log"
	signingFile = "volume/signing.key"
	publicFile  = "volume/pubkey"
	reportFile  = "report.json"
)

// Record is what became of one request: it has either Answered or Failed.
type Record struct {
	N        int            `json:"n"`
	Due      time.Duration  `json:"due"`                // by the schedule
	Sent     time.Duration  `json:"sent,omitempty"`     // 0: never
	Answered time.Duration  `json:"answered,omitempty"` // the answer was complete
	Latency  time.Duration  `json:"latency,omitempty"`  // Answered - Due: waiting for a connection counts
	Failed   time.Duration  `json:"failed,omitempty"`   // given up
	Conn     int            `json:"conn,omitempty"`     // number of the TCP connection; 0: none came about
	Slot     int            `json:"slot,omitempty"`     // number of the kept connection's place; 0: a new connection
	Port     int            `json:"port,omitempty"`     // of the client, as ss shows it in the service's holder
	Status   int            `json:"status,omitempty"`   // HTTP
	Answer   *keylog.Answer `json:"answer,omitempty"`
	Broken   bool           `json:"broken,omitempty"` // the connection ended with this request open
	Error    string         `json:"error,omitempty"`
}

func (r Record) check() error {
	switch {
	case r.N < 0 || r.Due < 0 || r.Sent < 0 || r.Answered < 0 || r.Failed < 0:
		return errors.New("negative number or time")
	case (r.Answered == 0) == (r.Failed == 0):
		return errors.New("neither answered nor failed, or both")
	case r.Answered != 0 && (r.Answer == nil || r.Error != "" || r.Broken):
		return errors.New("answered without an answer or with an error")
	case r.Answered != 0 && (r.Latency != r.Answered-r.Due || r.Latency <= 0):
		return errors.New("latency is not answered - due")
	case r.Failed != 0 && r.Error == "":
		return errors.New("failed without an error")
	}
	return nil
}

// ParseRecord reads one line of the request file.
func ParseRecord(line []byte) (Record, error) {
	var r Record
	if err := parseStrict(line, &r); err != nil {
		return r, err
	}
	return r, r.check()
}

// parseStrict reads one JSON value that fills the line and has no unknown field.
func parseStrict(line []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if rest := line[dec.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		return fmt.Errorf("%d bytes after the value", len(rest))
	}
	return nil
}

// ReadRecords reads a request file. A file cut anywhere, as a crash leaves it, gives the records before the cut and
// truncated; unreadable lines are left out and reported with their number.
func ReadRecords(r io.Reader) (records []Record, truncated bool, problems []error) {
	z, err := gzip.NewReader(r)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, []error{fmt.Errorf("line 1: %w", err)}
	}
	in := bufio.NewReader(z)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return records, false, problems
		case err == io.ErrUnexpectedEOF:
			return records, true, problems
		case err == io.EOF:
			return records, false, append(problems, fmt.Errorf("line %d: no newline", n))
		case err != nil:
			return records, false, append(problems, fmt.Errorf("line %d: %w", n, err))
		}
		record, err := ParseRecord(line)
		if err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		records = append(records, record)
	}
}

// recordWriter writes the request file from one goroutine, so no client ever waits for the disk. It flushes each
// second: a crash of the machine or of this process loses no more than that.
type recordWriter struct {
	records chan Record
	done    chan error
}

func createRecords(dir string) (*recordWriter, error) {
	f, err := os.OpenFile(filepath.Join(dir, requestFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make record file: %w", err)
	}
	w := &recordWriter{make(chan Record, 4096), make(chan error, 1)}
	go func() { w.done <- w.write(f) }()
	return w, nil
}

func (w *recordWriter) write(f *os.File) error {
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(z)
	flush := time.NewTicker(time.Second)
	defer flush.Stop()
	var failed error // the first error; later records are taken and dropped
	for {
		var err error
		select {
		case r, ok := <-w.records:
			if !ok {
				return errors.Join(failed, z.Close(), f.Close())
			}
			err = enc.Encode(r)
		case <-flush.C:
			err = z.Flush()
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("write records: %w", err)
		}
	}
}

// close writes what is left. No record may be put after it.
func (w *recordWriter) close() error {
	close(w.records)
	return <-w.done
}
