package engine

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// BundleFile is the bundle in our image: a tar of CRIU, tar and every library they name, as they lie in a Debian root.
// A switch has no CRIU of its own, or one too old. Unpacked it needs nothing of the host but a shell:
//
//	<dir>/criu/<digest>/    the bundle, unpacked
//	<dir>/bin/criu          runs it by its own loader; whatever starts runc has <dir>/bin first on its PATH
//	<dir>/spare/tar         runs its tar, where the host has none: this folder comes last
//
// Nothing lies outside <dir>, so that the host's own programs and packages never meet ours.
const BundleFile = "/criu.tar"

// CRIUFrom says which CRIU moves use.
type CRIUFrom string

const (
	FromHost   CRIUFrom = "host"   // the switch's own, where it is new enough
	FromBundle CRIUFrom = "bundle" // ours
)

// ParseCRIUFrom reads which of the two is preferred; "" is FromHost.
func ParseCRIUFrom(text string) (CRIUFrom, error) {
	switch from := CRIUFrom(text); from {
	case "":
		return FromHost, nil
	case FromHost, FromBundle:
		return from, nil
	}
	return "", fmt.Errorf("%q: want %s or %s", text, FromHost, FromBundle)
}

// bundled are the programs of a bundle that CRIU, runc and we start by name, and their folders.
var bundled = []struct{ name, folder string }{{"criu", "bin"}, {"tar", "spare"}}

// TarFile is what CRIU runs in our image's tar's place: command mig-tar.
const TarFile = "/mig-tar"

// InstallTar puts it where CRIU finds it first; "" takes it away.
func (h Host) InstallTar(from string) error {
	tar := filepath.Join(h.Dir, "bin", "tar")
	if from == "" {
		if err := os.Remove(tar); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("install tar: %w", err)
		}
		return nil
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("install tar: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(tar), 0o755); err != nil {
		return fmt.Errorf("install tar: %w", err)
	}
	return replaceFile(tar, text, 0o755)
}

// InstallCRIU sees to it that there is a CRIU: the host's, unless ours is preferred or the host's will not do. A bundle
// that is there is compared byte by byte and put right. It returns with this process' PATH leading to the one to use.
func (h Host) InstallCRIU(bundle string, prefer CRIUFrom) (from CRIUFrom, err error) {
	defer func() {
		if err == nil {
			err = LeadToPrograms(h.Dir)
		}
	}()
	if prefer == FromHost && !older(criuVersion(), minCRIU) {
		return FromHost, h.removeCRIU()
	}
	digest, err := bundleDigest(bundle)
	if err != nil {
		return "", fmt.Errorf("install criu: %w", err)
	}
	dir := filepath.Join(h.Dir, "criu", digest)
	if err := unpack(bundle, dir); err != nil {
		return "", fmt.Errorf("install criu: %w", err)
	}
	before := h.usedBundle()
	if err := h.linkBundle(dir); err != nil {
		return "", fmt.Errorf("install criu: %w", err)
	}
	// A dump of our predecessor may run from the bundle before; it goes with the next start.
	return FromBundle, h.removeBundles(digest, before)
}

// LeadToPrograms puts our programs before the host's for this process and all it starts, and the spare ones behind.
func LeadToPrograms(dir string) error {
	return os.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH")+":"+filepath.Join(dir, "spare"))
}

// CRIUFrom says which CRIU is in use.
func (h Host) CRIUFrom() CRIUFrom {
	if exists(filepath.Join(h.Dir, "bin", "criu")) {
		return FromBundle
	}
	return FromHost
}

// criuVersion is that of the criu on the PATH, "" when there is none that runs.
func criuVersion() string {
	out, err := exec.Command("criu", "--version").Output()
	if err != nil {
		return ""
	}
	return field(out, "Version:")
}

func bundleDigest(bundle string) (string, error) {
	f, err := os.Open(bundle)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("%s: %w", bundle, err)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// unpack makes dir what the bundle is, and writes only what differs.
func unpack(bundle, dir string) error {
	return eachFile(bundle, func(h *tar.Header, r io.Reader) error {
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		name := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(h.Mode).Perm()
		if err := replaceFile(name, text, mode); err != nil {
			return err
		}
		return os.Chmod(name, mode)
	})
}

// eachFile calls f for every file of a bundle. Names that lead out of it are refused.
func eachFile(bundle string, f func(*tar.Header, io.Reader) error) error {
	file, err := os.Open(bundle)
	if err != nil {
		return err
	}
	defer file.Close()
	for t := tar.NewReader(file); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			return fmt.Errorf("bundle: %s is no file inside it", h.Name)
		}
		if err := f(h, t); err != nil {
			return fmt.Errorf("bundle: %s: %w", h.Name, err)
		}
	}
}

// linkBundle makes the bundle's programs callable by their names. Each runs by its own loader: the host's C library
// may be another.
func (h Host) linkBundle(dir string) error {
	programs, loader, libraries := map[string]string{}, "", []string{}
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, folder := path.Base(file), path.Dir(file)
		switch {
		case strings.HasPrefix(name, "ld-linux"):
			loader = file
		case path.Base(folder) == "bin", path.Base(folder) == "sbin":
			programs[name] = file
		case strings.Contains(name, ".so") && !slices.Contains(libraries, folder):
			libraries = append(libraries, folder)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range bundled {
		script := filepath.Join(h.Dir, p.folder, p.name)
		if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
			return err
		}
		if programs[p.name] == "" || loader == "" {
			return fmt.Errorf("bundle: no %s with a loader in it", p.name)
		}
		text := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s %s \"$@\"\n", loader, strings.Join(libraries, ":"), programs[p.name])
		if err := replaceFile(script, []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// usedBundle is the folder's name of the bundle that <dir>/bin/criu runs, "" without one.
func (h Host) usedBundle() string {
	text, err := os.ReadFile(filepath.Join(h.Dir, "bin", "criu"))
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(text, []byte(filepath.Join(h.Dir, "criu")+"/"))
	name, _, _ := bytes.Cut(rest, []byte("/"))
	return string(name)
}

// removeCRIU removes ours where the host's is used.
func (h Host) removeCRIU() error {
	for _, p := range bundled {
		if err := os.Remove(filepath.Join(h.Dir, p.folder, p.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove criu: %w", err)
		}
	}
	return h.removeBundles()
}

// removeBundles removes all but those to be kept.
func (h Host) removeBundles(keep ...string) error {
	all, err := os.ReadDir(filepath.Join(h.Dir, "criu"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove criu: %w", err)
	}
	for _, e := range all {
		if slices.Contains(keep, e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(h.Dir, "criu", e.Name())); err != nil {
			return fmt.Errorf("remove criu: %w", err)
		}
	}
	return nil
}
