package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"sonic-netservices/build/rootfs"
	"sonic-netservices/sonic-vs/vswitch/manifest"
	"sonic-netservices/spec"
)

// recipe changes when the same inputs are to give another image.
const recipe = "1"

// source is everything that goes into one image.
type source struct {
	name       string
	tag        string
	dockerfile string
	manifest   string // "" for a service, which is no SONiC feature
	binary     []byte // under the name of the image
	more       []contextFile
}

// contextFile is a file that the Dockerfile may copy.
type contextFile struct {
	name string
	mode int64
	text []byte
}

// read collects the source of one image from the repository.
func read(ctx context.Context, repo, name string) (source, error) {
	s := source{name: name}
	text, err := os.ReadFile(filepath.Join(repo, "containers", name, "manifest.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, s.readExample(ctx, repo)
	}
	if err != nil {
		return source{}, err
	}
	if s.binary, err = readProgram(repo, name); err != nil {
		return source{}, err
	}
	if err := s.readDebian(ctx, filepath.Join(repo, "containers", name), rootfs.Switch); err != nil && !errors.Is(err, os.ErrNotExist) {
		return source{}, err
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", name, err)
	}
	s.manifest, s.tag = string(text), m.Package.Name+":"+m.Package.Version
	dockerfile, err := os.ReadFile(filepath.Join(repo, "containers/Dockerfile"))
	if err != nil {
		return source{}, err
	}
	if s.dockerfile, err = stage(string(dockerfile), name); err != nil {
		return source{}, err
	}
	return s, s.readOthers(repo)
}

var copied = regexp.MustCompile(`(?m)^COPY +(\S+) `)

// readOthers takes the programs that an image has beside the one of its name.
func (s *source) readOthers(repo string) error {
	for _, c := range copied.FindAllStringSubmatch(s.dockerfile, -1) {
		if c[1] == s.name || slices.ContainsFunc(s.more, func(f contextFile) bool { return f.name == c[1] }) {
			continue
		}
		text, err := readProgram(repo, c[1])
		if err != nil {
			return err
		}
		s.more = append(s.more, contextFile{c[1], 0o755, text})
	}
	return nil
}

func readProgram(repo, name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(repo, "out/bin", name))
	if err != nil {
		return nil, fmt.Errorf("%w (make build)", err)
	}
	return text, nil
}

// readExample takes the tag of an example service from its spec, so that `nsctl deploy` finds the image by it. What it
// runs is a program of ours, or what its list named files takes from Debian; other files beside them may be copied.
func (s *source) readExample(ctx context.Context, repo string) error {
	dir := filepath.Join(repo, "examples", s.name)
	dockerfile, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		return fmt.Errorf("no containers/%s and no examples/%s: %w", s.name, s.name, err)
	}
	s.dockerfile = string(dockerfile)
	file := filepath.Join(dir, s.name+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	service, err := spec.Parse(file, text)
	if err != nil {
		return err
	}
	s.tag = service.Image
	if err := s.readDebian(ctx, dir, rootfs.Services); errors.Is(err, os.ErrNotExist) {
		s.binary, err = readProgram(repo, s.name)
		return err
	} else if err != nil {
		return err
	}
	return s.readBeside(dir)
}

// readDebian packs what the list named files takes from a Debian root; os.ErrNotExist says that there is no list.
func (s *source) readDebian(ctx context.Context, dir string, from rootfs.Root) error {
	list, err := os.ReadFile(filepath.Join(dir, "files"))
	if err != nil {
		return err
	}
	root, err := from.Ensure(ctx)
	if err != nil {
		return err
	}
	packed, err := packRoot(root, string(list))
	if err != nil {
		return fmt.Errorf("%s/files: %v", dir, err) // a file it lacks is no missing list
	}
	s.more = []contextFile{{rootTar, 0o644, packed}}
	return nil
}

// readBeside takes the files of an example that are neither its spec nor its recipe.
func (s *source) readBeside(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || slices.Contains([]string{"Dockerfile", "files", s.name + ".yaml"}, e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		s.more = append(s.more, contextFile{e.Name(), 0o644, text})
	}
	return nil
}

// stage cuts one target out of a Dockerfile. The classic builder, the only one there is without a plugin, makes every
// stage before the target as well, for which the programs would be missing.
func stage(dockerfile, name string) (string, error) {
	from := regexp.MustCompile(`(?mi)^FROM +\S+( +AS +(\S+))? *$`)
	starts := from.FindAllStringSubmatchIndex(dockerfile, -1)
	for i, at := range starts {
		if at[4] < 0 || dockerfile[at[4]:at[5]] != name {
			continue
		}
		end := len(dockerfile)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		return dockerfile[at[0]:end], nil
	}
	return "", fmt.Errorf("containers/Dockerfile: no target %s", name)
}

func (s source) key() string {
	h := sha256.New()
	parts := []string{recipe, s.tag, s.dockerfile, s.manifest, string(s.binary)}
	for _, f := range s.more {
		parts = append(parts, f.name, string(f.text))
	}
	for _, part := range parts {
		fmt.Fprintf(h, "%d\n%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
