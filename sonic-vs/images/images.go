// Package images makes images with a virtual switch's own Docker engine and installs them as sonic-package-manager does.
//
// It reads the programs in out/bin, containers/Dockerfile and the manifests, or examples/<service>; it writes
// out/images/<name>.tar, and on a switch the image, packages.json and the FEATURE row. Built tarballs are kept in
// CacheDir by their content. It is told by the commands image build, install and uninstall, and by the demo.
package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"sonic-netservices/sonic-vs/vswitch/manifest"
	"sonic-netservices/spec"
)

// CacheDir keeps tarballs by the hash of what went into them. It outlives the working tree.
const CacheDir = "/var/cache/sonic-netservices/images"

// kept tarballs of one name in CacheDir; older ones are removed.
const kept = 3

// recipe changes when the same inputs are to give another image.
const recipe = "1"

// Names lists the images there are: features first, then the example services.
func Names(repo string) ([]string, error) {
	var names []string
	for _, pattern := range []string{"containers/*/manifest.json", "examples/*/Dockerfile"} {
		files, err := filepath.Glob(filepath.Join(repo, pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			names = append(names, filepath.Base(filepath.Dir(f)))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no containers/*/manifest.json in %s: run it in the repository", repo)
	}
	return names, nil
}

// source is everything that goes into one image.
type source struct {
	name       string
	tag        string
	dockerfile string
	manifest   string // "" for a service, which is no SONiC feature
	binary     []byte
}

// read collects the source of one image from the repository.
func read(repo, name string) (source, error) {
	s := source{name: name}
	var err error
	if s.binary, err = os.ReadFile(filepath.Join(repo, "out/bin", name)); err != nil {
		return source{}, fmt.Errorf("%w (make build)", err)
	}
	text, err := os.ReadFile(filepath.Join(repo, "containers", name, "manifest.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, s.readExample(repo)
	}
	if err != nil {
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
	s.dockerfile, err = stage(string(dockerfile), name)
	return s, err
}

// readExample takes the tag of an example service from its spec, so that `nsctl deploy` finds the image by it.
func (s *source) readExample(repo string) error {
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
	for _, part := range []string{recipe, s.tag, s.dockerfile, s.manifest, string(s.binary)} {
		fmt.Fprintf(h, "%d\n%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Build makes out/images/<name>.tar of the repository, unless the same was built before. The engine is left as it was.
func Build(ctx context.Context, docker *client.Client, repo, name string) (path string, err error) {
	s, err := read(repo, name)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	path = filepath.Join(repo, "out/images", name+".tar")
	for _, dir := range []string{CacheDir, filepath.Dir(path)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	cached := filepath.Join(CacheDir, name+"-"+s.key()+".tar")
	if _, err := os.Stat(cached); errors.Is(err, os.ErrNotExist) {
		begun := time.Now()
		if err := s.build(ctx, docker, cached); err != nil {
			return "", fmt.Errorf("image %s: %w", name, err)
		}
		slog.Info("built", "image", s.tag, "took", time.Since(begun).Round(time.Millisecond))
		if err := prune(name); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	if err := place(cached, path); err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	return path, nil
}

// build makes the image and saves it to path, whole or not at all.
func (s source) build(ctx context.Context, docker *client.Client, path string) (err error) {
	restore, err := remember(ctx, docker, s.tag)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore(context.WithoutCancel(ctx))) }()
	files, out := io.Pipe()
	go func() { out.CloseWithError(s.writeContext(out)) }()
	options := build.ImageBuildOptions{Tags: []string{s.tag}, Remove: true, ForceRemove: true, NoCache: true, NetworkMode: "none"}
	if s.manifest != "" {
		options.BuildArgs = map[string]*string{"MANIFEST": &s.manifest}
	}
	answer, err := docker.ImageBuild(ctx, files, options)
	files.Close()
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := buildResult(answer.Body); err != nil {
		return err
	}
	saved, err := docker.ImageSave(ctx, []string{s.tag})
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	defer saved.Close()
	return writeWhole(path, saved)
}

// remember gives a function that puts the engine back to where it is now: the built image goes, and the tag goes back to
// the image that had it.
func remember(ctx context.Context, docker *client.Client, tag string) (restore func(context.Context) error, err error) {
	before, err := docker.ImageInspect(ctx, tag)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	return func(ctx context.Context) error {
		now, err := docker.ImageInspect(ctx, tag)
		if errdefs.IsNotFound(err) || err == nil && now.ID == before.ID {
			return nil // the build did not get that far
		}
		if err != nil {
			return err
		}
		if _, err := docker.ImageRemove(ctx, now.ID, image.RemoveOptions{Force: true, PruneChildren: true}); err != nil {
			return fmt.Errorf("remove built image: %w", err)
		}
		if before.ID == "" {
			return nil
		}
		return docker.ImageTag(ctx, before.ID, tag)
	}, nil
}

func (s source) writeContext(w io.Writer) error {
	t := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		mode int64
		text []byte
	}{{"Dockerfile", 0o644, []byte(s.dockerfile)}, {s.name, 0o755, s.binary}} {
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text))}); err != nil {
			return err
		}
		if _, err := t.Write(f.text); err != nil {
			return err
		}
	}
	return t.Close()
}

// buildResult reads the builder's messages to their end; a failed build is only told there.
func buildResult(r io.Reader) error {
	d := json.NewDecoder(r)
	for {
		var message struct {
			Error string `json:"error"`
		}
		if err := d.Decode(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read builder's answer: %w", err)
		}
		if message.Error != "" {
			return errors.New(message.Error)
		}
	}
}

func writeWhole(path string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// place makes path the same file as cached, or a copy on another file system.
func place(cached, path string) error {
	if same(cached, path) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(cached, path) == nil {
		return nil
	}
	f, err := os.Open(cached)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeWhole(path, f)
}

func same(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}

// prune leaves the newest tarballs of a name.
func prune(name string) error {
	files, err := filepath.Glob(filepath.Join(CacheDir, name+"-????????????????.tar"))
	if err != nil {
		return err
	}
	age := func(file string) time.Time {
		info, err := os.Stat(file)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(files, func(a, b string) int { return age(b).Compare(age(a)) })
	for _, f := range files[min(kept, len(files)):] {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}
