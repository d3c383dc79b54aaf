package sonicdb

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Booted gives CONFIG_DB and what it calls the switch, once it does: a program that a boot starts may be up before its
// configuration, and is not to go by its defaults until then. It ends early only with ctx.
func (s *Set) Booted(ctx context.Context) (config *DB, node string, err error) {
	for said := ""; ; {
		if config, node, err = s.booted(ctx); err == nil || ctx.Err() != nil {
			return config, node, err
		}
		if err.Error() != said {
			slog.Warn("waiting for the configuration", "err", err)
			said = err.Error()
		}
		sleep(ctx, time.Second)
	}
}

func (s *Set) booted(ctx context.Context) (*DB, string, error) {
	db, err := s.DB(ctx, "CONFIG_DB")
	if err != nil {
		return nil, "", err
	}
	row, err := db.HGetAll(ctx, db.Key("DEVICE_METADATA", "localhost"))
	if err == nil && row["hostname"] == "" {
		err = errors.New("CONFIG_DB: DEVICE_METADATA|localhost hostname is missing")
	}
	return db, row["hostname"], err
}
