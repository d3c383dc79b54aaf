package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is also mig-tar itself: the programs of the tests call this one by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "tar" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tarAs gives CRIU's two calls by a tar: the one of the system, or this one before it on the PATH.
func tarAs(t *testing.T, ours bool) (pack func(dir string) []byte, unpack func(archive []byte, dir string)) {
	t.Helper()
	path := os.Getenv("PATH")
	if ours {
		bin := t.TempDir()
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "tar"), self, 0o755); err != nil {
			t.Fatal(err)
		}
		path = bin + ":" + path
	}
	program := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/usr/bin/env", append([]string{"PATH=" + path, "tar"}, args...)...)
		cmd.Stderr = os.Stderr
		return cmd
	}
	pack = func(dir string) []byte {
		t.Helper()
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := program(append(create, "/proc/self/fd/0", ".")...)
		cmd.Stdin = f
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	unpack = func(archive []byte, dir string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(file, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := program(append(extract, dir)...)
		cmd.Stdin = f
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	return pack, unpack
}

// see lists a folder: everything a tmpfs of a container may have.
func see(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	filepath.WalkDir(dir, func(name string, _ os.DirEntry, _ error) error {
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err != nil {
			t.Fatal(err)
		}
		link, _ := os.Readlink(name)
		content := []byte{}
		if st.Mode&syscall.S_IFMT == syscall.S_IFREG {
			content, _ = os.ReadFile(name)
		}
		fmt.Fprintf(&text, "%s %o %d:%d %d %d %q %q\n", strings.TrimPrefix(name, dir), st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Rdev, link, content)
		return nil
	})
	return text.String()
}

func old(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(name string, _ os.DirEntry, _ error) error {
		at := unix.NsecToTimespec(1_600_000_000_000_000_000)
		return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// What we pack a tar unpacks, and the other way round, and nobody sees a difference: a plain folder, and ones that are a
// tar's work.
func TestLikeTar(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: no devices")
	}
	for name, fill := range map[string]func(dir string){
		"empty": func(string) {},
		"dev": func(dir string) {
			must(t, syscall.Mknod(dir+"/null", syscall.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.Chmod(dir+"/null", 0o666),
				syscall.Mknod(dir+"/loop", syscall.S_IFBLK|0o640, int(unix.Mkdev(7, 0))), os.Lchown(dir+"/loop", 12, 34),
				os.Symlink("/proc/self/fd", dir+"/fd"), os.Mkdir(dir+"/shm", 0o1777), os.Chmod(dir+"/shm", 0o1777|os.ModeSticky),
				os.WriteFile(dir+"/console", nil, 0o600), os.Symlink("../x", dir+"/shm/"+strings.Repeat("long", 30)))
		},
		"content": func(dir string) { must(t, os.WriteFile(dir+"/shared", []byte("memory"), 0o600)) },
		"hard":    func(dir string) { must(t, os.WriteFile(dir+"/a", nil, 0o600), os.Link(dir+"/a", dir+"/b")) },
		"pipe":    func(dir string) { must(t, syscall.Mkfifo(dir+"/fifo", 0o600)) },
		"many": func(dir string) {
			for i := range mostEntries + 5 {
				must(t, os.Mkdir(fmt.Sprintf("%s/%d", dir, i), 0o755))
			}
		},
		"big file": func(dir string) { must(t, os.WriteFile(dir+"/big", bytes.Repeat([]byte("x"), 2*mostBytes), 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			from := t.TempDir()
			must(t, os.Chmod(from, 0o751))
			fill(from)
			old(t, from)
			want := see(t, from)
			for _, packs := range []bool{true, false} {
				for _, unpacks := range []bool{true, false} {
					pack, _ := tarAs(t, packs)
					_, unpack := tarAs(t, unpacks)
					to := t.TempDir()
					unpack(pack(from), to)
					if got := see(t, to); got != want {
						t.Errorf("we pack: %v, unpack: %v: got\n%swant\n%s", packs, unpacks, got, want)
					}
				}
			}
		})
	}
}

// archiveOf packs headers as they are.
func archiveOf(headers ...*tar.Header) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

func folders(n int) (all []*tar.Header) {
	for i := range n {
		all = append(all, &tar.Header{Name: fmt.Sprintf("./%d/", i), Typeflag: tar.TypeDir})
	}
	return all
}

// An archive that would lead out of its folder is left to tar, which knows about those.
func TestNotOurs(t *testing.T) {
	top := &tar.Header{Name: "./", Typeflag: tar.TypeDir}
	for name, archive := range map[string][]byte{
		"nothing":      nil,
		"no gzip":      []byte("no gzip at all"),
		"cut":          archiveOf(top)[:20],
		"up":           archiveOf(top, &tar.Header{Name: "../x", Typeflag: tar.TypeReg}),
		"absolute":     archiveOf(top, &tar.Header{Name: "/x", Typeflag: tar.TypeReg}),
		"through link": archiveOf(top, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}, &tar.Header{Name: "l/x", Typeflag: tar.TypeReg}),
		"twice":        archiveOf(top, &tar.Header{Name: "a", Typeflag: tar.TypeReg}, &tar.Header{Name: "./a", Typeflag: tar.TypeSymlink, Linkname: "/"}),
		"hard link":    archiveOf(top, &tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}),
		"no folder":    archiveOf(top, &tar.Header{Name: "a/b", Typeflag: tar.TypeReg}),
		"too many":     archiveOf(append([]*tar.Header{top}, folders(2100)...)...),
		"no sum":       archiveOf(top)[:len(archiveOf(top))-4],
		"top is none":  archiveOf(&tar.Header{Name: ".", Typeflag: tar.TypeSymlink, Linkname: "/"}),
	} {
		dir := t.TempDir()
		if err := unpack(bytes.NewReader(archive), dir); !errors.Is(err, errNotPlain) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %v was made", name, left)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archiveOf(&tar.Header{Name: "./", Typeflag: tar.TypeDir}, &tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}))
	f.Add([]byte("no gzip"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		headers, err := read(bytes.NewReader(archive))
		if err != nil {
			if len(headers) > 0 || !errors.Is(err, errNotPlain) {
				t.Fatalf("%d headers and %v", len(headers), err)
			}
			return
		}
		for _, h := range headers {
			if !filepath.IsLocal(h.Name) {
				t.Fatalf("%q leads out", h.Name)
			}
		}
	})
}
