package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPackRoot packs a program of this machine with everything it needs to run.
func TestPackRoot(t *testing.T) {
	text, err := packRoot("/", "# a comment\n/bin/cat\n\n/etc/passwd\n")
	if err != nil {
		t.Fatal(err)
	}
	again, err := packRoot("/", "/bin/cat\n/etc/passwd\n")
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("the same list gives other bytes (%v)", err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Size == 0 {
			t.Errorf("%s: type %c, %d bytes", h.Name, h.Typeflag, h.Size)
		}
		names = append(names, h.Name)
	}
	for _, want := range []string{"bin/cat", "etc/passwd", "libc.so.6", "ld-linux"} {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("%s is not in %q", want, names)
		}
	}
}

func TestPackRootErrors(t *testing.T) {
	root := t.TempDir()
	for link, to := range map[string]string{"loop": "loop", "out": "/nothing", "dir": "."} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for list, want := range map[string]string{
		"bin/cat":        `line 1: "bin/cat" is no absolute path`,
		"#\n/../etc":     `line 2: "/../etc" is no absolute path`,
		"/missing":       "no such file",
		"/loop":          "too many links",
		"/out":           "no such file", // not the host's
		"/dir":           "/dir is no file",
		"/dir/dir/../..": "is no absolute path",
	} {
		if _, err := packRoot(root, list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", list, err, want)
		}
	}
}
