// Package journal is mig-agent's memory of operations: one file per operation and role, a JSON line per step, fsynced
// before the step it names is done; two that nothing depends on are only noted.
//
// It reads and writes <dir>/<op>.<role>.jsonl, and is told by the agent and by its helper, two processes: every
// append happens under a lock of the file, so that of `committed` and `aborted` only the first can ever be written.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// Format of the records this version writes; it reads no other.
const Format = 1

// Role of this node in an operation.
type Role string

const (
	Source Role = "source"
	Target Role = "target"
	Local  Role = "local" // deploy, remove
)

// Step names what has happened. On the source of a move, in this order:
//
//	prepared -> switched -> frozen -> sent -> restored -> committed -> released -> done
//	    \__________\___________\_______\________\-----> aborted ---------------> done
//
// (a cold one is frozen, that is stopped, before it is switched; a warm one without data is not frozen at all) and on the target, where committed and aborted repeat what the source answered:
//
//	reserved -> prepared -> restored -> committed -> released -> done
//	     \__________\___________\-----> aborted ---------------> done
//
// A local operation knows prepared, then committed or aborted.
type Step string

const (
	Reserved  Step = "reserved"
	Prepared  Step = "prepared"
	Switched  Step = "switched" // noted: the target announces the address
	Frozen    Step = "frozen"   // live and warm: about to freeze; cold: about to stop
	Sent      Step = "sent"     // noted: the target has everything
	Restored  Step = "restored"
	Committed Step = "committed"
	Aborted   Step = "aborted"
	Released  Step = "released"
	Done      Step = "done"
)

// Facts are what a recovering process must know; they stand in the first record of a file.
type Facts struct {
	Kind          string   `json:"kind"` // deploy, remove, move
	Service       string   `json:"service"`
	Replica       int      `json:"replica"`
	Mode          string   `json:"mode,omitempty"`
	Lazy          bool     `json:"lazy,omitempty"`        // live: memory follows after the commit
	Peer          string   `json:"peer,omitempty"`        // the other node of a move
	PeerAgent     string   `json:"peer_agent,omitempty"`  // host:port
	PeerHelper    string   `json:"peer_helper,omitempty"` // host:port
	Container     string   `json:"container,omitempty"`   // full id of the service's container
	HolderPID     int      `json:"holder_pid,omitempty"`
	Address       string   `json:"address,omitempty"` // service address, without prefix length
	MoreAddresses []string `json:"more_addresses,omitempty"`
	Instruction   []byte   `json:"instruction,omitempty"` // the replica as ordered, protobuf
}

// Record is one line.
type Record struct {
	Format int       `json:"format"`
	Op     string    `json:"op"`
	Role   Role      `json:"role"`
	Step   Step      `json:"step"`
	PID    int       `json:"pid"` // of the writer, in its own pid namespace
	By     string    `json:"by"`  // agent, helper
	At     time.Time `json:"at"`
	Facts  *Facts    `json:"facts,omitempty"`
	Error  string    `json:"error,omitempty"`
	Answer []byte    `json:"answer,omitempty"` // final event of the operation, protobuf: what a repeated order gets
}

// SettledError says that the operation was decided the other way before.
type SettledError struct {
	Op   string
	Step Step // committed or aborted
}

func (e *SettledError) Error() string { return fmt.Sprintf("operation %s is already %s", e.Op, e.Step) }

// Journal is a folder of operations.
type Journal struct {
	dir string
	by  string
}

// Open makes the folder if needed. by names the writing process in its records.
func Open(dir, by string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{dir, by}, nil
}

// Append writes one step and returns when it is on disk. It refuses, with a SettledError, to commit what was aborted, to
// abort what was committed, and to reserve again under the ID of what was settled: a source that was restarted has
// forgotten a move that has ended here, and would commit what the next start of this agent takes back.
func (j *Journal) Append(rec Record) error { return j.write(rec, true) }

// Note writes a step that may get lost with the power: whoever recovers does the same without it. It is refused, with a
// SettledError, once the operation is settled.
func (j *Journal) Note(rec Record) error { return j.write(rec, false) }

func (j *Journal) write(rec Record, durable bool) error {
	if err := checkName(rec.Op); err != nil {
		return err
	}
	rec.Format, rec.PID, rec.By, rec.At = Format, os.Getpid(), j.by, time.Now().UTC()
	path := j.path(rec.Op, rec.Role)
	fresh := !exists(path)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("journal %s: %w", rec.Step, err)
	}
	defer f.Close() // gives up the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("journal %s: lock: %w", rec.Step, err)
	}
	old, good, err := read(f, path)
	if err != nil {
		return fmt.Errorf("journal %s: %w", rec.Step, err)
	}
	switch settled := Settled(old); {
	case settled == "" || settled == rec.Step:
	case rec.Step == Committed || rec.Step == Aborted || rec.Step == Reserved || !durable:
		return &SettledError{rec.Op, settled}
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("journal %s: %w", rec.Step, err)
	}
	// A torn line of a crash is written over.
	if _, err := f.WriteAt(append(line, '\n'), good); err != nil {
		return fmt.Errorf("journal %s: %w", rec.Step, err)
	}
	if err := f.Truncate(good + int64(len(line)) + 1); err != nil {
		return fmt.Errorf("journal %s: %w", rec.Step, err)
	}
	if !durable {
		return nil
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("journal %s: %w", rec.Step, err)
	}
	if fresh {
		return j.syncDir()
	}
	return nil
}

// Load reads an operation's records; none is not an error.
func (j *Journal) Load(op string, role Role) ([]Record, error) {
	if err := checkName(op); err != nil {
		return nil, err
	}
	path := j.path(op, role)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		return nil, fmt.Errorf("read journal: lock: %w", err)
	}
	recs, _, err := read(f, path)
	return recs, err
}

// Entry names one operation file.
type Entry struct {
	Op   string
	Role Role
}

// List names all operations, sorted. Files that are not of a journal are left alone.
func (j *Journal) List() ([]Entry, error) {
	names, err := filepath.Glob(filepath.Join(j.dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var list []Entry
	for _, name := range names {
		base := strings.TrimSuffix(filepath.Base(name), ".jsonl")
		op, role, ok := strings.Cut(base, ".")
		if ok && (Role(role) == Source || Role(role) == Target || Role(role) == Local) {
			list = append(list, Entry{op, Role(role)})
		}
	}
	sort.Slice(list, func(a, b int) bool {
		if list[a].Op != list[b].Op {
			return list[a].Op < list[b].Op
		}
		return list[a].Role < list[b].Role
	})
	return list, nil
}

// Prune removes the oldest finished operations beyond keep.
func (j *Journal) Prune(keep int) error {
	list, err := j.List()
	if err != nil {
		return err
	}
	type old struct {
		Entry
		at time.Time
	}
	var finished []old
	for _, e := range list {
		recs, err := j.Load(e.Op, e.Role)
		if err != nil || !Finished(recs) {
			continue
		}
		finished = append(finished, old{e, recs[len(recs)-1].At})
	}
	sort.Slice(finished, func(a, b int) bool { return finished[a].at.Before(finished[b].at) })
	for i := 0; i < len(finished)-keep; i++ {
		if err := os.Remove(j.path(finished[i].Op, finished[i].Role)); err != nil {
			return fmt.Errorf("prune journal: %w", err)
		}
	}
	return nil
}

// Last is the newest step, "" without records.
func Last(recs []Record) Step {
	if len(recs) == 0 {
		return ""
	}
	return recs[len(recs)-1].Step
}

// Settled is committed or aborted once one of them is written, else "".
func Settled(recs []Record) Step {
	for _, r := range recs {
		if r.Step == Committed || r.Step == Aborted {
			return r.Step
		}
	}
	return ""
}

// Finished says that nothing is left to do for the operation on this node.
func Finished(recs []Record) bool {
	last := Last(recs)
	return last == Done || len(recs) > 0 && recs[0].Role == Local && Settled(recs) != ""
}

// FactsOf are the facts an operation began with; nil without records.
func FactsOf(recs []Record) *Facts {
	var facts *Facts
	for _, r := range recs {
		if r.Facts != nil {
			facts = r.Facts
		}
	}
	return facts
}

func (j *Journal) path(op string, role Role) string {
	return filepath.Join(j.dir, op+"."+string(role)+".jsonl")
}

func (j *Journal) syncDir() error {
	d, err := os.Open(j.dir)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// read parses a file and gives the offset where the next record belongs. A last line without its end is a crash
// during an append whose step was never done; anything else that does not parse is damage.
func read(f *os.File, path string) (recs []Record, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	data := make([]byte, info.Size())
	if n, err := f.ReadAt(data, 0); err != nil && n < len(data) {
		return nil, 0, err
	}
	recs, end, err = parse(data)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return recs, end, nil
}

func parse(data []byte) (recs []Record, end int64, err error) {
	for {
		i := bytes.IndexByte(data[end:], '\n')
		if i < 0 {
			return recs, end, nil
		}
		var rec Record
		if err := json.Unmarshal(data[end:end+int64(i)], &rec); err != nil {
			return nil, 0, fmt.Errorf("byte %d: %w", end, err)
		}
		if rec.Format != Format {
			return nil, 0, fmt.Errorf("byte %d: format %d, this version reads %d", end, rec.Format, Format)
		}
		recs = append(recs, rec)
		end += int64(i) + 1
	}
}

// checkName keeps operation ids from becoming paths.
func checkName(op string) error {
	if op == "" || len(op) > 64 {
		return fmt.Errorf("op %q: want 1 to 64 characters", op)
	}
	for _, c := range op {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return fmt.Errorf("op %q: character %q; want letters, digits, - and _", op, c)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
