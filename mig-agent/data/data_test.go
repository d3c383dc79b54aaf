package data

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// describe lists a tree by other means than the package's own, one line a path.
func describe(t tester, root string) []string {
	t.Helper()
	var lines []string
	names := map[uint64]string{} // inode -> first path
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(root, p)
		line := fmt.Sprintf("%s %v %d:%d dev %x mtime %d", rel, info.Mode(), st.Uid, st.Gid, st.Rdev, info.ModTime().UnixNano())
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size %d %x", len(b), sha256.Sum256(b))
			if st.Nlink > 1 {
				if names[st.Ino] == "" {
					names[st.Ino] = rel
				}
				line += " is " + names[st.Ino]
			}
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		if info.Mode().IsRegular() || info.IsDir() {
			v := make([]byte, 256)
			if n, err := unix.Getxattr(p, "user.test", v); err == nil {
				line += " xattr " + string(v[:n])
			}
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// tester is a test or one try of a property.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func same(t tester, source, target string) {
	t.Helper()
	if diff := cmp.Diff(describe(t, source), describe(t, target)); diff != "" {
		t.Fatalf("trees differ (-source +target):\n%s", diff)
	}
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sendFull carries the tree; the manifest is for the next delta.
func sendFull(t tester, source, target string, kind Kind) Manifest {
	t.Helper()
	var b bytes.Buffer
	m, sent, err := WriteFull(&b, source, kind)
	must(t, err)
	apply(t, b.Bytes(), target, sent)
	return m
}

// sendDelta carries what changed; with more another delta follows.
func sendDelta(t tester, source, target string, have Manifest, kind Kind, more bool) (Manifest, Stats) {
	t.Helper()
	var b bytes.Buffer
	m, sent, err := WriteDelta(&b, source, have, kind, more)
	must(t, err)
	apply(t, b.Bytes(), target, sent)
	return m, sent
}

func apply(t tester, stream []byte, target string, sent Stats) {
	t.Helper()
	got, err := Apply(bytes.NewReader(stream), target, false)
	must(t, err)
	if got != sent {
		t.Fatalf("applied %+v of %+v", got, sent)
	}
}

// mutate changes the tree at root in one of the ways services and people do.
func mutate(t *rapid.T, root string, random *rand.Rand) {
	var files, dirs, others []string
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, p)
		case d.Type().IsRegular():
			files = append(files, p)
		default:
			others = append(others, p)
		}
		return nil
	})
	fresh := filepath.Join(rapid.SampledFrom(dirs).Draw(t, "dir"), rapid.StringMatching(`[a-f][a-c/.-]?`).Draw(t, "name"))
	fresh = filepath.Clean(fresh)
	content := make([]byte, rapid.SampledFrom([]int{0, 1, 700, blockSize - 1, blockSize, blockSize + 5, 2*blockSize + 100}).Draw(t, "size"))
	if !rapid.Bool().Draw(t, "empty") {
		random.Read(content)
	}
	check := func(err error) {
		// A name may be in use for something else; a path may have a file on its way.
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ENOENT) &&
			!errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENXIO) {
			t.Fatal(err)
		}
	}
	op := rapid.SampledFrom([]string{"create", "mkdir", "symlink", "fifo", "append", "overwrite", "truncate", "grow", "remove", "rename",
		"replace", "link", "chmod", "chown", "xattr", "touch", "rmdir"}).Draw(t, "op")
	file := ""
	if len(files) > 0 {
		file = rapid.SampledFrom(files).Draw(t, "file")
	}
	thing := rapid.SampledFrom(append(slices.Clone(dirs), append(files, others...)...)).Draw(t, "thing")
	switch op {
	case "create":
		if info, err := os.Lstat(fresh); err == nil && !info.Mode().IsRegular() {
			return
		}
		check(os.WriteFile(fresh, content, 0o640))
		return
	case "mkdir":
		check(os.Mkdir(fresh, 0o755))
		return
	case "symlink":
		check(os.Symlink(rapid.SampledFrom([]string{"a", "/etc", "../..", "nowhere"}).Draw(t, "target"), fresh))
		return
	case "fifo":
		check(unix.Mkfifo(fresh, 0o600))
		return
	case "chown":
		check(os.Lchown(thing, 1000, 1001))
		return
	case "touch":
		check(unix.UtimesNanoAt(unix.AT_FDCWD, thing, []unix.Timespec{{Sec: 5}, {Sec: 1000, Nsec: 7}}, unix.AT_SYMLINK_NOFOLLOW))
		return
	case "rmdir":
		if d := rapid.SampledFrom(dirs).Draw(t, "removed"); d != root {
			check(os.RemoveAll(d))
		}
		return
	case "rename":
		if thing != root {
			check(os.Rename(thing, fresh))
		}
		return
	}
	if file == "" {
		return
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	check(err)
	defer f.Close()
	info, err := f.Stat()
	check(err)
	switch op {
	case "append":
		_, err = f.WriteAt(content, info.Size())
	case "overwrite":
		_, err = f.WriteAt(content[:min(len(content), 900)], rapid.Int64Range(0, info.Size()).Draw(t, "at"))
	case "truncate":
		err = f.Truncate(rapid.Int64Range(0, info.Size()).Draw(t, "at"))
	case "grow":
		err = f.Truncate(info.Size() + int64(len(content)))
	case "remove":
		err = os.Remove(file)
	case "replace": // as editors and databases do
		check(os.WriteFile(file+"~", content, 0o600))
		err = os.Rename(file+"~", file)
	case "link":
		err = os.Link(file, fresh)
	case "chmod":
		err = f.Chmod(0o4755)
	case "xattr":
		err = unix.Fsetxattr(int(f.Fd()), "user.test", []byte("value"), 0)
	}
	check(err)
}

// TestTravel: whatever happens to the tree between streams, the target is equal after each.
func TestTravel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "nstree")
		must(t, err)
		defer os.RemoveAll(dir)
		source, target := filepath.Join(dir, "source"), filepath.Join(dir, "target")
		must(t, os.Mkdir(source, 0o750))
		must(t, os.MkdirAll(filepath.Join(target, "a/left"), 0o755)) // of an earlier, aborted move
		random := rand.New(rand.NewSource(1))
		change := func() {
			for range rapid.IntRange(0, 12).Draw(rt, "changes") {
				mutate(rt, source, random)
			}
		}
		change()
		have := sendFull(t, source, target, Volume)
		same(t, source, target)
		for range 2 {
			if rapid.IntRange(0, 9).Draw(rt, "wait") == 0 {
				time.Sleep(settled + 10*time.Millisecond) // now times are believed
			}
			change()
			have, _ = sendDelta(t, source, target, have, Volume, true)
			same(t, source, target)
		}
		atSource, err := Scan(source, Volume)
		must(t, err)
		atTarget, err := Scan(target, Volume)
		must(t, err)
		if !atSource.Equal(atTarget) || !have.Equal(atSource) {
			t.Fatalf("manifests differ:\n%s", cmp.Diff(atSource, atTarget, cmp.AllowUnexported(Entry{})))
		}
	})
}

// TestPieces sends a tree in pieces while it changes, and breaks some of them: the target is equal in the end.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "nstree")
		must(rt, err)
		defer os.RemoveAll(dir)
		source, target := filepath.Join(dir, "source"), filepath.Join(dir, "target")
		must(rt, os.Mkdir(source, 0o750))
		must(rt, os.MkdirAll(filepath.Join(target, "a/left"), 0o755))
		random := rand.New(rand.NewSource(3))
		change := func() {
			for range rapid.IntRange(0, 6).Draw(rt, "changes") {
				mutate(rt, source, random)
			}
		}
		var have Manifest
		for n := range 5 {
			if n < 4 {
				change()
			}
			if rapid.IntRange(0, 9).Draw(rt, "wait") == 0 {
				time.Sleep(settled + 10*time.Millisecond)
			}
			var b bytes.Buffer
			most := int64(rapid.SampledFrom([]int{1, blockSize, 3 * blockSize}).Draw(rt, "most"))
			var to io.Writer = &b
			breaks := rapid.Bool().Draw(rt, "breaks")
			if breaks {
				to = &cutWriter{w: &b, left: rapid.IntRange(0, 2*blockSize).Draw(rt, "left")}
			}
			m, _, sent, err := WritePiece(to, source, have, Volume, most)
			if err == nil && have != nil && rapid.Bool().Draw(rt, "lost") { // behind the sender's back
				have = have.Unsure(m)
				Apply(bytes.NewReader(b.Bytes()[:rapid.IntRange(0, b.Len()-1).Draw(rt, "arrived")]), target, false)
				continue
			}
			have = m
			if err == nil {
				apply(rt, b.Bytes(), target, sent)
			} else if _, aerr := Apply(bytes.NewReader(b.Bytes()), target, false); aerr == nil {
				rt.Fatal("a stream that broke was applied without an error")
			}
		}
		for cut := true; cut; {
			var b bytes.Buffer
			var sent Stats
			have, cut, sent, err = WritePiece(&b, source, have, Volume, 2*blockSize)
			must(rt, err)
			apply(rt, b.Bytes(), target, sent)
		}
		sendDelta(rt, source, target, have, Volume, false)
		same(rt, source, target)
	})
}

// cutWriter fails when so many bytes are through.
type cutWriter struct {
	w    io.Writer
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	c.w.Write(p[:n])
	if n < len(p) {
		return n, errors.New("cut")
	}
	return n, nil
}

// TestPieceOfFile: a large file that stands still goes on where the piece before it ended.
func TestPieceOfFile(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	content := make([]byte, 5*blockSize+77)
	rand.New(rand.NewSource(4)).Read(content)
	must(t, os.WriteFile(filepath.Join(source, "large"), content, 0o600))
	time.Sleep(settled + 10*time.Millisecond)
	var have Manifest
	pieces, sum := 0, int64(0)
	for cut := true; cut; pieces++ {
		var b bytes.Buffer
		var sent Stats
		var err error
		have, cut, sent, err = WritePiece(&b, source, have, Volume, 2*blockSize)
		must(t, err)
		apply(t, b.Bytes(), target, sent)
		sum += sent.Content
		if cut {
			have["large"].Blocks[0]++ // were it read again, it would be sent again
		}
		if pieces == 0 { // lost on its way
			m, _, _, err := WritePiece(io.Discard, source, have, Volume, 2*blockSize)
			must(t, err)
			have = have.Unsure(m)
			if have, _, _, err = WritePiece(&cutWriter{w: io.Discard, left: blockSize + 5}, source, have, Volume, 2*blockSize); err == nil {
				t.Fatal("a writer that fails went unnoticed")
			}
		}
	}
	if pieces != 3 || sum != int64(len(content)) {
		t.Errorf("%d pieces with %d bytes, want 3 with %d", pieces, sum, len(content))
	}
	same(t, source, target)
}

func TestDeltaIsSmall(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	log := filepath.Join(source, "log")
	random := rand.New(rand.NewSource(2))
	content := make([]byte, 3*blockSize+1000)
	random.Read(content)
	must(t, os.WriteFile(log, content, 0o600))
	must(t, os.WriteFile(filepath.Join(source, "other"), content, 0o600))
	must(t, os.WriteFile(filepath.Join(source, "still"), content, 0o600))
	must(t, os.WriteFile(filepath.Join(source, "sparse"), nil, 0o600))
	must(t, os.Truncate(filepath.Join(source, "sparse"), 1<<36)) // 64 GB of nothing
	time.Sleep(settled + 10*time.Millisecond)
	have := sendFull(t, source, target, Volume)

	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = io.WriteString(f, "one more line\n")
	must(t, err)
	// Were this file read again, all its blocks would be found different and sent.
	still := have["still"]
	still.Blocks = make([]uint64, len(still.Blocks))
	have["still"] = still

	have, sent := sendDelta(t, source, target, have, Volume, true)
	if sent.Content != 14 || sent.Stream > 300 {
		t.Errorf("an append of 14 bytes sent %+v", sent)
	}
	grown, err := os.ReadFile(filepath.Join(target, "log"))
	must(t, err)
	if string(grown[len(grown)-14:]) != "one more line\n" || !bytes.Equal(grown[:len(content)], content) {
		t.Error("target's log is not the source's")
	}
	must(t, os.Rename(log, filepath.Join(source, "log.1")))
	must(t, os.WriteFile(filepath.Join(source, "other"), append(content[:blockSize:blockSize], bytes.Repeat([]byte{1}, 2*blockSize+1000)...), 0o600))
	_, sent = sendDelta(t, source, target, have, Volume, false)
	if want := int64(len(grown) + 2*blockSize + 1000); sent.Content != want {
		t.Errorf("a rename and two blocks sent %d bytes of content, want %d", sent.Content, want)
	}
	info, err := os.Stat(filepath.Join(target, "sparse"))
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Size != 1<<36 || st.Blocks > 64 {
		t.Errorf("sparse file: size %d in %d sectors", st.Size, st.Blocks)
	}
}

// TestWhileWriting takes the full stream of a tree that changes all the time; only then it stands still for the delta.
func TestWhileWriting(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	mapped := filepath.Join(source, "mapped")
	must(t, os.WriteFile(mapped, make([]byte, 8*blockSize), 0o600))
	f, err := os.OpenFile(mapped, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 8*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(memory)
	stop, done := make(chan struct{}), make(chan error, 1)
	end := sync.OnceFunc(func() { close(stop); must(t, <-done) })
	defer end()
	go func() {
		var failed error
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- failed
				return
			default:
			}
			name := filepath.Join(source, fmt.Sprintf("d%d", n%7))
			log, err := os.OpenFile(filepath.Join(source, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			failed = errors.Join(failed, err)
			fmt.Fprintln(log, n)
			log.Close()
			failed = errors.Join(failed, os.RemoveAll(name), os.MkdirAll(name+"/sub", 0o700), os.WriteFile(name+"/sub/file", []byte(name), 0o600))
			memory[n*4099%len(memory)]++
		}
	}()
	var have Manifest
	for range 3 {
		have = sendFull(t, source, target, Volume)
		have, _ = sendDelta(t, source, target, have, Volume, true)
	}
	end()
	sendDelta(t, source, target, have, Volume, false)
	same(t, source, target)
}

// TestMapped changes a file through memory after its pages were written once already: its times must still tell.
func TestMapped(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(source, "mapped"))
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(4096))
	memory, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(memory)
	memory[0] = 1
	time.Sleep(settled + 10*time.Millisecond)
	have := sendFull(t, source, target, Volume)
	memory[1] = 2
	time.Sleep(settled + 10*time.Millisecond)
	have, _ = sendDelta(t, source, target, have, Volume, true)
	memory[2] = 3 // behind the back of a delta, too
	sendDelta(t, source, target, have, Volume, false)
	got, err := os.ReadFile(filepath.Join(target, "mapped"))
	must(t, err)
	if !bytes.Equal(got[:3], []byte{1, 2, 3}) {
		t.Errorf("target has % x, want 01 02 03", got[:3])
	}
}

// TestLayer carries a container's writable layer over two overlay mounts of one image.
func TestLayer(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	write := func(root, name, content string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
	}
	for _, n := range []string{"bin/tool", "var/cache/a", "var/cache/b/c", "etc/conf", "etc/hosts", "tmp/x"} {
		write(image, n, "of the image: "+n)
	}
	mount := func(name string) (merged, upper string) {
		base := filepath.Join(dir, name)
		merged, upper = filepath.Join(base, "merged"), filepath.Join(base, "upper")
		for _, d := range []string{merged, upper, filepath.Join(base, "work")} {
			must(t, os.MkdirAll(d, 0o755))
		}
		err := unix.Mount("overlay", merged, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work", image, upper, base))
		if errors.Is(err, unix.ENODEV) {
			t.Skip("this kernel has no overlay file system")
		}
		must(t, err)
		t.Cleanup(func() { unix.Unmount(merged, unix.MNT_DETACH) })
		return merged, upper
	}
	source, upper := mount("source")
	target, _ := mount("target")
	write(target, "etc/hosts", "target")
	write(target, ".dockerenv", "")

	write(source, "etc/hosts", "source")
	write(source, ".dockerenv", "source")
	write(source, "dev/shm/x", "source")
	write(source, "var/log/error.log", "started\n")
	write(source, "bin/tool", "changed")
	must(t, os.Remove(filepath.Join(source, "tmp/x")))
	must(t, os.RemoveAll(filepath.Join(source, "var/cache")))
	write(source, "var/cache/new", "opaque") // hides a and b
	have := sendFull(t, upper, target, Layer)

	expect := func() {
		t.Helper()
		own := func(root string) (lines []string) {
			for _, l := range describe(t, root) {
				name, _, _ := strings.Cut(l, " ")
				if !staysBehind(name) && !strings.HasPrefix(name, "dev/") && name != "." && name != "etc" { // the test writes there
					lines = append(lines, l)
				}
			}
			return lines
		}
		if diff := cmp.Diff(own(source), own(target)); diff != "" {
			t.Errorf("layers differ (-source +target):\n%s", diff)
		}
		if b, err := os.ReadFile(filepath.Join(target, "etc/hosts")); err != nil || string(b) != "target" {
			t.Errorf("target's own etc/hosts: %q, %v", b, err)
		}
		if _, err := os.Stat(filepath.Join(target, "dev/shm")); err == nil {
			t.Error("dev was carried")
		}
	}
	expect()

	write(source, "tmp/x", "again")
	write(source, "var/log/error.log", "started\nand went on\n")
	must(t, os.Remove(filepath.Join(source, "bin/tool")))
	must(t, os.RemoveAll(filepath.Join(source, "etc")))
	write(source, "etc/hosts", "source")
	write(target, "etc/hosts", "target")
	write(source, "var/cache/b", "a file now")
	have, _ = sendDelta(t, upper, target, have, Layer, true)
	write(target, "etc/hosts", "target") // the whole folder was replaced, as at the source
	expect()

	_, sent := sendDelta(t, upper, target, have, Layer, false)
	if sent.Content != 0 {
		t.Errorf("nothing changed, yet %+v was sent", sent)
	}
	expect()
}
