package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// entries is the log with a mark beside it: how far it was stored, for all that the process knew. raft-wal takes damage to
// the newest entries for a write that a power cut has torn, and drops them; the mark tells that they were stored. It is
// written behind the log and not waited for, so after a power cut it may be older than the log, never newer.
type entries struct {
	*wal.WAL
	mark *os.File // index, then the CRC-32C of its bytes
}

const markFile = "stored"

// openMark opens the mark of a log; the mark of a journal that begins is of another one.
func (e *entries) openMark(path string, fresh bool) (err error) {
	if e.mark, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil || !fresh {
		return err
	}
	return e.lower(0)
}

// missing says what the log lacks that was stored.
func (e *entries) missing() error {
	b := make([]byte, 12)
	if n, _ := e.mark.ReadAt(b, 0); n < len(b) || crc32.Checksum(b[:8], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return nil // never written, or itself torn: then it tells nothing
	}
	last, err := e.LastIndex()
	if stored := binary.LittleEndian.Uint64(b); err == nil && last < stored {
		err = fmt.Errorf("entry %d: damaged, and what follows it: entry %d was stored; without the file %s the journal goes on with what is left", last+1, stored, e.mark.Name())
	}
	return err
}

func (e *entries) write(stored uint64) error {
	b := binary.LittleEndian.AppendUint64(nil, stored)
	_, err := e.mark.WriteAt(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), 0)
	return err
}

// lower takes the mark back, and returns when that lasts.
func (e *entries) lower(stored uint64) error {
	return errors.Join(e.write(stored), e.mark.Sync())
}

// StoreLog implements raft.LogStore.
func (e *entries) StoreLog(l *raft.Log) error { return e.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (e *entries) StoreLogs(list []*raft.Log) error {
	err := e.WAL.StoreLogs(list)
	if err == nil && len(list) > 0 {
		err = e.write(list[len(list)-1].Index)
	}
	return err
}

// DeleteRange implements raft.LogStore. Newest entries go when another leader has others in their place, or a sum in the
// place of all.
func (e *entries) DeleteRange(from, to uint64) error {
	first, err := e.FirstIndex()
	if err != nil {
		return err
	}
	last, err := e.LastIndex()
	if err != nil {
		return err
	}
	if to >= last {
		left := uint64(0)
		if from > first {
			left = from - 1
		}
		if err := e.lower(left); err != nil {
			return err
		}
	}
	return e.WAL.DeleteRange(from, to)
}

// Close ends both.
func (e *entries) Close() error {
	err := e.WAL.Close()
	if e.mark != nil {
		err = errors.Join(err, e.mark.Close())
	}
	return err
}
