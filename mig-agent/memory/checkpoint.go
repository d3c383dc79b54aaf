package memory

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Words of the stream of a checkpoint. A file that grows while it is sent has no size; its pieces come until its end.
//
//	file   LENGTH NAME         a file begins
//	pool   NUMBER              the file is made of this pool, in place; what was said of it before is its beginning
//	copy   PAGE COUNT          the next COUNT pages are those of the pool from PAGE on
//	bytes  COUNT BYTES         the next bytes
//	close                      the file ends
//	end
const (
	wordFile  = 'f'
	wordCopy  = 'c'
	wordBytes = 'b'
	wordClose = 'e'
)

// look is how long WriteCheckpoint waits for a file to grow.
const look = time.Millisecond

// Sent says what a checkpoint took.
type Sent struct {
	Bytes   int64 // of the image
	Present int64 // of them were at the target already
}

// WriteCheckpoint sends the CRIU image in dir while it is being written, until dumped is closed and everything is sent.
// Files of pages (pages-1.img, ...) are written one after the other, each from its beginning to its end, so they can be
// followed; the others are small, and are sent when the dump is over. A nil table sends all as bytes.
func WriteCheckpoint(ctx context.Context, w *bufio.Writer, dir string, table *Table, dumped <-chan struct{}) (Sent, error) {
	f := follower{w: w, dir: dir, table: table, dumped: dumped, buf: make([]byte, maxRun*PageSize)}
	if err := f.follow(ctx); err != nil {
		return f.sent, fmt.Errorf("send checkpoint: %w", err)
	}
	return f.sent, nil
}

type follower struct {
	w      *bufio.Writer
	dir    string
	table  *Table
	dumped <-chan struct{}
	buf    []byte
	sent   Sent
}

func (f *follower) follow(ctx context.Context) error {
	done := map[string]bool{}
	for over := false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.dumped:
			over = true
		default:
		}
		names, err := f.pageFiles(done)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := f.pages(ctx, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			done[name] = true
		}
		if over {
			break
		}
		if len(names) == 0 {
			time.Sleep(look)
		}
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if done[e.Name()] || !e.Type().IsRegular() { // CRIU's link to the image before: the target makes its own
			continue
		}
		if err := f.plain(e.Name()); err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	f.w.WriteByte(wordEnd)
	return f.w.Flush()
}

// pageFiles lists those that are there and not sent, in the order in which they are written.
func (f *follower) pageFiles(done map[string]bool) ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if isPages(e.Name()) && !done[e.Name()] {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { // pages-2 before pages-10
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names, nil
}

func isPages(name string) bool {
	return strings.HasPrefix(name, "pages-") && strings.HasSuffix(name, ".img")
}

// ended says whether a file of pages grows no more: the dump is over, or the next one has begun.
func (f *follower) ended(name string) bool {
	select {
	case <-f.dumped:
		return true
	default:
	}
	later, err := f.pageFiles(map[string]bool{name: true})
	return err == nil && slices.ContainsFunc(later, func(other string) bool {
		return len(other) > len(name) || len(other) == len(name) && other > name
	})
}

func (f *follower) pages(ctx context.Context, name string) error {
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return err
	}
	defer file.Close()
	f.begin(name)
	p := pageWriter{follower: f}
	for at := int64(0); ; {
		over := f.ended(name) // before the read: what is written until then is there
		n, err := file.ReadAt(f.buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !over {
			n -= n % PageSize
		}
		if err := p.write(f.buf[:n]); err != nil {
			return err
		}
		at += int64(n)
		f.sent.Bytes += int64(n)
		if n > 0 {
			continue
		}
		if over {
			return f.w.WriteByte(wordClose)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(look)
	}
}

func (f *follower) begin(name string) {
	putWord(f.w, wordFile, len(name))
	f.w.WriteString(name)
}

func (f *follower) bytes(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	putWord(f.w, wordBytes, len(b))
	_, err := f.w.Write(b)
	return err
}

func (f *follower) plain(name string) error {
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return err
	}
	defer file.Close()
	f.begin(name)
	for {
		n, err := file.Read(f.buf)
		f.sent.Bytes += int64(n)
		if err := f.bytes(f.buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return f.w.WriteByte(wordClose)
		}
		if err != nil {
			return err
		}
	}
}

// pageWriter says one file of pages, as references where it can.
type pageWriter struct {
	*follower
	known *known // nil: none yet
	image int    // page that is due
	next  int    // pool page after the last one referred to
}

func (p *pageWriter) write(b []byte) error {
	if p.known == nil {
		p.choose(b)
	}
	if p.known == nil {
		p.image += len(b) / PageSize
		return p.bytes(b)
	}
	said, from, count := 0, 0, 0 // bytes of b that are said; a run of pool pages after them
	refer := func() {
		if count > 0 {
			putWord(p.w, wordCopy, from, count)
			said += count * PageSize
			p.sent.Present += int64(count) * PageSize
			count = 0
		}
	}
	for at := 0; at+PageSize <= len(b); at += PageSize {
		k, ok := p.known.find(sumOf(b[at:at+PageSize], p.table.seed), p.image, p.next)
		if !ok || k != from+count {
			refer()
		}
		if ok {
			if count == 0 {
				if err := p.bytes(b[said:at]); err != nil {
					return err
				}
				said, from = at, k
			}
			count++
			p.next = k + 1
		}
		p.image++
	}
	refer()
	return p.bytes(b[said:])
}

// choose takes the pool of the first page that any has.
func (p *pageWriter) choose(b []byte) {
	if p.table == nil {
		return
	}
	for at := 0; at+PageSize <= len(b); at += PageSize {
		if n := p.table.take(sumOf(b[at:at+PageSize], p.table.seed)); n >= 0 {
			putWord(p.w, wordPool, n)
			p.known = p.table.pools[n]
			return
		}
	}
}

// Files of an image are few and their names short.
const (
	maxFiles = 1 << 20
	maxName  = 255
)

// plainName says whether a name is one inside the image folder.
func plainName(name string) bool {
	return name != "" && name == filepath.Base(name) && !strings.HasPrefix(name, ".") && fs.ValidPath(name)
}
