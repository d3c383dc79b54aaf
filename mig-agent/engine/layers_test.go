package engine

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The chain ID of the second layer is the digest of the first's and its own diff ID, with a space between (OCI image spec).
func TestChains(t *testing.T) {
	want := []string{"sha256:a", "sha256:970a948bffa8de94d6e22d747ba8c95030e6e546909f98f54e99a13005e173a8"}
	if diff := cmp.Diff(want, chains([]string{"sha256:a", "sha256:b"})); diff != "" {
		t.Errorf("chains (-want +got):\n%s", diff)
	}
}

// A layer is present only on the same layers below, and never when the image needs it a second time elsewhere.
func TestPresent(t *testing.T) {
	have := append(chains([]string{"sha256:base", "sha256:lib"}), chains([]string{"sha256:other", "sha256:app"})...)
	for _, c := range []struct{ diffs, want []string }{
		{[]string{"sha256:base", "sha256:lib", "sha256:app"}, []string{"sha256:base", "sha256:lib"}},
		{[]string{"sha256:lib", "sha256:base"}, nil},
		{[]string{"sha256:base", "sha256:x", "sha256:base"}, nil},
		{nil, nil},
	} {
		var got []string
		for d := range Present(c.diffs, have) {
			got = append(got, d)
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.diffs, diff)
		}
	}
}

func TestTrim(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"blobs/sha256/base", "blobs/sha256/app", "blobs/sha256/config", "manifest.json"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(name))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, name)
	}
	w.Close()
	whole := b.Bytes()
	var got []string
	for r := tar.NewReader(Trim(bytes.NewReader(whole), map[string]bool{"sha256:base": true})); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r); err != nil || string(text) != h.Name {
			t.Errorf("%s holds %q, %v", h.Name, text, err)
		}
		got = append(got, h.Name)
	}
	if diff := cmp.Diff([]string{"blobs/sha256/app", "blobs/sha256/config", "manifest.json"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := io.ReadAll(Trim(bytes.NewReader(whole[:520]), nil)); err == nil {
		t.Error("an archive that is cut off went through")
	}
}
