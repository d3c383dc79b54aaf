package run

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
)

// Audit is one decision and when it was made.
type Audit struct {
	At      time.Time
	Replica string // "" = of the whole
	decide.Entry
	Reads map[string]string // the ports of the leaf that says it, and what was in them
}

// audit keeps the newest decisions of each service in memory, and all in a file of lines of JSON.
type audit struct {
	now time.Time // of the round; written by the ticking goroutine only

	mu      sync.Mutex
	entries map[string][]Audit // by service, oldest first
	file    *os.File
	size    int64
}

const (
	keptAudits = 200     // of each service
	auditFile  = 8 << 20 // bytes, then a new file begins and the old one gets the name + ".1"
)

func openAudit(path string) (*audit, error) {
	a := &audit{entries: map[string][]Audit{}}
	if path == "" {
		return a, nil
	}
	return a, a.open(path)
}

func (a *audit) open(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open the audit: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the audit: %w", err)
	}
	a.file, a.size = f, info.Size()
	return nil
}

func (a *audit) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil {
		a.file.Close()
		a.file = nil
	}
}

// line is an entry as the file has it.
type line struct {
	At      time.Time `json:"at"`
	Replica string    `json:"replica,omitempty"`
	What    string    `json:"what"`
	Text    string    `json:"text"`
	Op      string    `json:"op,omitempty"`
	Path    string    `json:"path,omitempty"`
	Detail  any       `json:"detail,omitempty"`

	Reads map[string]string `json:"reads,omitempty"`
}

func (a *audit) add(replica string, e decide.Entry, reads map[string]string) error {
	service := replica
	if id, err := netmap.ParseReplicaID(replica); err == nil {
		service = id.Service
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	list := append(a.entries[service], Audit{a.now, replica, e, reads})
	a.entries[service] = list[max(0, len(list)-keptAudits):]
	if a.file == nil {
		return nil
	}
	l := line{a.now.UTC(), replica, e.What, e.Text, e.Op, e.Path, e.Detail, reads}
	text, err := json.Marshal(l)
	if err != nil { // a number JSON cannot carry; in words it can
		l.Detail = fmt.Sprint(e.Detail)
		text, err = json.Marshal(l)
	}
	if err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	n, err := a.file.Write(append(text, '\n'))
	a.size += int64(n)
	if err == nil && a.size > auditFile {
		err = a.turn()
	}
	if err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	return nil
}

// turn begins a new file. The caller holds mu.
func (a *audit) turn() error {
	path := a.file.Name()
	a.file.Close()
	a.file = nil
	if err := os.Rename(path, path+".1"); err != nil {
		return err
	}
	return a.open(path)
}

// auditing is the world the leaves see: what they note goes to the audit as well.
type auditing struct {
	decide.World
	r *Runner
}

func (w auditing) Audit(replica string, e decide.Entry) {
	w.r.note(replica, e)
	w.World.Audit(replica, e)
}

// note adds an entry to the audit and the log.
func (r *Runner) note(replica string, e decide.Entry) {
	if err := r.audit.add(replica, e, r.reads(e.Path)); err != nil {
		r.log.Warn("a decision is not in the file", "replica", replica, "err", err)
	}
	r.log.Info("decision", "replica", replica, "op", e.Op, "what", e.What, "text", e.Text)
}

// longRead bounds the text of a value a leaf read: a snapshot of a network is long.
const longRead = 120

// reads are the ports of the leaf of the tree that is being ticked.
func (r *Runner) reads(path string) map[string]string {
	if r.ticking == nil || path == "" {
		return nil
	}
	for _, n := range r.ticking.run.Program().Nodes() {
		if n.Path != path {
			continue
		}
		all := map[string]string{}
		for _, read := range r.ticking.run.Reads(n.UID) {
			text := []rune(read.Value.String())
			if len(text) > longRead {
				text = append(text[:longRead-1], '…')
			}
			all[read.Port] = string(text)
		}
		return all
	}
	return nil
}

// Why gives the newest decisions about a service, or with "" about the whole, oldest first.
func (r *Runner) Why(service string, most int) []Audit {
	r.audit.mu.Lock()
	defer r.audit.mu.Unlock()
	list := r.audit.entries[service]
	return slices.Clone(list[max(0, len(list)-most):])
}
