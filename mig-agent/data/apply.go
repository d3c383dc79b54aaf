package data

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Apply makes the tree at root what the stream says. A full stream fits any tree, a delta only one to which the stream before it was applied.
// Doing it again does no harm. With durable everything is on the disk when Apply returns. Nothing may follow the stream in r: it is read ahead.
//
// A stream that is damaged or cut off gives an error with the path and the byte; what came before is applied, and the tree must not be used.
func Apply(r io.Reader, root string, durable bool) (Stats, error) {
	t, err := openTree(root)
	if err != nil {
		return Stats{}, fmt.Errorf("apply tree: %w", err)
	}
	defer t.close()
	a := &applier{tree: t, durable: durable, at: "header", folders: map[string]bool{}}
	stats, err := a.run(r)
	if err != nil {
		return stats, fmt.Errorf("apply tree %s: %s at byte %d: %w", root, a.at, stats.Stream, err)
	}
	return stats, nil
}

// applier is one run of Apply.
//
//	between files --file--> in a file --data, zero--> in a file --meta of it--> between files
type applier struct {
	tree    *tree
	durable bool
	at      string // what the last record was about, for errors

	file    *os.File // the one data belongs to
	path    string
	folders map[string]bool // to be synced
}

var errOrder = errors.New("record out of order")

func (a *applier) run(r io.Reader) (Stats, error) {
	defer func() {
		if a.file != nil {
			a.file.Close()
		}
	}()
	in, err := newReader(r)
	if in == nil {
		return Stats{}, err
	}
	for err == nil {
		var k kind
		var p *payload
		if k, p, err = in.next(); err != nil {
			break
		}
		if k == kindEnd {
			if n := p.int(); p.done() != nil || n != in.stats.Records-1 || a.file != nil {
				return in.stats, fmt.Errorf("end: %w", errOrder)
			}
			return in.stats, a.sync()
		}
		if k == kindData {
			in.stats.Content += int64(len(p.b) - 8)
		}
		err = a.record(k, p)
	}
	return in.stats, err
}

// record carries one out. Its payload is checked before anything is done.
func (a *applier) record(k kind, p *payload) error {
	switch k {
	case kindData:
		off, b := p.int(), p.rest()
		if p.bad || a.file == nil {
			return fmt.Errorf("data: %w", errOrder)
		}
		_, err := a.file.WriteAt(b, off)
		return err
	case kindZero:
		off, n := p.int(), p.int()
		if p.done() != nil || a.file == nil || n > blockSize {
			return fmt.Errorf("zero: %w", errOrder)
		}
		return a.zero(off, n)
	}
	name := p.string()
	if err := checkPath(name); err != nil {
		return err
	}
	a.at = fmt.Sprintf("%q", name)
	if a.file != nil && (k != kindMeta || name != a.path) {
		return fmt.Errorf("%q is not finished: %w", a.path, errOrder)
	}
	if k != kindMeta {
		a.folders[path.Dir(name)] = true
	}
	switch k {
	case kindDir:
		emptied := p.bool()
		if err := p.done(); err != nil {
			return err
		}
		return a.makeDir(name, emptied)
	case kindFile:
		fresh := p.bool()
		if err := p.done(); err != nil {
			return err
		}
		return a.openFile(name, fresh)
	case kindSymlink:
		target := p.string()
		if err := p.done(); err != nil {
			return err
		}
		return a.replace(name, func(dir int, base string) error { return unix.Symlinkat(target, dir, base) })
	case kindNode:
		mode, device := p.number(), p.int()
		if err := p.done(); err != nil {
			return err
		}
		switch mode & unix.S_IFMT {
		case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		default:
			return fmt.Errorf("mode %o of a node: %w", mode, errPayload)
		}
		return a.replace(name, func(dir int, base string) error {
			return unix.Mknodat(dir, base, mode&unix.S_IFMT|0o600, int(device))
		})
	case kindLink:
		first := p.string()
		if err := errors.Join(p.done(), checkPath(first)); err != nil {
			return err
		}
		return a.link(name, first)
	case kindRemove:
		if err := p.done(); err != nil {
			return err
		}
		return a.tree.remove(name)
	case kindMeta:
		return a.meta(name, p)
	}
	return fmt.Errorf("record kind %d: %w", k, errPayload)
}

// replace removes what is at name and lets f make something new there.
func (a *applier) replace(name string, f func(dir int, base string) error) error {
	if err := a.tree.remove(name); err != nil {
		return err
	}
	return a.tree.at(name, f)
}

func (a *applier) makeDir(name string, emptied bool) error {
	st, err := a.tree.stat(name)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		if !emptied {
			return nil
		}
		d, err := a.tree.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer d.Close()
		return clearAt(int(d.Fd()), ".")
	case err != nil && !isGone(err):
		return err
	}
	return a.replace(name, func(dir int, base string) error { return unix.Mkdirat(dir, base, 0o700) })
}

func (a *applier) openFile(name string, fresh bool) error {
	flags := unix.O_RDWR | unix.O_NONBLOCK
	if fresh {
		if err := a.tree.remove(name); err != nil {
			return err
		}
		flags |= unix.O_CREAT | unix.O_EXCL
	} else if err := a.expect(name, unix.S_IFREG); err != nil {
		return err
	}
	f, err := a.tree.open(name, flags)
	if err != nil {
		return err
	}
	a.file, a.path = f, name
	return nil
}

// expect makes sure of the type of what is at name before it is opened: opening a device or FIFO has effects.
func (a *applier) expect(name string, format uint32) error {
	st, err := a.tree.stat(name)
	if err == nil && st.Mode&unix.S_IFMT != format {
		err = fmt.Errorf("type %o, want %o: the stream does not fit this tree", st.Mode&unix.S_IFMT, format)
	}
	return err
}

func (a *applier) zero(off, n int64) error {
	err := unix.Fallocate(int(a.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) && off >= 0 && n > 0 {
		_, err = a.file.WriteAt(make([]byte, n), off)
	}
	return err
}

// link gives an existing file another name.
func (a *applier) link(name, first string) error {
	if err := a.expect(first, unix.S_IFREG); err != nil {
		return err
	}
	return a.replace(name, func(dir int, base string) error {
		return a.tree.at(first, func(firstDir int, firstBase string) error { return unix.Linkat(firstDir, firstBase, dir, base, 0) })
	})
}

// meta sets the attributes and finishes a file. The order counts: a new owner takes file capabilities away, and every change sets the times.
func (a *applier) meta(name string, p *payload) error {
	mode, uid, gid, size, mtime := p.number(), p.number(), p.number(), p.int(), p.int()
	var list []Xattr
	for n := p.number(); n > 0 && !p.bad; n-- {
		x := Xattr{p.string(), p.string()}
		if !carried(x.Name) {
			return fmt.Errorf("xattr %q: %w", x.Name, errPayload)
		}
		list = append(list, x)
	}
	if err := p.done(); err != nil {
		return err
	}
	format := mode & unix.S_IFMT
	if err := a.expect(name, format); err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(mtime)}
	if format != unix.S_IFREG && format != unix.S_IFDIR {
		return a.tree.at(name, func(dir int, base string) error {
			if err := unix.Fchownat(dir, base, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
			if format != unix.S_IFLNK {
				if err := unix.Fchmodat(dir, base, mode&0o7777, 0); err != nil {
					return err
				}
			}
			return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
		})
	}
	if a.file == nil {
		flags := unix.O_RDONLY
		if format == unix.S_IFREG {
			flags = unix.O_RDWR
		}
		f, err := a.tree.open(name, flags|unix.O_NONBLOCK)
		if err != nil {
			return err
		}
		a.file = f
	}
	fd := int(a.file.Fd())
	if format == unix.S_IFREG {
		if err := a.file.Truncate(size); err != nil {
			return err
		}
	}
	if err := unix.Fchown(fd, int(uid), int(gid)); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if err := unix.Fchmod(fd, mode&0o7777); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	if err := setXattrs(fd, list); err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	if a.durable && format == unix.S_IFREG {
		if err := a.file.Sync(); err != nil {
			return err
		}
	}
	err := a.file.Close()
	a.file = nil
	return err
}

// sync puts the folders on the disk; the files are there already.
func (a *applier) sync() error {
	if !a.durable {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(a.folders)) {
		d, err := a.tree.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
		if isGone(err) {
			continue // removed later in the stream
		}
		if err != nil {
			return err
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return fmt.Errorf("sync folder %s: %w", name, err)
		}
	}
	return nil
}
