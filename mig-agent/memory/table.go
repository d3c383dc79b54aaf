package memory

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Table says what the target has, for whoever follows the dump. The helper writes it after each round, the agent reads
// it before the freeze.
type Table struct {
	seed  uint64
	pools []*known
}

// known is one pool, to be found by content.
type known struct {
	pool
	sums  []sum
	slots []uint32 // hash table with open addressing: pool page + 1, 0 for none
	taken bool     // a file of the image is made of it
}

const tableMagic = "NSMT\x01"

// WriteTable keeps what the target has in a file.
func (s *Source) WriteTable(path string) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("table of memory: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	w.WriteString(tableMagic)
	binary.Write(w, binary.LittleEndian, s.seed)
	putWord(w, wordPool, len(s.pools))
	for _, p := range s.pools {
		putWord(w, wordPool, p.gap, p.pages)
		var b [16]byte
		for _, h := range p.sums {
			binary.LittleEndian.PutUint64(b[:], h.Lo)
			binary.LittleEndian.PutUint64(b[8:], h.Hi)
			w.Write(b[:])
		}
	}
	if err = errors.Join(w.Flush(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("table of memory: %w", err)
	}
	return nil
}

// ReadTable reads one.
func ReadTable(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("table of memory: %w", err)
	}
	defer f.Close()
	t, err := parseTable(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("table of memory: %s: %w", path, err)
	}
	return t, nil
}

func parseTable(r *bufio.Reader) (*Table, error) {
	head := make([]byte, len(tableMagic)+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, noEOF(err)
	}
	if string(head[:len(tableMagic)]) != tableMagic {
		return nil, malformed("it begins with %q", head[:len(tableMagic)])
	}
	t := &Table{seed: binary.LittleEndian.Uint64(head[len(tableMagic):])}
	if err := expect(r, wordPool); err != nil {
		return nil, err
	}
	n, err := number(r, "pools", maxPools)
	if err != nil {
		return nil, err
	}
	for range n {
		if err := expect(r, wordPool); err != nil {
			return nil, err
		}
		k := &known{}
		if k.gap, err = number(r, "gap", maxPages); err != nil {
			return nil, err
		}
		if k.pages, err = number(r, "pages", maxPages); err != nil {
			return nil, err
		}
		var b [16]byte
		for range k.pages {
			if _, err := io.ReadFull(r, b[:]); err != nil {
				return nil, noEOF(err)
			}
			k.sums = append(k.sums, sum{Lo: binary.LittleEndian.Uint64(b[:]), Hi: binary.LittleEndian.Uint64(b[8:])})
		}
		k.index()
		t.pools = append(t.pools, k)
	}
	return t, nil
}

func expect(r io.ByteReader, word byte) error {
	b, err := r.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if b != word {
		return malformed("word %q, want %q", b, word)
	}
	return nil
}

// index makes the hash table, half full at most. Pages with the same content are in it once, the last: it stays longest.
func (k *known) index() {
	size := 16
	for size < 2*len(k.sums) {
		size *= 2
	}
	k.slots = make([]uint32, size)
	for i, h := range k.sums {
		*k.slot(h) = uint32(i + 1)
	}
}

// slot is where a content is, or would be.
func (k *known) slot(h sum) *uint32 {
	mask := uint64(len(k.slots) - 1)
	for at := h.Lo & mask; ; at = (at + 1) & mask {
		if s := &k.slots[at]; *s == 0 || k.sums[*s-1] == h {
			return s
		}
	}
}

// find gives a pool page of this content that is still there when image page i is due: next if it is one, for pages that
// follow each other cost least to say.
func (k *known) find(h sum, i, next int) (int, bool) {
	if k.has(next, i) && k.sums[next] == h {
		return next, true
	}
	at := int(*k.slot(h)) - 1
	return at, at >= 0 && k.has(at, i)
}

// take finds a pool that has a content and gives it away; -1: none has.
func (t *Table) take(h sum) int {
	for n, k := range t.pools {
		if !k.taken && *k.slot(h) != 0 {
			k.taken = true
			return n
		}
	}
	return -1
}
