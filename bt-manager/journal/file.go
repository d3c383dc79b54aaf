package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// File is a Log in one file. Each line is a record in its envelope:
//
//	{"format":1,"sum":"a1b2c3d4","record":{...}}
//
// sum is the CRC-32C of the record's bytes. A crash can only tear the last line; it was never acknowledged, so it is
// dropped. Any other line that does not fit its sum means that the file was damaged, and nothing is started on it.
type File struct {
	path string
	file *os.File
	size int64 // of the whole lines
	bad  error // an append that left the file in doubt; nothing is appended after it
}

const format = 1

// errFormat is no damage: another version of bt-manager wrote the line.
var errFormat = errors.New("format")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type envelope struct {
	Format int             `json:"format"`
	Sum    string          `json:"sum"`
	Record json.RawMessage `json:"record"`
}

// Open opens the file, which it makes if there is none. A second process is refused.
func Open(path string) (*File, error) {
	file, err := openLocked(path, os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		file.Close()
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &File{path: path, file: file}, nil
}

func openLocked(path string, flag int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|flag, 0o600) // specs hold secrets
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: another process has it: %w", path, err)
	}
	return file, nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Replay reads the file and cuts off a torn last line.
func (f *File) Replay(each func(record []byte) error) error {
	text, err := io.ReadAll(f.file)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	for f.size < int64(len(text)) {
		line, rest, whole := bytes.Cut(text[f.size:], []byte("\n"))
		record, err := open(line)
		if err == nil && !whole {
			err = errors.New("no end of line")
		}
		if err != nil && len(rest) == 0 && !errors.Is(err, errFormat) {
			slog.Warn("journal: last record was torn by a crash and is dropped", "file", f.path, "byte", f.size, "err", err)
			break
		}
		if err != nil {
			return fmt.Errorf("journal %s is damaged at byte %d: %w", f.path, f.size, err)
		}
		if err := each(record); err != nil {
			return fmt.Errorf("journal %s: record at byte %d: %w", f.path, f.size, err)
		}
		f.size += int64(len(line)) + 1
	}
	if f.size < int64(len(text)) {
		return f.truncate()
	}
	return nil
}

// open takes the record out of its envelope.
func open(line []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, err
	}
	if e.Format != format {
		return nil, fmt.Errorf("%w %d, this version reads %d", errFormat, e.Format, format)
	}
	if sum := sumOf(e.Record); sum != e.Sum {
		return nil, fmt.Errorf("sum is %s, the record's is %s", e.Sum, sum)
	}
	return e.Record, nil
}

func sumOf(record []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(record, castagnoli)) }

// seal puts the record into its envelope, one line.
func seal(record []byte) ([]byte, error) {
	if !json.Valid(record) || bytes.ContainsAny(record, "\n") {
		return nil, errors.New("the record is no JSON value in one line")
	}
	return fmt.Appendf(nil, `{"format":%d,"sum":"%s","record":%s}`+"\n", format, sumOf(record), record), nil
}

// Append writes one line and waits until it is on the disk.
func (f *File) Append(record []byte) error {
	if f.bad != nil {
		return fmt.Errorf("append to journal: closed by an earlier error: %w", f.bad)
	}
	line, err := seal(record)
	if err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	if _, err := f.file.WriteAt(line, f.size); err != nil {
		f.bad = f.truncate() // a full disk: take the half line back and go on
		return fmt.Errorf("append to journal: %w", errors.Join(err, f.bad))
	}
	if err := f.file.Sync(); err != nil {
		f.bad = err // the kernel may have dropped the pages: what is on the disk is unknown
		return fmt.Errorf("append to journal: %w", err)
	}
	f.size += int64(len(line))
	return nil
}

// Rewrite writes a new file, locked before it has the name, and lets it take the old one's place.
func (f *File) Rewrite(record []byte) error {
	line, err := seal(record)
	if err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	file, err := openLocked(f.path+".new", os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	_, err = file.Write(line)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(f.path+".new", f.path)
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("rewrite journal: %w", err)
	}
	f.file.Close()
	f.file, f.size = file, int64(len(line))
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		f.bad = err // after a crash the old file could be there again, without what is appended now
		return fmt.Errorf("rewrite journal: %w", err)
	}
	return nil
}

func (f *File) truncate() error {
	if err := f.file.Truncate(f.size); err != nil {
		return fmt.Errorf("truncate journal: %w", err)
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("truncate journal: %w", err)
	}
	return nil
}

// Close gives the file free for another process.
func (f *File) Close() error { return f.file.Close() }
