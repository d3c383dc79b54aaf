package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errNotPlain says that a folder or an archive is a tar's work. Nothing has been written then.
var errNotPlain = errors.New("not plain")

const (
	mostEntries = 1000    // of a plain folder
	mostBytes   = 1 << 20 // of a plain archive, packed and unpacked
)

// pack writes the archive of a plain folder: gzip without compression, for the sake of time.
func pack(dir string, w io.Writer) error {
	headers, err := list(dir)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(w, gzip.NoCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, h := range headers {
		if err := t.WriteHeader(h); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

// list says what is in a plain folder, folders before what is in them.
func list(dir string) (headers []*tar.Header, err error) {
	dir += "/" // what it leads to, if it is a link: /proc/self/fd/0
	var top syscall.Stat_t
	if err := syscall.Stat(dir, &top); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		h, err := header(name, top.Dev)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		h.Name = "./" + strings.TrimPrefix(rel, ".")
		if e.IsDir() && rel != "." {
			h.Name += "/"
		}
		if headers = append(headers, h); len(headers) > mostEntries {
			return errNotPlain
		}
		return nil
	})
	return headers, err
}

// header of one file, which must lie on the file system dev.
func header(name string, dev uint64) (*tar.Header, error) {
	var st syscall.Stat_t
	err := syscall.Lstat(name, &st)
	if strings.HasSuffix(name, "/") { // the folder itself
		err = syscall.Stat(name, &st)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if st.Dev != dev {
		return nil, errNotPlain
	}
	h := &tar.Header{Format: tar.FormatGNU, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Sec, 0)}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case syscall.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(name); err != nil {
			return nil, err
		}
	case syscall.S_IFCHR, syscall.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&syscall.S_IFMT == syscall.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case syscall.S_IFREG:
		h.Typeflag = tar.TypeReg
		if st.Size > 0 || st.Nlink > 1 {
			return nil, errNotPlain
		}
	default:
		return nil, errNotPlain
	}
	if h.Typeflag != tar.TypeDir && st.Nlink > 1 {
		return nil, errNotPlain
	}
	return h, nil
}

// unpack fills a folder, which nobody else writes to, from a plain archive.
func unpack(r io.Reader, dir string) error {
	headers, err := read(r)
	if err != nil {
		return err
	}
	for _, h := range headers {
		if err := place(filepath.Join(dir, h.Name), h); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	for i := len(headers) - 1; i >= 0; i-- { // a folder's time is that of its last entry until then
		if h := headers[i]; h.Typeflag == tar.TypeDir {
			if err := finish(filepath.Join(dir, h.Name), h); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
		}
	}
	return nil
}

// read takes an archive whose every entry is plain, named once, and in a folder of the same archive.
func read(r io.Reader) (headers []*tar.Header, err error) {
	packed, err := io.ReadAll(io.LimitReader(r, mostBytes+1))
	if err != nil || len(packed) > mostBytes {
		return nil, errors.Join(err, errNotPlain)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, errNotPlain // a tar says better what is wrong
	}
	seen := map[string]byte{}
	text, err := io.ReadAll(io.LimitReader(z, mostBytes+1)) // to the end, where the sum is
	if err != nil || len(text) > mostBytes {
		return nil, errNotPlain
	}
	for t := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return headers, nil
		}
		if err != nil {
			return nil, errNotPlain
		}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeReg:
		default:
			return nil, errNotPlain
		}
		h.Name = path.Clean(h.Name)
		_, again := seen[h.Name]
		if h.Size > 0 || again || !filepath.IsLocal(h.Name) || h.Name != "." && seen[path.Dir(h.Name)] != tar.TypeDir || h.Name == "." && h.Typeflag != tar.TypeDir {
			return nil, errNotPlain
		}
		seen[h.Name] = h.Typeflag
		headers = append(headers, h)
	}
}

// place makes one file; a folder gets what it is to be in the end (finish).
func place(name string, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeDir:
		if err := syscall.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeSymlink:
		if err := syscall.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		kind := uint32(syscall.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			kind = syscall.S_IFBLK
		}
		if err := syscall.Mknod(name, kind|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))); err != nil {
			return err
		}
	default:
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return finish(name, h)
}

// finish sets owner, mode and time.
func finish(name string, h *tar.Header) error {
	if err := syscall.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := syscall.Chmod(name, uint32(h.Mode&0o7777)); err != nil {
			return err
		}
	}
	at := unix.NsecToTimespec(h.ModTime.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}
