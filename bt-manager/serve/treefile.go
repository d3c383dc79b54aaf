package serve

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/run"
	"sonic-netservices/bt-manager/trees"
)

// lookEvery is how often the file of trees is looked at. A look is one stat, and works on every file system: events of the
// kernel do not tell of changes in a lower layer of an overlay, nor of a file that is replaced beneath a bind mount.
const lookEvery = time.Second

// watchTrees puts the file into effect whenever it has changed and then stayed the same for a look: an editor may write it
// in several steps.
func (d *deciding) watchTrees(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var taken, before fs.FileInfo
	missing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		info, err := os.Stat(d.treeFile)
		if err != nil {
			if !missing {
				slog.Warn("the file of trees is not there; its trees stay in effect", "err", err)
			}
			missing = true
			continue
		}
		missing = false
		if settled := same(info, before); settled && !same(info, taken) {
			taken = info
			if _, err := d.ReloadTrees("", false); err != nil && status.Code(err) != codes.InvalidArgument { // faults are logged
				slog.Error("reload of the trees", "err", err)
			}
		}
		before = info
	}
}

// same says whether a file looks as it did.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// readTrees reads the file of trees, or gives the one that is built in.
func readTrees(path string) (trees.File, error) {
	if path == "" {
		return run.Builtin(), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return trees.File{}, fmt.Errorf("tree: %w", err)
	}
	return trees.File{Name: path, Text: string(text)}, nil
}

// ReloadTrees implements Views.
func (d *deciding) ReloadTrees(by string, force bool) (*api.TreesStatus, error) {
	file, err := readTrees(d.treeFile)
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
