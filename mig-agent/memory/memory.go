// Package memory sends the memory of a running service ahead of its freeze, and inside the freeze only what the target
// does not have by then.
//
// Where the kernel tracks no dirty pages, content has to tell: every page is known by its hash. Rounds read the pages of
// the running processes and send those that are new (Source). At the freeze CRIU writes all of them, and while it does,
// its image is followed and sent as references to what the target has, and as bytes where it has nothing (Checkpoint).
//
//	helper of the source:  /proc/PID --Source.Round--> rounds, and a table of what was sent
//	agent of the source:   table, image folder --WriteCheckpoint--> references and bytes
//	agent of the target:   rounds --Pools.Apply--> files; references and bytes --Pools.ReadCheckpoint--> image folder
//
// It reads processes and CRIU's image folder, writes pool files and the image folder, and is told by its callers alone.
package memory

import (
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"
)

// PageSize is the kernel's, in bytes.
const PageSize = 4096

// Limits of what a stream may ask for, far above any service of a switch.
const (
	maxPools = 4096
	maxPages = 1 << 28 // of one process: 1 TiB
	maxRun   = 256     // pages in one piece of bytes
)

// sum stands for a page's content. 128 bits under a random seed: two different pages of one move have the same with a
// chance of about 1e-27, and nobody can choose them so.
type sum = xxh3.Uint128

func sumOf(page []byte, seed uint64) sum { return xxh3.Hash128Seed(page, seed) }

// A pool is one process's memory as the target has it, a file:
//
//	page of the file:  0 ....... gap ........................ gap+pages
//	before the freeze: [ nothing  | pool page 0, 1, ...                 ]
//	inside:            [ image page 0, 1, ... i  | pool page i+1-gap ... ]
//
// The image of the process is made of it in place and in order. Nothing is copied from a pool page that an image page
// was put over, and the gap leaves room for pages that came since.
type pool struct {
	gap   int
	pages int
}

// gapOf a pool that begins with so many pages.
func gapOf(pages int) int { return 256 + pages/16 }

// has says whether pool page k is still there when image page i is due.
func (p pool) has(k, i int) bool { return k < p.pages && p.gap+k >= i }

// errFormat marks a stream that nobody of us has written so.
var errFormat = errors.New("not a stream of memory")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFormat, fmt.Sprintf(format, args...))
}
