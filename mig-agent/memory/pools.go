package memory

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Pools are what the target has of the memory of a replica that will come: a file for each process. They belong on the
// file system of the image folder, for they become part of the image.
type Pools struct {
	dir   string
	most  int64 // bytes of all of them
	files []*poolFile
}

type poolFile struct {
	pool
	file *os.File
	mem  []byte // the file, mapped
}

// NewPools keeps pools in a folder of its own, of so many bytes at most.
func NewPools(dir string, most int64) *Pools { return &Pools{dir: dir, most: most} }

// Close forgets all pools.
func (p *Pools) Close() error {
	var errs []error
	for _, f := range p.files {
		if f != nil {
			errs = append(errs, f.close())
		}
	}
	p.files = nil
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

// Apply takes one round and gives how many bytes of memory it brought.
func (p *Pools) Apply(r io.Reader) (int64, error) {
	n, err := p.apply(bufio.NewReaderSize(r, 256<<10))
	if err != nil {
		return n, fmt.Errorf("take memory: %w", err)
	}
	return n, nil
}

func (p *Pools) apply(r *bufio.Reader) (bytes int64, err error) {
	var f *poolFile
	for {
		word, err := r.ReadByte()
		if err != nil {
			return bytes, noEOF(err)
		}
		switch word {
		case wordEnd:
			return bytes, nil
		case wordNew:
			if f, err = nil, p.Close(); err != nil {
				return bytes, err
			}
		case wordPool:
			if f, err = p.open(r); err != nil {
				return bytes, err
			}
		case wordPages:
			if f == nil {
				return bytes, malformed("pages before a pool")
			}
			n, err := f.take(r)
			bytes += n
			if err != nil {
				return bytes, err
			}
		default:
			return bytes, malformed("word %q", word)
		}
	}
}

// open begins or enlarges the pool that is named.
func (p *Pools) open(r *bufio.Reader) (*poolFile, error) {
	n, err := number(r, "pool", maxPools-1)
	if err != nil {
		return nil, err
	}
	var is pool
	if is.gap, err = number(r, "gap", maxPages); err != nil {
		return nil, err
	}
	if is.pages, err = number(r, "pages", maxPages); err != nil {
		return nil, err
	}
	switch {
	case n > len(p.files):
		return nil, malformed("pool %d comes after %d pools", n, len(p.files))
	case n == len(p.files):
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return nil, err
		}
		file, err := os.OpenFile(filepath.Join(p.dir, fmt.Sprint(n)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, &poolFile{pool: pool{gap: is.gap}, file: file})
	case p.files[n] == nil:
		return nil, malformed("pool %d is part of the image already", n)
	}
	f := p.files[n]
	if is.gap != f.gap || is.pages < f.pages {
		return nil, malformed("pool %d of %d pages after %d becomes one of %d after %d", n, f.pages, f.gap, is.pages, is.gap)
	}
	room := p.most - int64(is.gap+is.pages)*PageSize
	for _, other := range p.files {
		if other != nil && other != f {
			room -= int64(len(other.mem))
		}
	}
	if room < 0 {
		return nil, fmt.Errorf("no room for pool %d: it is over the limit of %d bytes by %d", n, p.most, -room)
	}
	return f, f.grow(is.pages)
}

// grow reserves room first: a page of a mapped file that has none would end this process.
func (f *poolFile) grow(pages int) error {
	if pages == f.pages && f.mem != nil {
		return nil
	}
	size := int64(f.gap+pages) * PageSize
	if size == 0 {
		return nil
	}
	if err := unix.Fallocate(int(f.file.Fd()), 0, 0, size); err != nil {
		return fmt.Errorf("room for %d MiB of memory: %w", size>>20, err)
	}
	if err := f.unmap(); err != nil {
		return err
	}
	mem, err := unix.Mmap(int(f.file.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map pool: %w", err)
	}
	f.mem, f.pages = mem, pages
	return nil
}

func (f *poolFile) unmap() error {
	if f.mem == nil {
		return nil
	}
	err := unix.Munmap(f.mem)
	f.mem = nil
	return err
}

func (f *poolFile) close() error { return errors.Join(f.unmap(), f.file.Close()) }

// take fills a run of pages.
func (f *poolFile) take(r *bufio.Reader) (int64, error) {
	at, err := number(r, "position", maxPages)
	if err != nil {
		return 0, err
	}
	count, err := number(r, "count", maxRun)
	if err != nil {
		return 0, err
	}
	if count == 0 || at+count > f.pages {
		return 0, malformed("pages %d to %d of a pool of %d", at, at+count, f.pages)
	}
	n, err := io.ReadFull(r, f.mem[(f.gap+at)*PageSize:][:count*PageSize])
	if err != nil {
		return int64(n), noEOF(err)
	}
	return int64(n), nil
}

// ReadCheckpoint writes the image that WriteCheckpoint sends into a folder. Pools that no file was made of are gone
// afterwards.
func (p *Pools) ReadCheckpoint(r io.Reader, dir string) error {
	err := p.readCheckpoint(bufio.NewReaderSize(r, 256<<10), dir)
	if err == nil {
		err = p.Close()
	}
	if err != nil {
		return fmt.Errorf("take checkpoint: %w", err)
	}
	return nil
}

func (p *Pools) readCheckpoint(r *bufio.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for range maxFiles {
		word, err := r.ReadByte()
		if err != nil {
			return noEOF(err)
		}
		switch word {
		case wordEnd:
			return nil
		case wordFile:
			n, err := number(r, "length of a name", maxName)
			if err != nil {
				return err
			}
			name := make([]byte, n)
			if _, err := io.ReadFull(r, name); err != nil {
				return noEOF(err)
			}
			if !plainName(string(name)) {
				return malformed("file %q is not part of a checkpoint", name)
			}
			if err := p.readFile(r, filepath.Join(dir, string(name))); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		default:
			return malformed("word %q", word)
		}
	}
	return malformed("more than %d files", maxFiles)
}

// readFile makes one file of the image.
func (p *Pools) readFile(r *bufio.Reader, path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	f, size, err := p.fill(r, &poolFile{file: file})
	if err == nil {
		err = f.file.Truncate(size)
	}
	if err = errors.Join(err, f.close()); err != nil {
		return err
	}
	if f.file.Name() != path { // a pool
		return os.Rename(f.file.Name(), path)
	}
	return nil
}

// fill gives the file that the image's is in the end, which may be another than it began with, and its size.
func (p *Pools) fill(r *bufio.Reader, f *poolFile) (_ *poolFile, size int64, err error) {
	for {
		word, err := r.ReadByte()
		if err != nil {
			return f, size, noEOF(err)
		}
		var n int64
		switch word {
		case wordClose:
			return f, size, nil
		case wordPool:
			f, err = p.become(r, f, size)
		case wordCopy:
			n, err = f.copyPages(r, size)
		case wordBytes:
			n, err = f.takeBytes(r, size)
		default:
			err = malformed("word %q", word)
		}
		if err != nil {
			return f, size, err
		}
		size += n
	}
}

// become turns the pool that is named into the file f, of which there are size bytes so far.
func (p *Pools) become(r *bufio.Reader, f *poolFile, size int64) (*poolFile, error) {
	n, err := number(r, "pool", maxPools-1)
	if err != nil {
		return f, err
	}
	if f.mem != nil || n >= len(p.files) || p.files[n] == nil || p.files[n].mem == nil {
		return f, malformed("pool %d is not here", n)
	}
	into := p.files[n]
	if size > int64(len(into.mem)) {
		return f, malformed("pool %d is smaller than the %d bytes before it", n, size)
	}
	if _, err := f.file.ReadAt(into.mem[:size], 0); err != nil {
		return f, err
	}
	p.files[n] = nil
	return into, f.close()
}

func (f *poolFile) copyPages(r *bufio.Reader, size int64) (int64, error) {
	from, err := number(r, "page", maxPages)
	if err != nil {
		return 0, err
	}
	count, err := number(r, "count", maxRun)
	if err != nil {
		return 0, err
	}
	if size%PageSize != 0 || count == 0 || from+count > f.pages || !f.has(from, int(size/PageSize)) {
		return 0, malformed("pages %d to %d of a pool of %d for byte %d", from, from+count, f.pages, size)
	}
	return int64(copy(f.mem[size:], f.mem[(f.gap+from)*PageSize:][:count*PageSize])), nil // towards the beginning
}

func (f *poolFile) takeBytes(r *bufio.Reader, size int64) (int64, error) {
	count, err := number(r, "count", maxRun*PageSize)
	if err != nil {
		return 0, err
	}
	n, err := io.CopyN(io.NewOffsetWriter(f.file, size), r, int64(count))
	if err != nil {
		return n, noEOF(err)
	}
	return n, nil
}
