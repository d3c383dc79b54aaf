package engine

import (
	"errors"
	"fmt"
	"os/exec"
)

// Features of CRIU that some kernels lack, by the names of `criu check --feature`.
const (
	FeatureTracking = "mem_dirty_track" // the kernel tells which pages were written: tracked pre-copy
	FeatureLazy     = "uffd-noncoop"    // page faults of a process that knows nothing of it: lazy pages
)

// ErrUnsupported says that CRIU cannot do something on this kernel.
var ErrUnsupported = errors.New("not supported here")

// Feature asks CRIU itself, by text and exit code: go-criu's FeatureCheck returns what it was asked for.
func Feature(name string) error {
	switch name {
	case FeatureTracking, FeatureLazy:
	default:
		return fmt.Errorf("feature %q is unknown", name)
	}
	out, err := exec.Command("criu", "check", "--feature", name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: criu check --feature %s: %v: %s", ErrUnsupported, name, err, tail(out, 200))
	}
	return nil
}
