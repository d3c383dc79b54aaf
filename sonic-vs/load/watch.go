package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// Names of the files that say who moved a service: copies of what manager and agents wrote themselves.
const (
	watchFile  = "watch.json"
	auditFile  = "audit.jsonl"
	usageFile  = "usage.jsonl"
	journalDir = "journal" // <node>/<op>.<role>.jsonl
)

// Watch is watch.json: the replica of a load that nobody moves by hand. Its moves are read from the agents' journals
// instead of events.jsonl, and the manager's audit has to say that its tree wanted them.
type Watch struct {
	Replica string        `json:"replica"`
	Mode    string        `json:"mode"`  // of its moves
	Node    string        `json:"node"`  // where it ran first
	After   time.Duration `json:"after"` // how long it is watched after its move
}

// Write puts it beside the records of the load.
func (w Watch) Write(dir string) error {
	if err := w.check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, watchFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write watch: %w", err)
	}
	return nil
}

func (w Watch) check() error {
	if _, err := netmap.ParseReplicaID(w.Replica); err != nil {
		return err
	}
	if w.Mode == "" || w.Node == "" || w.After <= 0 {
		return errors.New("no mode, node or time to watch")
	}
	return nil
}

// ParseWatch reads watch.json.
func ParseWatch(text []byte) (Watch, error) {
	var w Watch
	if err := parseStrict(text, &w); err != nil {
		return w, err
	}
	return w, w.check()
}

// Usage is one line of usage.jsonl: what the services of a node had used at a moment, by the cgroup that holds them all.
type Usage struct {
	At        time.Time     `json:"at"`
	Node      string        `json:"node"`
	CPU       time.Duration `json:"cpu"`    // CPU time since the cgroup was made
	Budget    float64       `json:"budget"` // cores its quota allows; 0: all
	Throttled time.Duration `json:"throttled"`
}

// Others is the node of a Usage that tells of all else on this machine: what no virtual switch, client or demo used.
const Others = "others"

// AppendUsage writes samples beside the records of a load.
func AppendUsage(dir string, all ...Usage) error {
	var lines []byte
	for _, u := range all {
		line, err := json.Marshal(u)
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	f, err := os.OpenFile(filepath.Join(dir, usageFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write usage: %w", err)
	}
	_, err = f.Write(lines)
	return errors.Join(err, f.Close())
}

// ParseUsage reads one line of the usage file.
func ParseUsage(line []byte) (Usage, error) {
	var u Usage
	if err := parseStrict(line, &u); err != nil {
		return u, err
	}
	if u.At.IsZero() || u.Node == "" || u.CPU < 0 || !(u.Budget >= 0) || u.Throttled < 0 {
		return u, errors.New("no time or node, or a negative number")
	}
	return u, nil
}

// Audited is one line of the manager's audit log. What else stands there is not looked at.
type Audited struct {
	At      time.Time `json:"at"`
	Replica string    `json:"replica"` // "": of the whole
	What    string    `json:"what"`
	Text    string    `json:"text"`
	Op      string    `json:"op"`
	Path    string    `json:"path"` // of the leaf in the tree
}

// ParseAudited reads one line of the audit log.
func ParseAudited(line []byte) (Audited, error) {
	var a Audited
	if err := json.Unmarshal(line, &a); err != nil {
		return a, err
	}
	if a.At.IsZero() || a.What == "" {
		return a, errors.New("no time, or not what happened")
	}
	return a, nil
}

// Journaled is what one node's journal says about one operation in one role.
type Journaled struct {
	Node    string
	Records []journal.Record
}

// CopyAudit and CopyJournal take the copies that a watched load needs.
func CopyAudit(dir, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy the audit: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, auditFile), text, 0o644)
}

// CopyJournal takes a node's journal as it is.
func CopyJournal(dir, node, from string) error {
	to := filepath.Join(dir, journalDir, node)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy the journal of %s: %w", node, err)
	}
	return nil
}

// readWatch reads all of it, if the load was watched.
func (p *Part) readWatch(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, watchFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := ParseWatch(text)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, watchFile), err)
	}
	p.Watch = &w
	if p.Audit, _, err = readLines(p, dir, auditFile, ParseAudited); err != nil {
		return err
	}
	if p.Usage, _, err = readLines(p, dir, usageFile, ParseUsage); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if p.Calibration, err = ReadCalibration(filepath.Join(filepath.Dir(dir), calibrationDir, filepath.Base(dir)), w.Node); err != nil {
		p.problem(calibrationDir, err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, journalDir, "*", "*.jsonl"))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	for _, path := range paths {
		name := strings.TrimPrefix(path, dir+string(filepath.Separator))
		records, _, err := readLines(p, dir, name, parseJournal)
		if err != nil {
			return err
		}
		p.Journals = append(p.Journals, Journaled{filepath.Base(filepath.Dir(path)), records})
	}
	return nil
}

// parseJournal reads a line of a journal; newer versions may add to it.
func parseJournal(line []byte) (journal.Record, error) {
	var r journal.Record
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	if r.Format != journal.Format || r.Op == "" || r.Step == "" || r.At.IsZero() {
		return r, errors.New("not a record of an operation")
	}
	return r, nil
}
