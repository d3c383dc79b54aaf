package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

const (
	// A segment of the log has its size from the beginning. The libraries' 64 MiB suit servers; here a snapshot comes
	// before a few MiB are full.
	segmentBytes = 4 << 20
	// sumAfter so many entries the machine is summed up in a snapshot, and all but the newest trailing are dropped: a
	// manager that was away for less than those gets entries, one that was away for longer the whole sum.
	sumAfter = 8192
	trailing = 2048
	kept     = 2 // snapshots
)

// store is the folder of one manager's journal:
//
//	lock         held by the process that has it open
//	log/         entries and votes (raft-wal)
//	stored       how far log was stored
//	snapshots/   sums
//
// The libraries make files that everybody may read, and specs hold secrets: so the folder itself lets nobody in.
type store struct {
	lock  *os.File
	log   *entries
	meta  *metadb.BoltMetaDB // of log, which does not close it
	snaps *raft.FileSnapshotStore
	fresh bool   // nothing was ever stored
	life  string // of this journal
}

// lifeKey is where a journal keeps its life: beside its vote, so that none survives the other.
var lifeKey = []byte("Life")

// openStore opens the folder and reads every entry once: what is damaged is named before anything is decided on it.
func openStore(dir string, log *logger) (s *store, err error) {
	s = &store{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o700); err != nil {
		return s, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return s, err
	}
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return s, err
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return s, fmt.Errorf("another process has it: %w", err)
	}
	s.meta = &metadb.BoltMetaDB{}
	w, err := wal.Open(filepath.Join(dir, "log"), wal.WithMetaStore(s.meta), wal.WithSegmentSize(segmentBytes), wal.WithLogger(log))
	if err != nil {
		return s, err
	}
	s.log = &entries{WAL: w}
	if s.snaps, err = raft.NewFileSnapshotStoreWithLogger(dir, kept, log); err != nil {
		return s, err
	}
	known, err := raft.HasExistingState(s.log, s.log, s.snaps)
	if err != nil {
		return s, err
	}
	s.fresh = !known
	if err := s.log.openMark(filepath.Join(dir, markFile), s.fresh); err != nil {
		return s, err
	}
	if err := s.name(); err != nil {
		return s, err
	}
	return s, s.check()
}

// name gives a journal that begins its life.
func (s *store) name() error {
	life, err := s.log.Get(lifeKey)
	if err == nil && len(life) == 0 {
		life = []byte(rand.Text())
		err = s.log.Set(lifeKey, life)
	}
	if err != nil {
		return fmt.Errorf("life: %w", err)
	}
	s.life = string(life)
	return nil
}

func (s *store) check() error {
	first, err := s.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.log.LastIndex()
	if err != nil {
		return err
	}
	for i := first; i <= last && last > 0; i++ {
		var l raft.Log
		if err := s.log.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if l.Index != i {
			return fmt.Errorf("entry %d: damaged: it says it is %d", i, l.Index)
		}
		if l.Type != raft.LogCommand {
			continue
		}
		if _, _, err := open(l.Data); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return s.log.missing()
}

func (s *store) close() error {
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	if s.meta != nil {
		err = errors.Join(err, s.meta.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
