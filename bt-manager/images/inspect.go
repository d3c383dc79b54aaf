package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// maxJSON bounds what is kept in memory of a tar; configurations and manifests are a few KiB.
const maxJSON = 4 << 20

// member is what inspect remembers of one file in the tar.
type member struct {
	sum  string // SHA-256 of its bytes, hex
	link string // of a symbolic link: where it leads
	text []byte // its bytes, when they may be JSON
}

// manifest is one entry of manifest.json, which both of Docker's layouts have.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// config is the part of an image's configuration that is checked.
type config struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// inspect reads a tar to its end. Docker writes one of two layouts: the older one has <id>.json and <layer>/layer.tar
// (a repeated layer may be a symbolic link), the newer one is an OCI layout, blobs/sha256/<digest>, plus manifest.json.
func inspect(r io.Reader) (Image, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		return Image{}, bad("it is compressed with gzip; load the plain tar")
	}
	members, err := readMembers(in)
	if err != nil {
		return Image{}, err
	}
	if _, ok := members["manifest.json"]; !ok {
		if _, ok := members["index.json"]; ok {
			return Image{}, bad("an OCI layout without manifest.json, which Docker cannot load; use `docker save`")
		}
		return Image{}, bad("no manifest.json in it; use `docker save`, not `docker export`")
	}
	var manifests []manifest
	if err := json.Unmarshal(members["manifest.json"].text, &manifests); err != nil {
		return Image{}, bad("manifest.json: %v", err)
	}
	if len(manifests) != 1 {
		return Image{}, bad("manifest.json names %d images, want one", len(manifests))
	}
	m := manifests[0]
	if len(m.RepoTags) == 0 {
		return Image{}, bad("manifest.json: the image has no name; save it by name:tag, not by ID")
	}
	file, ok := members[path.Clean(m.Config)]
	if !ok {
		return Image{}, bad("manifest.json: configuration %q is not in the tar", m.Config)
	}
	if want := digestIn(m.Config); want != file.sum {
		return Image{}, bad("configuration %q has SHA-256 %s", m.Config, file.sum)
	}
	var c config
	if err := json.Unmarshal(file.text, &c); err != nil {
		return Image{}, bad("configuration %q: %v", m.Config, err)
	}
	if c.OS != "linux" {
		return Image{}, bad("configuration: operating system %q, want linux", c.OS)
	}
	if err := checkLayers(members, m.Layers, c.RootFS.DiffIDs); err != nil {
		return Image{}, err
	}
	return Image{ID: "sha256:" + file.sum, Names: m.RepoTags}, nil
}

func checkLayers(members map[string]member, layers, diffIDs []string) error {
	if len(layers) != len(diffIDs) {
		return bad("manifest.json lists %d layers, the configuration %d", len(layers), len(diffIDs))
	}
	for i, name := range layers {
		at := path.Clean(name)
		layer, ok := members[at]
		if ok && layer.link != "" {
			at = path.Join(path.Dir(at), layer.link)
			layer, ok = members[at]
		}
		if !ok {
			return bad("layer %q is not in the tar", name)
		}
		// A blob is named by what it is, and may be compressed; the older layout holds the plain layer.
		want := strings.TrimPrefix(diffIDs[i], "sha256:")
		if digest := digestIn(at); digest != "" && strings.HasPrefix(at, "blobs/") {
			want = digest
		}
		if layer.sum != want {
			return bad("layer %q has SHA-256 %s, want %s", name, layer.sum, want)
		}
	}
	return nil
}

func readMembers(r io.Reader) (map[string]member, error) {
	members := map[string]member{}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, broken(err)
		}
		name := path.Clean(header.Name)
		for key := range header.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") { // a few bytes could stand for any number of zeros
				return nil, bad("%q is a sparse file, which no docker save writes", name)
			}
		}
		switch header.Typeflag {
		case tar.TypeReg:
			m, err := readMember(archive)
			if err != nil {
				return nil, broken(err)
			}
			members[name] = m
		case tar.TypeSymlink, tar.TypeLink:
			link := header.Linkname
			if header.Typeflag == tar.TypeLink { // from the tar's root, not from the folder of the link
				link = path.Join(strings.Repeat("../", strings.Count(name, "/")), link)
			}
			members[name] = member{link: link}
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // the padding behind the archive is part of the file
		return nil, broken(err)
	}
	return members, nil
}

func readMember(r io.Reader) (member, error) {
	hash := sha256.New()
	var text bytes.Buffer
	head, err := io.CopyN(io.MultiWriter(hash, &text), r, maxJSON)
	if err != nil && !errors.Is(err, io.EOF) {
		return member{}, err
	}
	m := member{}
	if head < maxJSON && looksLikeJSON(text.Bytes()) {
		m.text = text.Bytes()
	}
	if _, err := io.Copy(hash, r); err != nil {
		return member{}, err
	}
	m.sum = hex.EncodeToString(hash.Sum(nil))
	return m, nil
}

func looksLikeJSON(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}

var digestPattern = regexp.MustCompile(`^(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?$`)

// digestIn gives the digest a path names, or "".
func digestIn(name string) string {
	m := digestPattern.FindStringSubmatch(path.Clean(name))
	if m == nil {
		return ""
	}
	return m[1]
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBad, fmt.Sprintf(format, args...))
}

// broken tells a tar that cannot be read from a stream that cannot.
func broken(err error) error {
	if errors.Is(err, tar.ErrHeader) {
		return bad("not a tar file")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return bad("the tar file ends in the middle")
	}
	return fmt.Errorf("read image: %w", err)
}
