package data

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is a folder nothing leads out of: every path is resolved beneath it by the kernel, and a symbolic link anywhere in it is an error.
type tree struct{ fd int }

func openTree(root string) (*tree, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	return &tree{fd}, nil
}

func (t *tree) close() { unix.Close(t.fd) }

// open gives a file of the tree; the last part of the path is not followed either. A file it creates is for root only.
func (t *tree) open(name string, flags int) (*os.File, error) {
	how := &unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o600
	}
	for {
		fd, err := unix.Openat2(t.fd, name, how)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
		case err != nil:
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		default:
			return os.NewFile(uintptr(fd), name), nil
		}
	}
}

// at runs f on the folder that holds name, and name's last part.
func (t *tree) at(name string, f func(dir int, base string) error) error {
	if name == "." {
		return fmt.Errorf("%w: the root itself", errPath)
	}
	dir, err := t.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := f(int(dir.Fd()), path.Base(name)); err != nil {
		return &os.PathError{Op: "change", Path: name, Err: err}
	}
	return nil
}

// stat does not follow a symbolic link.
func (t *tree) stat(name string) (st unix.Stat_t, err error) {
	if name == "." {
		return st, unix.Fstat(t.fd, &st)
	}
	err = t.at(name, func(dir int, base string) error { return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// remove takes name away with all below; it may be gone already.
func (t *tree) remove(name string) error {
	err := t.at(name, removeAt)
	if isGone(err) {
		return nil
	}
	return err
}

func removeAt(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if !errors.Is(err, unix.EISDIR) {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	if err := clearAt(dir, base); err != nil {
		return err
	}
	return unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
}

// clearAt removes what is in a folder.
func clearAt(dir int, base string) error {
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	inside := os.NewFile(uintptr(fd), base)
	defer inside.Close()
	names, err := inside.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAt(fd, n); err != nil {
			return err
		}
	}
	return nil
}

// isGone says that a path does not lead anywhere (any more), or not where it did.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO)
}

var errPath = errors.New("path leaves the root")

// checkPath refuses what WriteFull would never write.
func checkPath(name string) error {
	if name == "" || len(name) > unix.PathMax || name[0] == '/' || path.Clean(name) != name || name == ".." ||
		strings.HasPrefix(name, "../") || strings.Contains(name, "\x00") {
		return fmt.Errorf("%w: %q", errPath, name)
	}
	return nil
}

// Xattr is one extended attribute.
type Xattr struct{ Name, Value string }

// carried says which extended attributes travel: what a service can set, file capabilities and ACLs. Overlay's own stay behind.
func carried(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability" || strings.HasPrefix(name, "system.posix_acl_")
}

func xattrs(fd int) ([]Xattr, error) {
	names, err := xattrNames(fd)
	if err != nil {
		return nil, err
	}
	var list []Xattr
	for _, n := range names {
		if !carried(n) {
			continue
		}
		v, err := xattr(fd, n)
		if errors.Is(err, unix.ENODATA) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("xattr %s: %w", n, err)
		}
		list = append(list, Xattr{n, v})
	}
	return list, nil
}

// xattrNames in order; none where the file system has no xattrs.
func xattrNames(fd int) ([]string, error) {
	b := make([]byte, 64<<10) // the kernel's limit
	n, err := unix.Flistxattr(fd, b)
	if err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		return nil, fmt.Errorf("list xattrs: %w", err)
	}
	names := strings.FieldsFunc(string(b[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	return names, nil
}

func xattr(fd int, name string) (string, error) {
	b := make([]byte, 64<<10)
	n, err := unix.Fgetxattr(fd, name, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// setXattrs makes the carried attributes of a file exactly want.
func setXattrs(fd int, want []Xattr) error {
	have, err := xattrs(fd)
	if err != nil {
		return err
	}
	for _, x := range have {
		if !slices.ContainsFunc(want, func(w Xattr) bool { return w.Name == x.Name }) {
			if err := unix.Fremovexattr(fd, x.Name); err != nil {
				return fmt.Errorf("remove xattr %s: %w", x.Name, err)
			}
		}
	}
	for _, x := range want {
		if slices.Contains(have, x) {
			continue
		}
		if err := unix.Fsetxattr(fd, x.Name, []byte(x.Value), 0); err != nil {
			return fmt.Errorf("set xattr %s: %w", x.Name, err)
		}
	}
	return nil
}
