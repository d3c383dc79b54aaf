package record

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const ext = ".btlog"

// Name is what the files of a tree are called; "" is the intake tree.
func Name(replica string) string { return cmp.Or(replica, "intake") }

// path of a file of a tree; ago 0 is the newest.
func (r *Recorder) path(name string, ago int) string {
	if ago > 0 {
		name += fmt.Sprintf(".%d", ago)
	}
	return filepath.Join(r.cfg.Dir, name+ext)
}

// turn makes room for a new file of a tree.
func (r *Recorder) turn(name string) error {
	for ago := r.cfg.Files; ago >= 0; ago-- {
		var err error
		if ago == r.cfg.Files {
			err = os.Remove(r.path(name, ago))
		} else {
			err = os.Rename(r.path(name, ago), r.path(name, ago+1))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return r.trim()
}

// trim removes the oldest files while all together take too much.
func (r *Recorder) trim() error {
	type file struct {
		path string
		size int64
		when time.Time
	}
	entries, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return err
	}
	var files []file
	var all int64
	for _, e := range entries {
		info, err := e.Info()
		if filepath.Ext(e.Name()) != ext || err != nil {
			continue
		}
		files = append(files, file{filepath.Join(r.cfg.Dir, e.Name()), info.Size(), info.ModTime()})
		all += info.Size()
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.when.Compare(b.when), cmp.Compare(a.path, b.path)) })
	for _, f := range files {
		if all <= r.cfg.DirBytes {
			break
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		all -= f.size
	}
	return nil
}

// Open gives a file of a tree for reading; ago 0 is the newest. fs.ErrNotExist when there is none.
func (r *Recorder) Open(replica string, ago int) (*os.File, error) {
	if ago < 0 || ago > r.cfg.Files {
		return nil, fmt.Errorf("file %d before the newest: up to %d are kept", ago, r.cfg.Files)
	}
	if replica != filepath.Base(replica) && replica != "" {
		return nil, fmt.Errorf("tree %q: %w", replica, os.ErrNotExist)
	}
	return os.Open(r.path(Name(replica), ago))
}
