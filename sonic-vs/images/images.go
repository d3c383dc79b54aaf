// Package images makes images with a virtual switch's own Docker engine and installs them as sonic-package-manager does.
//
// It reads the programs in out/bin, containers/Dockerfile and the manifests, or examples/<service>; it writes
// out/images/<name>.tar, and on a switch the image, packages.json and the FEATURE row. Built tarballs are kept in
// CacheDir by their content. It is told by the commands image build, install and uninstall, and by the demo.
package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/docker/docker/client"
)

// CacheDir keeps tarballs by the hash of what went into them. It outlives the working tree.
const CacheDir = "/var/cache/sonic-netservices/images"

// kept tarballs of one name in CacheDir; older ones are removed.
const kept = 3

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

// Build makes out/images/<name>.tar of the repository, unless the same was built before. The engine is left as it was.
func Build(ctx context.Context, docker *client.Client, repo, name string) (path string, err error) {
	s, err := read(ctx, repo, name)
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
