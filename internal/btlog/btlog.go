// Package btlog reads and writes .btlog files, the logs of BehaviorTree.CPP 4's FileLogger2 that Groot2 opens: the XML of a
// tree, then every status change of its nodes. It reads what it is given, as far as it goes (a file that was cut off is
// good up to there), writes to the writer it is given, and is told what happened by who ticks the tree.
//
//	"BTCPP4-FileLogger2"  u8 1
//	i32 length of the XML, the XML      as xmlv4.Write gives it
//	i64 us since 1970                   when the log begins
//	{u48 us since then, u16 uid, u8 status} ...
//
// All numbers are little endian.
package btlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	magic      = "BTCPP4-FileLogger2"
	version    = 1
	recordSize = 9
	maxOffset  = 1<<48 - 1 // us, 8.9 years
)

// Header gives what a file begins with.
func Header(xml []byte, began time.Time) []byte {
	b := append([]byte(magic), version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(xml)))
	b = append(b, xml...)
	return binary.LittleEndian.AppendUint64(b, uint64(began.UnixMicro()))
}

// AppendRecord adds one status change, at a time since the beginning. One from before it counts as the beginning.
func AppendRecord(b []byte, since time.Duration, uid uint16, st Status) []byte {
	us := uint64(min(max(0, since.Microseconds()), maxOffset))
	b = binary.LittleEndian.AppendUint64(b, us)[:len(b)+6]
	return append(binary.LittleEndian.AppendUint16(b, uid), byte(st))
}

// Change is one status change.
type Change struct {
	Since time.Duration // after the log began
	Node  *Node
	From  Status
	To    Status
}

// Reader reads a log.
type Reader struct {
	Tree  *Tree
	Began time.Time

	in  *bufio.Reader
	at  int64 // bytes read
	now []Status
}

// NewReader reads what a log begins with. Errors name the byte.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReader(in)}
	head, err := r.take(len(magic)+1, "the head")
	if err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("byte 0: %q, want %q: no .btlog file", head[:len(magic)], magic)
	}
	if v := head[len(magic)]; v != version {
		return nil, fmt.Errorf("byte %d: version %d, want %d", len(magic), v, version)
	}
	size, err := r.take(4, "the length of the XML")
	if err != nil {
		return nil, err
	}
	n := int32(binary.LittleEndian.Uint32(size))
	if n < 0 || n > MaxXML {
		return nil, fmt.Errorf("byte %d: %d bytes of XML, up to %d are allowed", r.at-4, n, MaxXML)
	}
	start := r.at
	text, err := r.take(int(n), "the XML")
	if err != nil {
		return nil, err
	}
	if r.Tree, err = ParseTree(text); err != nil {
		return nil, fmt.Errorf("byte %d: %w", start, err)
	}
	began, err := r.take(8, "the time")
	if err != nil {
		return nil, err
	}
	r.Began = time.UnixMicro(int64(binary.LittleEndian.Uint64(began)))
	r.now = make([]Status, len(r.Tree.Nodes))
	return r, nil
}

// take reads so many bytes. Memory grows with what is there, not with what is promised.
func (r *Reader) take(n int, what string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.in, int64(n)))
	if err != nil {
		return nil, fmt.Errorf("byte %d: %s: %w", r.at+int64(len(b)), what, err)
	}
	if len(b) < n {
		return nil, fmt.Errorf("byte %d: the file ends inside of %s", r.at+int64(len(b)), what)
	}
	r.at += int64(n)
	return b, nil
}

// ErrCut is the end of a log inside of a record: whoever wrote it died there. What came before is whole.
var ErrCut = errors.New("the log ends inside of a record: its writer was cut off")

// Next gives the next status change, io.EOF at the end.
func (r *Reader) Next() (Change, error) {
	var b [recordSize]byte
	n, err := io.ReadFull(r.in, b[:])
	switch {
	case err == io.EOF:
		return Change{}, io.EOF
	case err == io.ErrUnexpectedEOF:
		return Change{}, fmt.Errorf("byte %d: %w", r.at+int64(n), ErrCut)
	case err != nil:
		return Change{}, fmt.Errorf("byte %d: %w", r.at, err)
	}
	var wide [8]byte
	copy(wide[:6], b[:6])
	uid, st := binary.LittleEndian.Uint16(b[6:]), Status(b[8])
	if uid == 0 || int(uid) > len(r.now) {
		return Change{}, fmt.Errorf("byte %d: node %d, the tree has %d", r.at+6, uid, len(r.now))
	}
	if st > Skipped {
		return Change{}, fmt.Errorf("byte %d: %v, want up to %d", r.at+8, st, Skipped)
	}
	r.at += recordSize
	c := Change{Since: time.Duration(binary.LittleEndian.Uint64(wide[:])) * time.Microsecond,
		Node: &r.Tree.Nodes[uid-1], From: r.now[uid-1], To: st}
	r.now[uid-1] = st
	return c, nil
}

// Status of a node after the changes that were read.
func (r *Reader) Status(uid int) Status { return r.now[uid-1] }
