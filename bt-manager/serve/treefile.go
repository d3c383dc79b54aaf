package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/bt/xmlv4"
	"sonic-netservices/bt-manager/run"
	"sonic-netservices/bt-manager/trees"
)

// lookEvery is how often the files of trees are looked at. A look is one stat for each, and works on every file system: events of the
// kernel do not tell of changes in a lower layer of an overlay, nor of a file that is replaced beneath a bind mount.
const lookEvery = time.Second

// watchTrees puts the file into effect whenever it, or one that it includes, has changed and all then stayed the same for a
// look: an editor may write them in several steps.
func (d *deciding) watchTrees(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var taken, before look
	missing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := lookAt(d.watched())
		if err != nil {
			if !missing {
				slog.Warn("the file of trees is not there; its trees stay in effect", "err", err)
			}
			missing = true
			continue
		}
		missing = false
		if now.same(before) && !now.same(taken) {
			taken = now
			if _, err := d.ReloadTrees("", false); err != nil && status.Code(err) != codes.InvalidArgument { // faults are logged
				slog.Error("reload of the trees", "err", err)
			}
		}
		before = now
	}
}

// watched lists the file of trees, and all that it included when it was read last, also those that were not there.
func (d *deciding) watched() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{d.treeFile}, d.included...)
}

// look is how some files looked; nil for one that was not there.
type look []fs.FileInfo

// lookAt fails without the first file.
func lookAt(paths []string) (look, error) {
	var l look
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil && i == 0 {
			return nil, err
		}
		l = append(l, info)
	}
	return l, nil
}

// same says whether the files look as they did then.
func (l look) same(then look) bool {
	return then != nil && slices.EqualFunc(l, then, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == b
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	})
}

// readTrees reads the file of trees with all that it includes, or gives the one that is built in. asked are the paths of
// what it includes, also of what is not there: that is for the loader to say, which knows where it is asked for.
func readTrees(path string) (file trees.File, asked []string, err error) {
	if path == "" {
		return run.Builtin(), nil, nil
	}
	dir, name := filepath.Split(path)
	r := &reading{files: os.DirFS(filepath.Clean(dir)), dir: dir, main: name}
	xmlv4.IDs(r, name) // asks for each file once
	r.file.Name = path
	if r.err != nil {
		return trees.File{}, r.asked, fmt.Errorf("tree: %w", r.err)
	}
	if r.bytes > xmlv4.MaxFile {
		return trees.File{}, r.asked, fmt.Errorf("tree: %s has %d bytes with what it includes; all files of a tree have up to %d together", path, r.bytes, xmlv4.MaxFile)
	}
	return r.file, r.asked, nil
}

// reading is a folder that notes what is read of it.
type reading struct {
	files     fs.FS
	dir, main string
	file      trees.File
	asked     []string
	bytes     int
	err       error
}

func (r *reading) Open(name string) (fs.File, error) { return r.files.Open(name) }

func (r *reading) ReadFile(name string) ([]byte, error) {
	text, err := fs.ReadFile(r.files, name)
	if name != r.main {
		r.asked = append(r.asked, filepath.Join(r.dir, filepath.FromSlash(name)))
	}
	switch {
	case err != nil && (name == r.main || !errors.Is(err, fs.ErrNotExist)):
		r.err = cmp.Or(r.err, err)
	case err != nil:
	case name == r.main:
		r.file.Text = string(text)
	default:
		r.file.Includes = append(r.file.Includes, trees.Included{Path: name, Text: string(text)})
	}
	r.bytes += len(text)
	return text, err
}

// ReloadTrees implements Views.
func (d *deciding) ReloadTrees(by string, force bool) (*api.TreesStatus, error) {
	file, asked, err := readTrees(d.treeFile)
	d.mu.Lock()
	d.included = asked
	d.mu.Unlock()
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	if err := d.runner.Reload(file, by, force); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return d.Trees(), nil
}

// Trees implements Views.
func (d *deciding) Trees() *api.TreesStatus {
	s := d.runner.Standing()
	reply := &api.TreesStatus{File: s.File, Hash: fmt.Sprintf("%016x", s.Hash), Problem: s.Problem}
	if !s.Since.IsZero() {
		reply.SinceUnixMs = s.Since.UnixMilli()
	}
	if !s.Refused.IsZero() {
		reply.ProblemUnixMs = s.Refused.UnixMilli()
	}
	for _, w := range s.Waiting {
		reply.Waiting = append(reply.Waiting, &api.WaitingTree{Name: w.Tree, Why: w.Why})
	}
	return reply
}
