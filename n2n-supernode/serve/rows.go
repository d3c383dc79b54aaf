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

// rowsEvery is how often rows are brought up to date: an edge that has just come can wait, a mass of them is one write.
const rowsEvery = time.Second

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
	pending := map[string]resourdb.Change{}
	cleared, said := false, ""
	every := time.NewTicker(rowsEvery)
	defer every.Stop()
	for {
		for _, e := range s.machine.Touched() {
			c, err := db.ChangeOf(row(e), e.Gone)
			if err != nil {
				continue // a community with a name that no key can have
			}
			pending[c.Key] = c
		}
		err := s.flushRows(ctx, db, &cleared, pending)
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

// flushRows clears what an earlier life left, once, and writes what has changed.
func (s *server) flushRows(ctx context.Context, db *resourdb.DB, cleared *bool, pending map[string]resourdb.Change) error {
	if !*cleared {
		if err := db.Clear(ctx, resourdb.EdgeTable); err != nil {
			return err
		}
		*cleared = true
	}
	changes := make([]resourdb.Change, 0, len(pending))
	for _, c := range pending {
		changes = append(changes, c)
	}
	if err := db.Apply(ctx, changes); err != nil {
		return err
	}
	clear(pending)
	return nil
}

// row gives an edge as the database has it.
func row(e rendezvous.Edge) resourdb.Edge {
	return resourdb.Edge{Community: e.Community.String(), MAC: e.MAC.String(), Name: e.Name.String(), Address: e.Address,
		Public: e.Public.Addr, Local: e.Local, NAT: e.NAT.String(), Since: e.First}
}
