package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

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
	files := []contextFile{{"Dockerfile", 0o644, []byte(s.dockerfile)}}
	if s.binary != nil {
		files = append(files, contextFile{s.name, 0o755, s.binary})
	}
	for _, f := range append(files, s.more...) {
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
