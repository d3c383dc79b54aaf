package orders

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// rowWriter keeps the agent's rows of resour_DB: the newest value of each wins, and a Redis that is away holds up no
// operation.
type rowWriter struct {
	db   *resourdb.DB // nil: no Redis on this node
	log  *slog.Logger
	wake chan struct{}

	mu    sync.Mutex
	dirty map[string]resourdb.Row
}

func newRowWriter(db *resourdb.DB, log *slog.Logger) *rowWriter {
	return &rowWriter{db: db, log: log, wake: make(chan struct{}, 1), dirty: map[string]resourdb.Row{}}
}

func (w *rowWriter) put(row resourdb.Row) {
	if w.db == nil {
		return
	}
	key := row.Table()
	for _, part := range row.Parts() {
		key += "|" + part
	}
	w.mu.Lock()
	w.dirty[key] = row
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *rowWriter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		w.mu.Lock()
		todo := w.dirty
		w.dirty = map[string]resourdb.Row{}
		w.mu.Unlock()
		for key, row := range todo {
			if err := w.write(ctx, row); err != nil {
				w.log.Warn("write row", "key", key, "err", err)
				w.putBack(key, row)
				pause(ctx, time.Second)
			}
		}
	}
}

func (w *rowWriter) write(ctx context.Context, row resourdb.Row) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if in, ok := row.(resourdb.Instance); ok && in.State == netmap.Unloaded {
		return w.db.Delete(ctx, row) // a node without the replica has no row of it
	}
	return w.db.Write(ctx, row)
}

// putBack queues a row again unless a newer one is there.
func (w *rowWriter) putBack(key string, row resourdb.Row) {
	w.mu.Lock()
	if _, newer := w.dirty[key]; !newer {
		w.dirty[key] = row
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
