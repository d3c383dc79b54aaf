package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// WriteFull writes the whole tree, while it may still change: a file that grows is sent up to the size it had, one that vanishes is left out. The
// manifest says what was really sent.
func WriteFull(w io.Writer, root string, kind Kind) (Manifest, Stats, error) {
	s, err := write(w, root, nil, kind, true, 0)
	if err != nil {
		return nil, s.out.stats, fmt.Errorf("write tree %s: %w", root, err)
	}
	return s.now, s.out.stats, nil
}

// WritePiece is WriteFull without have and WriteDelta of a service that goes on with it, but for no more than about most bytes of content. cut says
// that there is more: the next piece follows with what this one gives. When the stream breaks, what it gives says of what the target may
// have got only in part that it has nothing, so that only this is sent again; nil: begin anew.
func WritePiece(w io.Writer, root string, have Manifest, kind Kind, most int64) (m Manifest, cut bool, stats Stats, err error) {
	s, err := write(w, root, have, kind, true, most)
	if err != nil {
		return s.unsure(have), false, s.out.stats, fmt.Errorf("write piece of %s: %w", root, err)
	}
	return s.now, s.cut, s.out.stats, nil
}

// WriteDelta writes what is different from have, the manifest of the last full or delta stream the target has applied, and gives the new
// one. A file whose attributes are as they were is not opened; of a changed one the changed blocks are sent, and of one that grew only the end.
//
// more says that the service goes on and another delta follows: what is sent is put on the disk, so that the next one need not read it again. A
// delta of a frozen service has no time for that.
func WriteDelta(w io.Writer, root string, have Manifest, kind Kind, more bool) (Manifest, Stats, error) {
	if have == nil {
		return nil, Stats{}, errors.New("write delta: no manifest to compare with")
	}
	s, err := write(w, root, have, kind, more, 0)
	if err != nil {
		return nil, s.out.stats, fmt.Errorf("write delta of %s: %w", root, err)
	}
	return s.now, s.out.stats, nil
}

// found is a path met on the walk.
type found struct {
	path string
	stat unix.Stat_t
}

type inode struct{ device, number uint64 }

// sender is one run of WriteFull or WriteDelta.
type sender struct {
	tree *tree
	out  *writer
	kind Kind
	full bool
	more bool  // a delta follows
	most int64 // bytes of content, after which only the outline of the tree is sent; 0: all
	cut  bool  // content was left out

	have, now Manifest
	sending   string           // the path that is being sent
	going     bool             // it is a file that goes on where the piece before ended
	waiting   map[string]bool  // paths whose turn has not come
	first     map[inode]string // the first path sent of it
	fresh     map[string]bool  // files sent anew: a link to the old one is void
	touched   map[string]bool  // folders whose mtime the target loses by what was sent into them
	block     []byte
	zeros     []byte // a block of them
	zeroHash  uint64 // its hash: a hole may be long
}

// write runs a sender. It is given back after an error, too.
func write(w io.Writer, root string, have Manifest, kind Kind, more bool, most int64) (*sender, error) {
	s := &sender{out: newWriter(w), kind: kind, full: have == nil, more: more, most: most, have: maps.Clone(have), now: Manifest{},
		first: map[inode]string{}, fresh: map[string]bool{}, touched: map[string]bool{}, waiting: map[string]bool{},
		block: make([]byte, blockSize), zeros: make([]byte, blockSize)}
	s.zeroHash = hash(s.zeros)
	var err error
	if s.tree, err = openTree(root); err != nil {
		return s, err
	}
	defer s.tree.close()
	return s, s.run()
}

func (s *sender) run() error {
	var all []found
	st, err := s.tree.stat(".")
	if err != nil {
		return err
	}
	all = append(all, found{".", st})
	if all, err = s.walk(all, "."); err != nil {
		return err
	}
	for _, f := range all {
		s.waiting[f.path] = true
	}
	s.removals(all)
	for _, f := range all {
		if parent := s.now[path.Dir(f.path)]; f.path != "." && !parent.folder() {
			s.keep(f.path) // the folder it was in went while we looked, and another came since
			continue
		}
		s.sending, s.going = f.path, false
		if err := s.send(f); err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		if s.out.err != nil {
			return s.out.err
		}
		delete(s.waiting, f.path)
	}
	for _, f := range slices.Backward(all) {
		if e := s.now[f.path]; e.folder() && s.touched[f.path] {
			s.meta(f.path, e)
		}
	}
	return s.out.end()
}

// unsure is what the target has after a stream that broke on its way: paths whose turn had not come are as they were.
func (s *sender) unsure(have Manifest) Manifest {
	if have == nil || s.tree == nil {
		return have
	}
	now := maps.Clone(s.now)
	for p := range s.waiting {
		if old, had := have[p]; had && p != s.sending {
			now[p] = old
		}
	}
	left := have.Unsure(now)
	if _, known := left[s.sending]; !known && s.sending != "" {
		left[s.sending] = Entry{} // it is new, and some of it may be there
	}
	if s.going {
		old := have[s.sending]
		old.rough = true
		left[s.sending] = old
	}
	return left
}

// enough says that this piece has all the content it may have.
func (s *sender) enough() bool { return s.most > 0 && s.out.stats.Content >= s.most }

// walk appends what is below dir, parents before children.
func (s *sender) walk(all []found, dir string) ([]found, error) {
	d, err := s.tree.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if isGone(err) {
		return all, nil
	}
	if err != nil {
		return all, err
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil && !isGone(err) {
		return all, err
	}
	slices.Sort(names)
	for _, n := range names {
		f := found{path: path.Join(dir, n)}
		if s.kind == Layer && staysBehind(f.path) {
			continue
		}
		if f.stat, err = s.tree.stat(f.path); isGone(err) {
			continue
		} else if err != nil {
			return all, err
		}
		all = append(all, f)
		if f.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
			if all, err = s.walk(all, f.path); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// removals tells what the target has and the source has not. The topmost path of what went is enough.
func (s *sender) removals(all []found) {
	gone := maps.Clone(s.have)
	for _, f := range all {
		delete(gone, f.path)
	}
	for _, p := range slices.Sorted(maps.Keys(gone)) {
		if _, with := gone[path.Dir(p)]; with || s.kind == Layer && gone[p].whiteout() {
			continue
		}
		s.change(kindRemove, p)
	}
}

// change writes a record that alters the folder the path is in.
func (s *sender) change(k kind, p string, more ...[]byte) {
	s.touched[path.Dir(p)] = true
	s.out.record(k, append([][]byte{appendString(nil, p)}, more...)...)
}

func (s *sender) send(f found) error {
	old, had := s.have[f.path]
	e := newEntry(&f.stat, time.Now())
	switch f.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return s.sendFolder(f.path, e, had && old.folder() && old.untouched(&f.stat))
	case unix.S_IFREG:
		return s.sendFile(f.path, &f.stat)
	}
	if s.kind == Layer && e.whiteout() {
		s.now[f.path] = e
		if !had || !old.whiteout() {
			s.change(kindRemove, f.path)
		}
		return nil
	}
	if had && old.untouched(&f.stat) {
		s.now[f.path] = old
		return nil
	}
	if f.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		err := s.tree.at(f.path, func(dir int, base string) error {
			b := make([]byte, unix.PathMax)
			n, err := unix.Readlinkat(dir, base, b)
			e.Target = string(b[:max(n, 0)])
			return err
		})
		if isGone(err) || errors.Is(err, unix.EINVAL) {
			s.keep(f.path)
			return nil
		}
		if err != nil {
			return err
		}
		s.change(kindSymlink, f.path, appendString(nil, e.Target))
	} else {
		s.change(kindNode, f.path, appendUint32(nil, e.Mode), appendInt(nil, int64(e.Device)))
	}
	s.now[f.path] = e
	s.meta(f.path, e)
	return nil
}

// keep leaves a path that vanished under our hands as the target has it; the next delta removes it.
func (s *sender) keep(p string) {
	if old, had := s.have[p]; had {
		s.now[p] = old
	}
}

func (s *sender) sendFolder(p string, e Entry, untouched bool) error {
	old, had := s.have[p]
	if untouched {
		s.now[p] = old
		return nil
	}
	d, err := s.tree.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if isGone(err) {
		s.keep(p)
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if e.Xattrs, err = xattrs(int(d.Fd())); err != nil {
		return err
	}
	if s.kind == Layer {
		if e.Opaque, err = overlayState(int(d.Fd())); err != nil {
			return err
		}
	}
	emptied := e.Opaque && !(had && old.Opaque && old.inode == e.inode) || p == "." && s.full && s.kind == Volume
	if emptied {
		maps.DeleteFunc(s.have, func(below string, _ Entry) bool { return strings.HasPrefix(below, p+"/") })
	}
	if emptied || !had || !old.folder() {
		s.change(kindDir, p, appendBool(nil, emptied))
	}
	s.now[p] = e
	s.touched[p] = true // its meta follows its content
	return nil
}

func (s *sender) sendFile(p string, st *unix.Stat_t) error {
	old, had := s.have[p]
	if first, linked := s.first[inode{st.Dev, st.Ino}]; linked && st.Nlink > 1 {
		e := newEntry(st, time.Now())
		e.Link, e.Blocks = first, nil
		if !had || old.Link != first || s.fresh[first] {
			s.change(kindLink, p, appendString(nil, first))
		}
		s.now[p] = e
		return nil
	}
	base := had && old.regular() && old.Link == ""
	if base && !old.rough && old.untouched(st) {
		s.now[p], s.first[inode{st.Dev, st.Ino}] = old, p
		return nil
	}
	if s.enough() {
		s.cut = true
		s.keep(p)
		return nil
	}
	f, err := s.tree.open(p, unix.O_RDONLY|unix.O_NONBLOCK)
	if isGone(err) {
		s.keep(p)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		s.keep(p)
		return nil
	}
	e := newEntry(st, time.Now())
	if s.more {
		// A store into a mapped page changes the file's times only if the page was clean. Clean them between looking at the times and reading, so
		// that a store behind our back shows in the next delta. It may fail on what cannot be written back, which then has no such pages.
		unix.Fdatasync(int(f.Fd()))
	} else {
		e.ctime = 0 // no time to clean in the freeze: look again next time
	}
	if e.Xattrs, err = xattrs(int(f.Fd())); err != nil {
		return err
	}
	if old.rough { // what may be behind its end must not shine through holes
		s.out.record(kindFile, appendString(nil, p), appendBool(nil, false))
		s.meta(p, old)
	}
	if !base {
		old = Entry{}
		s.change(kindFile, p, appendBool(nil, true))
		s.fresh[p] = true
	}
	if err := s.content(p, f, &e, old, base); err != nil {
		return err
	}
	s.meta(p, e)
	s.now[p], s.first[inode{st.Dev, st.Ino}] = e, p
	return nil
}

// content sends the blocks of a file that the target, which has old, lacks, and notes the hash and size of what was read.
func (s *sender) content(p string, f *os.File, e *Entry, old Entry, open bool) error {
	said := !open
	say := func(k kind, more ...[]byte) {
		if !said {
			s.out.record(kindFile, appendString(nil, p), appendBool(nil, false))
			said = true
		}
		s.out.record(k, more...)
	}
	size, hole := e.Size, int64(0)
	begun := open && old.partOf(*e)
	if e.Size = 0; begun {
		e.Size, e.Blocks, s.going = old.Size, slices.Clone(old.Blocks), true
	}
	for off := e.Size; off < size; off = e.Size {
		if s.enough() {
			s.cut, e.whole = true, size
			break
		}
		b := s.zeros[:min(blockSize, size-off)]
		zero := off+int64(len(b)) <= hole
		if !zero {
			n, err := f.ReadAt(s.block[:len(b)], off)
			if err != nil && err != io.EOF {
				return err
			}
			if n == 0 {
				break // cut off meanwhile
			}
			b = s.block[:n]
			if zero = bytes.Equal(b, s.zeros[:n]); zero {
				hole = nextData(f, off, size)
			}
		}
		h := s.zeroHash
		if !zero || len(b) < blockSize {
			h = hash(b)
		}
		e.Blocks = append(e.Blocks, h)
		e.Size += int64(len(b))

		// Of what the target has of this block, nothing, all or a shorter beginning is right.
		known := int(min(max(old.Size-off, 0), blockSize))
		part := b
		if known > 0 && known <= len(b) {
			start := h
			if known < len(b) {
				start = hash(b[:known])
			}
			if start == old.Blocks[off/blockSize] {
				part = b[known:]
			}
		}
		at := off + int64(len(b)-len(part))
		switch {
		case len(part) == 0:
		case !zero && !bytes.Equal(part, s.zeros[:len(part)]):
			say(kindData, appendInt(nil, at), part)
			s.out.stats.Content += int64(len(part))
		case at < old.Size:
			say(kindZero, appendInt(nil, at), appendInt(nil, int64(len(part))))
		}
		if len(b) < blockSize {
			break
		}
	}
	return s.out.err
}

// nextData is where the hole at off ends, or off where there is none.
func nextData(f *os.File, off, size int64) int64 {
	next, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size
	}
	if err != nil {
		return off
	}
	return next
}

func (s *sender) meta(p string, e Entry) {
	b := appendString(nil, p)
	b = appendUint32(appendUint32(appendUint32(b, e.Mode), e.UID), e.GID)
	b = appendInt(appendInt(b, e.Size), e.Mtime)
	b = appendUint32(b, uint32(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		b = appendString(appendString(b, x.Name), x.Value)
	}
	s.out.record(kindMeta, b)
}
