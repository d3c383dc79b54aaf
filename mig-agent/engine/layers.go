package engine

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/image"
)

// Layers are the diff IDs of an image's layers, lowest first: digests of their uncompressed archives.
func (d *Docker) Layers(ctx context.Context, ref string) ([]string, error) {
	in, err := d.cli.ImageInspect(ctx, ref)
	if err != nil {
		return nil, wrap("inspect image "+ref, err)
	}
	return in.RootFS.Layers, nil
}

// Chains are the chain IDs of all layers of this node.
func (d *Docker) Chains(ctx context.Context) ([]string, error) {
	list, err := d.cli.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, wrap("list images", err)
	}
	var all []string
	seen := map[string]bool{}
	for _, in := range list {
		diffs, err := d.Layers(ctx, in.ID)
		if errors.Is(err, ErrNotFound) { // removed a moment ago
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, c := range chains(diffs) {
			if !seen[c] {
				seen[c] = true
				all = append(all, c)
			}
		}
	}
	return all, nil
}

// chains names each layer together with all below it, as Docker does: a layer is there only on top of the same others.
func chains(diffs []string) []string {
	var list []string
	for i, d := range diffs {
		if i > 0 {
			d = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(list[i-1]+" "+d)))
		}
		list = append(list, d)
	}
	return list
}

// Present lists the diff IDs of an image's layers that a node with these chains has, for Trim.
func Present(diffs, have []string) map[string]bool {
	there := map[string]bool{}
	for _, c := range have {
		there[c] = true
	}
	present, needed := map[string]bool{}, map[string]bool{}
	for i, c := range chains(diffs) {
		if there[c] {
			present[diffs[i]] = true
		} else {
			needed[diffs[i]] = true
		}
	}
	for d := range needed { // the same layer once more, on others
		delete(present, d)
	}
	return present
}

// Trim leaves layers out of the output of `docker save`; `docker load` opens the files of layers it lacks only. An archive in the
// form of Docker before 25, whose files have other names, goes through as it is.
func Trim(archive io.Reader, present map[string]bool) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(trim(w, archive, present)) }()
	return r
}

func trim(w io.Writer, archive io.Reader, present map[string]bool) error {
	out := tar.NewWriter(w)
	for in := tar.NewReader(archive); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return fmt.Errorf("trim image: %w", err)
		}
		if digest, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok && present["sha256:"+digest] {
			continue
		}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("trim image: %w", err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("trim image: %w", err)
		}
	}
}
