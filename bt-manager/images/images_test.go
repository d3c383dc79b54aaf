package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// entry is one file of a tar; a link when to is set.
type entry struct{ name, text, to string }

func archive(entries ...entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Size: int64(len(e.text)), Mode: 0o644}
		if e.to != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.to
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

const layer = "the layer's tar"

var (
	conf  = fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`, sum(layer))
	older = []entry{
		{name: sum(conf) + ".json", text: conf},
		{name: "abc/layer.tar", text: layer},
		{name: "manifest.json", text: fmt.Sprintf(`[{"Config":"%s.json","RepoTags":["kms:1.0","kms:latest"],"Layers":["abc/layer.tar"]}]`, sum(conf))},
	}
	newer = []entry{
		{name: "blobs/sha256/" + sum(layer), text: layer},
		{name: "blobs/sha256/" + sum(conf), text: conf},
		{name: "index.json", text: `{"schemaVersion":2}`},
		{name: "manifest.json", text: fmt.Sprintf(`[{"Config":"blobs/sha256/%s","RepoTags":["kms:1.0"],"Layers":["blobs/sha256/%s"]}]`, sum(conf), sum(layer))},
		{name: "oci-layout", text: `{"imageLayoutVersion":"1.0.0"}`},
	}
)

// with gives the entries with one of them changed; no text removes it.
func with(entries []entry, name, text string) []entry {
	var out []entry
	for _, e := range entries {
		if e.name == name {
			if text == "" {
				continue
			}
			e.text = text
		}
		out = append(out, e)
	}
	return out
}

func TestAdd(t *testing.T) {
	linked := []entry{
		older[0], {name: "first/layer.tar", text: layer}, {name: "abc/layer.tar", to: "../first/layer.tar"}, older[2],
	}
	for name, tar := range map[string][]byte{
		"older": archive(older...), "newer": archive(newer...), "linked": archive(linked...),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := OpenStore(filepath.Join(t.TempDir(), "images"))
			if err != nil {
				t.Fatal(err)
			}
			image, err := s.Add(bytes.NewReader(tar))
			if err != nil {
				t.Fatal(err)
			}
			if image.ID != "sha256:"+sum(conf) || image.Names[0] != "kms:1.0" || image.Bytes != int64(len(tar)) {
				t.Errorf("got %+v", image)
			}
			r, err := s.Open(image.ID)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if kept, err := io.ReadAll(r); err != nil || !bytes.Equal(kept, tar) {
				t.Errorf("kept %d bytes, want %d; %v", len(kept), len(tar), err)
			}
		})
	}
}

func TestAddRefuses(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(archive(newer...))
	w.Close()
	for _, c := range []struct {
		name, want string
		tar        []byte
	}{
		{"text", "not a tar file", bytes.Repeat([]byte("hello "), 200)},
		{"gzip", "compressed with gzip", packed.Bytes()},
		{"cut", "ends in the middle", archive(newer...)[:1100]},
		{"empty", "no manifest.json", nil},
		{"export", "use `docker save`, not `docker export`", archive(entry{name: "bin/sh", text: "x"})},
		{"OCI only", "without manifest.json", archive(with(newer, "manifest.json", "")...)},
		{"manifest", "manifest.json: invalid character", archive(with(newer, "manifest.json", "[x")...)},
		{"two images", "names 2 images", archive(with(newer, "manifest.json", "[{},{}]")...)},
		{"no name", "the image has no name", archive(with(newer, "manifest.json", `[{"Config":"x"}]`)...)},
		{"no config", "is not in the tar", archive(with(newer, "blobs/sha256/"+sum(conf), "")...)},
		{"other config", "has SHA-256 " + sum("{}"), archive(with(newer, "blobs/sha256/"+sum(conf), "{}")...)},
		{"no layer", `layer "abc/layer.tar" is not in the tar`, archive(with(older, "abc/layer.tar", "")...)},
		{"other layer", "has SHA-256 " + sum("other"), archive(with(newer, "blobs/sha256/"+sum(layer), "other")...)},
		{"other layer, older", "has SHA-256 " + sum("other"), archive(with(older, "abc/layer.tar", "other")...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := OpenStore(dir)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Add(bytes.NewReader(c.tar))
			if !errors.Is(err, ErrBad) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q in it", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	image, err := s.Add(bytes.NewReader(archive(newer...)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "incoming-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStore(dir); err != nil {
		t.Fatal(err)
	}
	var asked []string
	if err := s.Keep(func(id string) bool { asked = append(asked, id); return false }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(asked, []string{image.ID}) {
		t.Errorf("asked for %v", asked)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// FuzzInspect: no stream makes inspect panic.
func FuzzInspect(f *testing.F) {
	f.Add(archive(older...))
	f.Add(archive(newer...))
	f.Fuzz(func(t *testing.T, tar []byte) {
		image, err := inspect(bytes.NewReader(tar))
		if err == nil && (len(image.ID) != len("sha256:")+64 || len(image.Names) == 0) {
			t.Errorf("accepted as %+v", image)
		}
	})
}
