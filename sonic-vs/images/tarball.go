package images

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"sonic-netservices/sonic-vs/vswitch/manifest"
)

// maxJSON bounds the files of a tarball that are kept; configurations are a few KiB.
const maxJSON = 1 << 20

// Tarball is what a saved image says about itself.
type Tarball struct {
	ID       string // sha256:...
	Tag      string // repository:version
	Manifest manifest.Manifest
}

// ReadTarball reads the output of `docker save` of one image, plain or gzip, in either of Docker's layouts.
func ReadTarball(r io.Reader) (Tarball, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return Tarball{}, err
		}
		defer z.Close()
		in = bufio.NewReader(z)
	}
	small, err := smallFiles(in)
	if err != nil {
		return Tarball{}, fmt.Errorf("read tarball: %w", err)
	}
	var index []struct {
		Config   string
		RepoTags []string
	}
	if err := json.Unmarshal(small["manifest.json"], &index); err != nil {
		return Tarball{}, fmt.Errorf("manifest.json of the tarball: %w", err)
	}
	if len(index) != 1 || len(index[0].RepoTags) != 1 {
		return Tarball{}, errors.New("want one image with one tag in a tarball")
	}
	tag := index[0].RepoTags[0]
	if strings.Count(tag, ":") != 1 { // SONiC splits it at the colon and fails on a registry's port
		return Tarball{}, fmt.Errorf("tag %q: want REPOSITORY:VERSION", tag)
	}
	config, ok := small[path.Clean(index[0].Config)]
	if !ok {
		return Tarball{}, fmt.Errorf("configuration %q is not in the tarball", index[0].Config)
	}
	var image struct {
		Config struct {
			Labels     map[string]string
			Entrypoint []string
			Cmd        []string
		} `json:"config"`
	}
	if err := json.Unmarshal(config, &image); err != nil {
		return Tarball{}, fmt.Errorf("configuration of the image: %w", err)
	}
	text, ok := image.Config.Labels[manifest.Label]
	if !ok {
		return Tarball{}, fmt.Errorf("%s has no label %s: it is no SONiC package", tag, manifest.Label)
	}
	if len(image.Config.Entrypoint)+len(image.Config.Cmd) == 0 { // SONiC creates a container to copy files out of it
		return Tarball{}, fmt.Errorf("%s has neither entrypoint nor command", tag)
	}
	m, err := manifest.Parse([]byte(text))
	if err != nil {
		return Tarball{}, fmt.Errorf("%s: %w", tag, err)
	}
	sum := sha256.Sum256(config)
	return Tarball{ID: "sha256:" + hex.EncodeToString(sum[:]), Tag: tag, Manifest: m}, nil
}

// smallFiles keeps the files of a tar that may be JSON, by name.
func smallFiles(r io.Reader) (map[string][]byte, error) {
	files := map[string][]byte{}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxJSON {
			continue
		}
		if files[path.Clean(h.Name)], err = io.ReadAll(t); err != nil {
			return nil, err
		}
	}
}
