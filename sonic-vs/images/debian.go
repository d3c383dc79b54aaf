package images

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// rootTar is the name by which an example's Dockerfile adds what its `files` list takes from Debian.
const rootTar = "root.tar"

// libraryDirs are where Debian's loader looks, in its order.
var libraryDirs = []string{"/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64"}

// packRoot makes a tar of files of a Debian root, with the libraries and the loader that its programs name. The same
// root and list give the same bytes.
func packRoot(root, list string) ([]byte, error) {
	p := packer{root: root, have: map[string]bool{}}
	p.tar = tar.NewWriter(&p.out)
	for n, line := range strings.Split(list, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !path.IsAbs(line) || path.Clean(line) != line {
			return nil, fmt.Errorf("line %d: %q is no absolute path", n+1, line)
		}
		if err := p.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	if err := p.tar.Close(); err != nil {
		return nil, err
	}
	return p.out.Bytes(), nil
}

type packer struct {
	root string
	out  bytes.Buffer
	tar  *tar.Writer
	have map[string]bool
}

// add one file under the name it was asked for; a link becomes what it leads to.
func (p *packer) add(name string) error {
	if p.have[name] {
		return nil
	}
	p.have[name] = true
	real, err := p.resolve(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", name)
	}
	text, err := os.ReadFile(real)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: int64(info.Mode().Perm()), Size: info.Size()}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	if _, err := p.tar.Write(text); err != nil {
		return err
	}
	return p.addNeeded(name, text)
}

// addNeeded adds the loader of a program and the libraries it, or a library, needs.
func (p *packer) addNeeded(name string, text []byte) error {
	if !bytes.HasPrefix(text, []byte(elf.ELFMAG)) {
		return nil
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if s := f.Section(".interp"); s != nil {
		loader, err := s.Data()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := p.add(strings.TrimRight(string(loader), "\x00")); err != nil {
			return err
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, lib := range libraries {
		i := slices.IndexFunc(libraryDirs, func(dir string) bool {
			_, err := p.resolve(path.Join(dir, lib))
			return err == nil
		})
		if i < 0 {
			return fmt.Errorf("%s needs %s, which is not in the root", name, lib)
		}
		if err := p.add(path.Join(libraryDirs[i], lib)); err != nil {
			return err
		}
	}
	return nil
}

// resolve follows links inside the root, where an absolute one begins at the root.
func (p *packer) resolve(name string) (string, error) {
	done, todo := "/", strings.Split(strings.Trim(name, "/"), "/")
	for links := 0; len(todo) > 0; {
		next := path.Join(done, todo[0])
		todo = todo[1:]
		to, err := os.Readlink(filepath.Join(p.root, next))
		if err != nil {
			if _, err := os.Lstat(filepath.Join(p.root, next)); err != nil {
				return "", err
			}
			done = next
			continue
		}
		if links++; links > 40 {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: errors.New("too many links")}
		}
		if path.IsAbs(to) {
			done = "/"
		}
		todo = append(strings.Split(strings.Trim(to, "/"), "/"), todo...)
	}
	return filepath.Join(p.root, done), nil
}
