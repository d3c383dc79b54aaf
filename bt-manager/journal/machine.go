package journal

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// machine is a Machine as the library wants it.
type machine struct {
	Machine
	fail   func(error)
	broken atomic.Bool // an entry could not be applied: none after it may be
}

func (m *machine) broke(err error) error {
	m.broken.Store(true)
	m.fail(err)
	return err
}

// Apply implements raft.FSM.
func (m *machine) Apply(l *raft.Log) any {
	if m.broken.Load() {
		return fmt.Errorf("entry %d follows one that cannot be applied", l.Index)
	}
	term, records, err := open(l.Data)
	if err != nil {
		return m.broke(fmt.Errorf("entry %d: %w", l.Index, err))
	}
	if term != l.Term { // decided under another leader
		return ErrDeposed
	}
	if err := m.Machine.Apply(records); err != nil {
		return m.broke(fmt.Errorf("entry %d: %w", l.Index, err))
	}
	return nil
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.broken.Load() {
		return nil, fmt.Errorf("no sum of a machine that has stopped")
	}
	sum, err := m.Machine.Sum()
	if err != nil {
		return nil, fmt.Errorf("sum up: %w", err)
	}
	entry, err := seal(0, sum)
	return snapshot(entry), err
}

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	entry, err := io.ReadAll(r)
	if err != nil {
		return m.broke(fmt.Errorf("read sum: %w", err))
	}
	sum, err := openSum(entry)
	if err == nil {
		err = m.Machine.Restore(sum)
	}
	if err != nil {
		return m.broke(fmt.Errorf("sum: %w", err))
	}
	return nil
}

type snapshot []byte

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(to raft.SnapshotSink) error {
	if _, err := to.Write(s); err != nil {
		_ = to.Cancel() // the error of the writing says more
		return err
	}
	return to.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}
