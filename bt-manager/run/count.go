package run

import "sync/atomic"

// counters of a Runner since it was made.
type counters struct {
	reloads, refused atomic.Int64 // files of trees taken, and not
	spins            atomic.Int64
}
