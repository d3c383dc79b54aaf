// Package data carries folders from one switch to another: the volumes of a service and the writable layer of its container.
//
// It reads a folder while the service goes on writing into it (WriteFull), then, inside the freeze, only what has changed since (WriteDelta),
// and makes another folder equal (Apply). It writes nothing but the stream and that folder, knows no network and no Docker, and is told by
// mig-agent's helper. Both sides never leave their root: no "..", no symbolic link is ever followed, whatever the stream or the service does.
//
// # Stream
//
// Eight bytes "nstree" 0 FORMAT, then records. Numbers are big-endian.
//
//	kind (1)  length (4)  payload (length)  checksum (4)
//
// The checksum is CRC-32C over everything from the first byte of the stream to the end of this payload, so nothing damaged is applied.
// Strings are a 4-byte length and bytes; paths are relative to the root, "." being the root.
//
//	dir     path, emptied (1)          a folder; emptied: with nothing in it
//	file    path, fresh (1)            a regular file; fresh: a new one, else the one that is there is changed
//	data    offset (8), bytes          in the last file
//	zero    offset (8), length (8)     likewise, as a hole
//	symlink path, target
//	node    path, mode (4), device (8) FIFO, socket or device
//	link    path, first                another name of a file sent before
//	remove  path                       with all below
//	meta    path, mode (4), uid (4), gid (4), size (8), mtime ns (8), count (4) of (name, value) xattrs
//	end     number of records (8)
//
// A file's data is followed by its meta, which sets its size. A folder's meta comes after everything inside it.
package data

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	magic     = "nstree\x00\x01" // the last byte is the format number
	blockSize = 256 << 10        // bytes; the unit of comparing and sending
	maxRecord = 1 << 20          // bytes; a path and all xattrs of a file fit, a longer record is damage
)

type kind byte

const (
	kindDir kind = 1 + iota
	kindFile
	kindData
	kindZero
	kindSymlink
	kindNode
	kindLink
	kindRemove
	kindMeta
	kindEnd
)

// Stats is what a stream carried.
type Stats struct {
	Records int64
	Content int64 // bytes of file content
	Stream  int64 // bytes of the whole stream
}

// writer frames records. The first error stays.
type writer struct {
	w     *bufio.Writer
	sum   uint32
	stats Stats
	err   error
}

func newWriter(w io.Writer) *writer {
	s := &writer{w: bufio.NewWriterSize(w, blockSize)}
	s.write([]byte(magic))
	return s
}

func (s *writer) write(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
		s.sum = crc32.Update(s.sum, castagnoli, b)
		s.stats.Stream += int64(len(b))
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record writes one; the parts together are its payload.
func (s *writer) record(k kind, parts ...[]byte) {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	if length > maxRecord && s.err == nil {
		s.err = fmt.Errorf("record of %d bytes: more than %d", length, maxRecord)
	}
	s.write(binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(length)))
	for _, p := range parts {
		s.write(p)
	}
	s.write(binary.BigEndian.AppendUint32(nil, s.sum))
	s.stats.Records++
}

// end writes the end marker; without it the other side takes the stream for cut off.
func (s *writer) end() error {
	s.record(kindEnd, appendInt(nil, s.stats.Records))
	if s.err == nil {
		s.err = s.w.Flush()
	}
	return s.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendUint32(b []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(b, n) }

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

var (
	errDamaged = errors.New("checksum differs")
	errPayload = errors.New("malformed record")
)

// reader takes records apart and checks them.
type reader struct {
	r     *bufio.Reader
	sum   uint32
	stats Stats
	buf   []byte
}

func newReader(r io.Reader) (*reader, error) {
	s := &reader{r: bufio.NewReaderSize(r, blockSize), buf: make([]byte, maxRecord)}
	b, err := s.read(len(magic))
	if err != nil {
		return nil, err
	}
	if string(b) != magic {
		return nil, fmt.Errorf("header %q, want %q: not a tree stream of this format", b, magic)
	}
	return s, nil
}

func (s *reader) read(n int) ([]byte, error) {
	b := s.buf[:n]
	got, err := io.ReadFull(s.r, b)
	s.stats.Stream += int64(got)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // only the end record ends a stream
	}
	s.sum = crc32.Update(s.sum, castagnoli, b[:got])
	return b, err
}

// next gives a record whose checksum is right. The payload is valid until the next call.
func (s *reader) next() (kind, *payload, error) {
	head, err := s.read(5)
	if err != nil {
		return 0, nil, err
	}
	k, length := kind(head[0]), binary.BigEndian.Uint32(head[1:])
	if length > maxRecord {
		return 0, nil, fmt.Errorf("%w: record of %d bytes", errDamaged, length)
	}
	b, err := s.read(int(length))
	if err != nil {
		return 0, nil, err
	}
	want := s.sum
	var tail [4]byte
	got, err := io.ReadFull(s.r, tail[:])
	s.stats.Stream += int64(got)
	if err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	s.sum = crc32.Update(s.sum, castagnoli, tail[:])
	if binary.BigEndian.Uint32(tail[:]) != want {
		return 0, nil, errDamaged
	}
	s.stats.Records++
	return k, &payload{b: b}, nil
}

// payload is taken apart from the front. What is missing reads as zero; done tells.
type payload struct {
	b   []byte
	bad bool
}

func (p *payload) take(n int) []byte {
	if n > len(p.b) {
		p.b, p.bad = nil, true
		return make([]byte, min(n, 8))
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *payload) number() uint32 { return binary.BigEndian.Uint32(p.take(4)) }
func (p *payload) int() int64     { return int64(binary.BigEndian.Uint64(p.take(8))) }
func (p *payload) bool() bool     { return p.take(1)[0] != 0 }
func (p *payload) rest() []byte   { return p.take(len(p.b)) }

func (p *payload) string() string {
	n := p.number()
	if uint64(n) > uint64(len(p.b)) {
		p.b, p.bad = nil, true
		return ""
	}
	return string(p.take(int(n)))
}

func (p *payload) done() error {
	if p.bad || len(p.b) > 0 {
		return errPayload
	}
	return nil
}
