package data

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sample is a small tree with one of each.
func sample(t testing.TB) string {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "d/e"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "d/file"), bytes.Repeat([]byte("text "), 40), 0o600))
	must(t, os.Link(filepath.Join(dir, "d/file"), filepath.Join(dir, "d/second")))
	must(t, os.Symlink("file", filepath.Join(dir, "d/link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, unix.Setxattr(filepath.Join(dir, "d"), "user.test", []byte("v"), 0))
	return dir
}

func TestDamage(t *testing.T) {
	source := sample(t)
	var stream bytes.Buffer
	_, _, err := WriteFull(&stream, source, Volume)
	must(t, err)
	target := t.TempDir()
	for n := range stream.Len() {
		_, err := Apply(bytes.NewReader(stream.Bytes()[:n]), target, false)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "at byte ") {
			t.Fatalf("cut off at %d of %d: %v", n, stream.Len(), err)
		}
		damaged := bytes.Clone(stream.Bytes())
		damaged[n] ^= 0x10
		if _, err := Apply(bytes.NewReader(damaged), target, false); err == nil || !strings.Contains(err.Error(), "at byte ") {
			t.Fatalf("byte %d of %d changed: %v", n, stream.Len(), err)
		}
	}
	// Twice in full makes up for all of it.
	for range 2 {
		_, err = Apply(bytes.NewReader(stream.Bytes()), target, true)
		must(t, err)
		same(t, source, target)
	}
	damaged := bytes.Clone(stream.Bytes())
	damaged[bytes.Index(damaged, []byte("text"))] ^= 1
	if _, err := Apply(bytes.NewReader(damaged), target, false); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), `"d/file" at byte`) {
		t.Errorf("damaged content: %v, want the file's name", err)
	}
}

// forge makes a stream of records with right checksums, as a hostile peer would.
func forge(records ...func(*writer)) []byte {
	var b bytes.Buffer
	w := newWriter(&b)
	for _, r := range records {
		r(w)
	}
	w.end()
	return b.Bytes()
}

func raw(k kind, parts ...[]byte) func(*writer) {
	return func(w *writer) { w.record(k, parts...) }
}

func text(s string) []byte { return appendString(nil, s) }

func TestConfined(t *testing.T) {
	no, yes := []byte{0}, []byte{1}
	file := func(name string) func(*writer) { return raw(kindFile, text(name), yes) }
	for name, stream := range map[string][]byte{
		"parent":           forge(file("../canary/file")),
		"inner parent":     forge(file("a/../../canary/file")),
		"absolute":         forge(file("/etc/nstree-escape")),
		"empty":            forge(file("")),
		"zero byte":        forge(file("a\x00b")),
		"root":             forge(raw(kindRemove, text("."))),
		"by symlink":       forge(raw(kindSymlink, text("s"), text("../canary")), file("s/file")),
		"by absolute link": forge(raw(kindSymlink, text("s"), text("/etc")), raw(kindDir, text("s/nstree-escape"), no)),
		"remove by link":   forge(raw(kindSymlink, text("s"), text("../canary")), raw(kindRemove, text("s/file")), file("s/file")),
		"hard link out":    forge(raw(kindLink, text("l"), text("../canary/file"))),
		"hard link by":     forge(raw(kindSymlink, text("s"), text("../canary")), raw(kindLink, text("l"), text("s/file"))),
		"patch by symlink": forge(raw(kindSymlink, text("s"), text("../canary/file")), raw(kindFile, text("s"), no)),
		"regular node":     forge(raw(kindNode, text("n"), appendUint32(nil, unix.S_IFREG), appendInt(nil, 0))),
		"data alone":       forge(raw(kindData, appendInt(nil, 0), []byte("x"))),
		"unfinished":       forge(file("a")),
		"unknown kind":     forge(raw(99, text("a"))),
	} {
		dir := t.TempDir()
		target, canary := filepath.Join(dir, "target"), filepath.Join(dir, "canary")
		must(t, os.Mkdir(target, 0o755))
		must(t, os.Mkdir(canary, 0o755))
		must(t, os.WriteFile(filepath.Join(canary, "file"), []byte("untouched"), 0o644))
		before := describe(t, canary)
		if _, err := Apply(bytes.NewReader(stream), target, true); err == nil {
			t.Errorf("%s: applied", name)
		}
		if after := describe(t, canary); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Errorf("%s: outside the root now\n%s", name, strings.Join(after, "\n"))
		}
		if _, err := os.Lstat("/etc/nstree-escape"); err == nil {
			t.Fatalf("%s: wrote to /etc", name)
		}
	}
}

// FuzzApply feeds arbitrary records, with right checksums so that they get past the first door: nothing outside the root changes.
func FuzzApply(f *testing.F) {
	var b bytes.Buffer
	_, _, err := WriteFull(&b, sample(f), Volume)
	must(f, err)
	// Fuzz input: kind, length, payload, again and again.
	in, err := newReader(&b)
	must(f, err)
	var seed []byte
	for {
		k, p, err := in.next()
		if err != nil {
			break
		}
		if len(p.b) < 256 {
			seed = append(append(seed, byte(k), byte(len(p.b))), p.b...)
		}
	}
	f.Add(seed)
	f.Add([]byte("\x05\x16\x00\x00\x00\x01s\x00\x00\x00\x0d../../canary/\x02\x0b\x00\x00\x00\x06s/file\x01"))
	f.Fuzz(func(t *testing.T, input []byte) {
		dir := t.TempDir()
		target, canary := filepath.Join(dir, "target"), filepath.Join(dir, "canary")
		must(t, os.Mkdir(target, 0o755))
		must(t, os.Mkdir(canary, 0o755))
		must(t, os.WriteFile(filepath.Join(canary, "file"), []byte("untouched"), 0o644))
		before := strings.Join(describe(t, canary), "\n")
		var records []func(*writer)
		for rest := input; len(rest) >= 2; {
			n := min(int(rest[1]), len(rest)-2)
			if kind(rest[0]) == kindNode {
				break // a device node, once made, is outside by nature
			}
			records = append(records, raw(kind(rest[0]), rest[2:2+n]))
			rest = rest[2+n:]
		}
		Apply(bytes.NewReader(forge(records...)), target, false)
		Apply(bytes.NewReader(input), target, false)
		if after := strings.Join(describe(t, canary), "\n"); after != before {
			t.Fatalf("outside the root now\n%s", after)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
			t.Fatalf("beside the root: %v, %v", names, err)
		}
	})
}
