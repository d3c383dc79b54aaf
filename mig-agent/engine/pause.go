package engine

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/errdefs"
)

// pauseRepository names the image that holders run from: this program alone, imported once a version. It is no child of
// the package's image, and must not be: SONiC's package manager removes every container of that image, or of one made
// from it, by force when it upgrades or removes the package, and a service would lose its network under way.
const pauseRepository = "netservices-pause"

// PauseImage makes the image of holders unless it is there, and drops those of other versions that no holder uses.
func (d *Docker) PauseImage(ctx context.Context) (id string, err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("pause image: %w", err)
	}
	defer self.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, self)
	if err != nil {
		return "", fmt.Errorf("pause image: %w", err)
	}
	name := pauseRepository + ":" + hex.EncodeToString(sum.Sum(nil)[:8])
	img, err := d.Image(ctx, name)
	if errors.Is(err, ErrNotFound) {
		if err := d.importProgram(ctx, name, self, size); err != nil {
			return "", fmt.Errorf("pause image: %w", err)
		}
		img, err = d.Image(ctx, name)
	}
	if err != nil {
		return "", fmt.Errorf("pause image: %w", err)
	}
	return img.ID, d.dropPauseImages(ctx, img.ID)
}

// importProgram makes an image that has one file, without a parent.
func (d *Docker) importProgram(ctx context.Context, name string, program *os.File, size int64) error {
	if _, err := program.Seek(0, io.SeekStart); err != nil {
		return err
	}
	files, out := io.Pipe()
	go func() {
		t := tar.NewWriter(out)
		err := t.WriteHeader(&tar.Header{Name: "mig-agent", Mode: 0o755, Size: size})
		if err == nil {
			_, err = io.Copy(t, program)
		}
		out.CloseWithError(errors.Join(err, t.Close()))
	}()
	answer, err := d.cli.ImageImport(ctx, image.ImportSource{Source: files, SourceName: "-"}, name,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/mig-agent"]`}})
	files.Close()
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer) // it is done when it has said all
	return err
}

// dropPauseImages removes those that no container runs from, but for one.
func (d *Docker) dropPauseImages(ctx context.Context, keep string) error {
	list, err := d.cli.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", pauseRepository))})
	if err != nil {
		return wrap("list pause images", err)
	}
	for _, img := range list {
		if img.ID == keep {
			continue
		}
		_, err := d.cli.ImageRemove(ctx, img.ID, image.RemoveOptions{})
		if err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
			return wrap("remove pause image", err)
		}
	}
	return nil
}

// DropPauseImages removes all that no container runs from.
func (d *Docker) DropPauseImages(ctx context.Context) error { return d.dropPauseImages(ctx, "") }
