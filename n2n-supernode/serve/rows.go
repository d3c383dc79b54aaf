package serve

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/n2n-supernode/rendezvous"
	"sonic-netservices/resourdb"
)

const (
	// rowsEvery is how often rows are brought up to date: an edge that has just come can wait, a mass of them is one write.
	rowsEvery = time.Second
	// lookEvery is how often it is seen whether they are still there: a Redis that starts again is empty.
	lookEvery = 10 * time.Second
)

// openRows connects to resour_DB where there is one.
func openRows(ctx context.Context, dbs *sonicdb.Set) (*resourdb.DB, error) {
	if dbs == nil {
		return nil, nil
	}
	db, err := resourdb.Open(ctx, dbs)
	if errors.Is(err, sonicdb.ErrUnavailable) {
		slog.Warn("no rows are written", "err", err)
		return nil, nil
	}
	return db, err
}

// writeRows keeps RESOUR_EDGE. The machine does not wait for Redis: what could not be written is written later.
func (s *server) writeRows(ctx context.Context, db *resourdb.DB) error {
	r := rows{server: s, db: db, pending: map[string]resourdb.Change{}}
	said := ""
	every := time.NewTicker(rowsEvery)
	defer every.Stop()
	for {
		err := r.flush(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			said = ""
		case err.Error() != said:
			slog.Warn("rows of edges are not up to date", "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// rows are RESOUR_EDGE as it was written.
type rows struct {
	*server
	db      *resourdb.DB
	cleared bool // of what an earlier life left
	pending map[string]resourdb.Change
	one     string // key of a row that is there
	looked  time.Time
}

// flush writes what has changed, and all when the rows are not there any more.
func (r *rows) flush(ctx context.Context, now time.Time) error {
	if now.Sub(r.looked) >= lookEvery {
		row, err := r.db.Get(ctx, r.one)
		if err != nil {
			return err
		}
		if row == nil {
			r.machine.TouchAll()
		}
		r.looked = now
	}
	for _, e := range r.machine.Touched() {
		c, err := r.db.ChangeOf(r.row(e), e.Gone)
		if err != nil {
			continue // a community with a name that no key can have
		}
		r.pending[c.Key] = c
	}
	if !r.cleared {
		if err := r.clear(ctx); err != nil {
			return err
		}
		r.cleared = true
	}
	changes := make([]resourdb.Change, 0, len(r.pending))
	for key, c := range r.pending {
		changes = append(changes, c)
		if c.Row != nil {
			r.one = key
		} else if r.one == key {
			r.one = ""
		}
	}
	if err := r.db.Apply(ctx, changes); err != nil {
		return err
	}
	clear(r.pending)
	return nil
}

// clear removes what an earlier life of this supernode has written and is not so any more. The rows of others are copies, and
// belong to resource-sync.
func (r *rows) clear(ctx context.Context) error {
	had, err := r.db.Match(ctx, resourdb.EdgeTable+"|*")
	if had == nil && err != nil {
		return err
	}
	var changes []resourdb.Change
	for key, row := range had {
		if at := row[resourdb.SupernodeField]; r.pending[key].Row == nil && (at == r.config.Node || at == "") {
			changes = append(changes, resourdb.Change{Key: key})
		}
	}
	return r.db.Apply(ctx, changes)
}

// row gives an edge as the database has it.
func (r *rows) row(e rendezvous.Edge) resourdb.Edge {
	return resourdb.Edge{Community: e.Community.String(), MAC: e.MAC.String(), Supernode: r.config.Node, Name: e.Name.String(), Address: e.Address,
		Public: e.Public.Addr, Local: e.Local, NAT: e.NAT.String(), Since: e.First}
}
