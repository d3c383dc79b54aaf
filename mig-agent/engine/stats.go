package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/checkpoint-restore/go-criu/v7/crit"
)

// DumpStatistics reads what CRIU counted of an operation's dump. It decodes images, so it is called after the freeze.
// What CRIU left no file of is not in it: an operation without a dump has none.
func (h Host) DumpStatistics(op string) (map[string]float64, error) {
	all := map[string]float64{}
	if !exists(filepath.Join(h.workFolder(op), "stats-dump")) {
		return all, nil
	}
	s, err := crit.GetDumpStats(h.workFolder(op))
	if err != nil {
		return nil, fmt.Errorf("statistics of dump: %w", err)
	}
	all["dump_freezing_us"] = float64(s.GetFreezingTime())
	all["dump_frozen_us"] = float64(s.GetFrozenTime())
	all["dump_memdump_us"] = float64(s.GetMemdumpTime())
	all["dump_memwrite_us"] = float64(s.GetMemwriteTime())
	all["dump_pages_scanned"] = float64(s.GetPagesScanned())
	all["dump_pages_skipped"] = float64(s.GetPagesSkippedParent())
	all["dump_pages_written"] = float64(s.GetPagesWritten())
	all["dump_pages_lazy"] = float64(s.GetPagesLazy())
	tree, err := crit.New(nil, nil, h.ImageFolder(op), false, false).ExplorePs()
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil // the image has gone already
	}
	if err != nil {
		return nil, fmt.Errorf("statistics of image: %w", err)
	}
	all["image_processes"] = float64(processes(tree))
	streams, _ := filepath.Glob(filepath.Join(h.ImageFolder(op), "tcp-stream-*.img")) // the pattern is well formed
	all["image_tcp_connections"] = float64(len(streams))
	return all, nil
}

func processes(tree *crit.PsTree) int {
	n := 1
	for _, child := range tree.Children {
		n += processes(child)
	}
	return n
}

// RestoreStatistics reads what CRIU counted of an operation's restore.
func (h Host) RestoreStatistics(op string) (map[string]float64, error) {
	all := map[string]float64{}
	if !exists(filepath.Join(h.workFolder(op), "stats-restore")) {
		return all, nil
	}
	s, err := crit.GetRestoreStats(h.workFolder(op))
	if err != nil {
		return nil, fmt.Errorf("statistics of restore: %w", err)
	}
	all["restore_us"] = float64(s.GetRestoreTime())
	all["restore_forking_us"] = float64(s.GetForkingTime())
	all["restore_pages"] = float64(s.GetPagesRestored())
	all["restore_pages_compared"] = float64(s.GetPagesCompared())
	return all, nil
}
