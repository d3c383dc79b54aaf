package run

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// counters of a Runner since it was made.
type counters struct {
	reloads, refused atomic.Int64               // files of trees taken, and not
	ticks            [len(reasons)]atomic.Int64 // by reason

	spun     sync.Mutex
	spins    map[string]int64     // by path of the node that goes on and on
	spinTold map[string]time.Time // when the log was last told of it
}

// count counts a tick.
func (c *counters) count(why reason) { c.ticks[slices.Index(reasons[:], why)].Add(1) }

// spin counts a pause of a tree that would not have waited, and says whether to tell of it: once a minute is enough.
func (c *counters) spin(path string, now time.Time) (tell bool) {
	c.spun.Lock()
	defer c.spun.Unlock()
	if c.spins == nil {
		c.spins, c.spinTold = map[string]int64{}, map[string]time.Time{}
	}
	c.spins[path]++
	if tell = now.Sub(c.spinTold[path]) >= time.Minute; tell {
		c.spinTold[path] = now
	}
	return tell
}

// Ticks counts ticks by why they were.
func (c *counters) Ticks() map[string]int64 {
	all := map[string]int64{}
	for i, why := range reasons {
		all[string(why)] = c.ticks[i].Load()
	}
	return all
}

// Spins counts the pauses of trees that would not have waited, by the path of the node that goes on and on.
func (c *counters) Spins() map[string]int64 {
	c.spun.Lock()
	defer c.spun.Unlock()
	return maps.Clone(c.spins)
}
