// Package images keeps the container images an operator loaded, as the tar files that `docker save` writes.
//
// It reads such a tar from a stream and writes it to <dir>/<id>.tar, where id is the SHA-256 of the image's
// configuration: the ID by which every Docker knows it. It is told by bt-manager/serve; which name stands for which ID
// is in the journal.
package images

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Image is what one tar holds.
type Image struct {
	ID    string   // sha256:...
	Names []string // name:tag, as tagged when it was saved; at least one
	Bytes int64    // of the tar
}

// ErrBad says that the tar holds no usable image.
var ErrBad = errors.New("not a usable image")

// Store is the folder of the tar files.
type Store struct {
	dir string
}

// OpenStore makes the folder if need be and removes what a crash left half written.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "incoming-*"))
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	for _, file := range left {
		if err := os.Remove(file); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	return &Store{dir}, nil
}

// Add takes a tar, checks it and keeps it. An error that is ErrBad names what is wrong with the tar.
func (s *Store) Add(tar io.Reader) (Image, error) {
	f, err := os.CreateTemp(s.dir, "incoming-*")
	if err != nil {
		return Image{}, fmt.Errorf("store image: %w", err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing left to remove
	defer f.Close()
	image, err := inspect(io.TeeReader(tar, f))
	if err != nil {
		return Image{}, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return Image{}, fmt.Errorf("store image: %w", err)
	}
	info, err := os.Stat(f.Name())
	if err != nil {
		return Image{}, fmt.Errorf("store image: %w", err)
	}
	image.Bytes = info.Size()
	if err := os.Rename(f.Name(), s.path(image.ID)); err != nil {
		return Image{}, fmt.Errorf("store image: %w", err)
	}
	return image, nil
}

// Open reads a kept tar.
func (s *Store) Open(id string) (io.ReadCloser, error) {
	f, err := os.Open(s.path(id))
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(f, 256<<10), f}, nil
}

// Keep removes every tar whose ID is not wanted any more.
func (s *Store) Keep(wanted func(id string) bool) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "*.tar"))
	if err != nil {
		return fmt.Errorf("clean image store: %w", err)
	}
	var errs []error
	for _, file := range files {
		if !wanted("sha256:" + strings.TrimSuffix(filepath.Base(file), ".tar")) {
			errs = append(errs, os.Remove(file))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) path(id string) string {
	return filepath.Join(s.dir, strings.TrimPrefix(id, "sha256:")+".tar")
}

var idPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ValidID says whether a text can be an image's ID; nothing else may become part of a path.
func ValidID(id string) bool { return idPattern.MatchString(id) }
