package data

import (
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says what a folder is.
type Kind byte

const (
	// Volume is carried as it is; what the target has besides goes.
	Volume Kind = iota
	// Layer is an overlay's upper folder; the target is the mounted, merged folder of a container of the same image. Whiteouts and opaque
	// folders become removals, and what Docker writes for each container (hosts, hostname, resolv.conf, /dev, .dockerenv) stays behind.
	Layer
)

// Manifest is what a stream has left at the target, by path: the base of the next delta. It stays in the process that made it, as the
// block hashes are keyed.
type Manifest map[string]Entry

// Entry is one path of a tree.
type Entry struct {
	Mode     uint32 // type and permissions, as stat has them
	UID, GID uint32
	Size     int64
	Mtime    int64  // ns
	Device   uint64 // of a device node
	Target   string // of a symbolic link
	Link     string // the path it is another name of; the content is described there
	Xattrs   []Xattr
	Blocks   []uint64 // hash of each 256 KiB of a regular file
	Opaque   bool     // a layer's folder that hides the image's

	inode uint64
	ctime int64 // ns; 0: look into the file whatever its times say
	whole int64 // of a file of which the target has the first blocks only: the size it had
	rough bool  // of a file: there may be something behind its end at the target
}

// Equal compares what a target has to have; how the trees came to it does not count.
func (e Entry) Equal(o Entry) bool {
	return e.Mode == o.Mode && e.UID == o.UID && e.GID == o.GID && (!e.regular() || e.Size == o.Size) && e.Mtime == o.Mtime && e.Device == o.Device &&
		e.Target == o.Target && e.Link == o.Link && slices.Equal(e.Xattrs, o.Xattrs) && slices.Equal(e.Blocks, o.Blocks)
}

// Equal says whether two trees have the same paths, contents and attributes.
func (m Manifest) Equal(o Manifest) bool { return maps.EqualFunc(m, o, Entry.Equal) }

func (e Entry) regular() bool  { return e.Mode&unix.S_IFMT == unix.S_IFREG }
func (e Entry) folder() bool   { return e.Mode&unix.S_IFMT == unix.S_IFDIR }
func (e Entry) whiteout() bool { return e.Mode&unix.S_IFMT == unix.S_IFCHR && e.Device == 0 }

// settled is how long the newest change must lie back before equal times mean an equal file. The kernel stamps by its tick (up to 10 ms),
// so two changes within one can look like one.
const settled = 100 * time.Millisecond

func newEntry(st *unix.Stat_t, now time.Time) Entry {
	e := Entry{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Mtime: st.Mtim.Nano(), Device: st.Rdev, inode: st.Ino, ctime: st.Ctim.Nano()}
	if now.UnixNano()-e.ctime < int64(settled) {
		e.ctime = 0
	}
	return e
}

// untouched says by its attributes that the file is still what the entry describes.
func (e Entry) untouched(st *unix.Stat_t) bool {
	return e.ctime != 0 && e.ctime == st.Ctim.Nano() && e.inode == st.Ino && e.Mtime == st.Mtim.Nano() && e.Size == st.Size &&
		e.Mode == st.Mode && e.UID == st.Uid && e.GID == st.Gid
}

// partOf says that a file is still the one of which the entry describes the beginning.
func (e Entry) partOf(now Entry) bool {
	return e.whole > 0 && e.whole == now.Size && e.ctime != 0 && e.ctime == now.ctime && e.inode == now.inode && e.Mtime == now.Mtime
}

// Unsure is what a target has that had m, when a stream that would have left now arrived there in part or not at all: whatever the
// stream may have touched counts as unknown.
func (m Manifest) Unsure(now Manifest) Manifest {
	left := Manifest{}
	for p, old := range m {
		new, is := now[p]
		switch {
		case is && new.same(old):
			left[p] = old
		case is && new.continues(old):
			old.rough = true
			left[p] = old
		default:
			left[p] = Entry{} // of no type: it is made anew, or removed
		}
	}
	for p := range now {
		if _, had := m[p]; !had {
			left[p] = Entry{}
		}
	}
	return left
}

// continues says that a file has only grown, by blocks behind the last whole one.
func (e Entry) continues(old Entry) bool {
	n := len(old.Blocks)
	return e.regular() && old.regular() && e.Link == "" && old.Link == "" && e.inode == old.inode && old.Size%blockSize == 0 &&
		len(e.Blocks) >= n && slices.Equal(e.Blocks[:n], old.Blocks)
}

// same says that nothing was sent of a path.
func (e Entry) same(old Entry) bool {
	return e.Equal(old) && e.inode == old.inode && e.ctime == old.ctime && e.whole == old.whole && e.Opaque == old.Opaque
}

// seed keys the block hashes of this process. A keyed 64-bit hash: 10 times as quick as SHA-256, which matters because a changed file is
// read whole inside the freeze, and no service can prepare two blocks that collide.
var seed = maphash.MakeSeed()

func hash(b []byte) uint64 { return maphash.Bytes(seed, b) }

// Scan describes a tree without sending it.
func Scan(root string, kind Kind) (Manifest, error) {
	s, err := write(io.Discard, root, nil, kind, false, 0)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", root, err)
	}
	return s.now, nil
}
