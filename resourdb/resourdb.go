// Package resourdb is resour_DB, the suite's tables in Redis database 7 of a switch.
//
// It reads and writes typed rows; schema.go names every table and field and its one writer. Rows are a picture of what
// the journals hold, they survive a warm reboot but not a power cycle. Readers are told by keyspace events (Watch) and
// by the channel of each table, on which the writer publishes the key: an event alone also fires without a change.
package resourdb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sonic-netservices/internal/sonicdb"
)

// DB is resour_DB of one switch. The number is shared with SNMP_OVERLAY_DB, so it is never flushed.
type DB struct {
	db *sonicdb.DB
}

// Open connects to resour_DB of a switch.
func Open(ctx context.Context, set *sonicdb.Set) (*DB, error) {
	d, err := set.DB(ctx, sonicdb.ResourDB)
	if err != nil {
		return nil, err
	}
	return &DB{d}, nil
}

// Channel is where the writer of a table publishes the keys it wrote or removed.
func (d *DB) Channel(table string) string { return fmt.Sprintf("%s_CHANNEL@%d", table, d.db.ID()) }

// Write stores a row and tells the table's channel. Only the table's one writer calls it.
func (d *DB) Write(ctx context.Context, r Row) error {
	key, err := d.key(r)
	if err != nil {
		return err
	}
	if err := d.db.Replace(ctx, key, r.Row()); err != nil {
		return err
	}
	return d.db.Publish(ctx, d.Channel(r.Table()), key)
}

// Delete removes a row, of which only the key counts, and tells the table's channel.
func (d *DB) Delete(ctx context.Context, r Row) error {
	key, err := d.key(r)
	if err != nil {
		return err
	}
	if err := d.db.Del(ctx, key); err != nil {
		return err
	}
	return d.db.Publish(ctx, d.Channel(r.Table()), key)
}

func (d *DB) key(r Row) (string, error) {
	for i, part := range r.Parts() {
		if part == "" || strings.Contains(part, "|") {
			return "", fmt.Errorf("%s: part %d of the key, %q: want text without |", r.Table(), i+1, part)
		}
	}
	return d.db.Key(r.Table(), r.Parts()...), nil
}

// Clear removes all rows of a table, or those whose key goes on with the given parts. Rows of a writer's former life
// survive a warm reboot; it clears its own tables before it writes them anew.
func (d *DB) Clear(ctx context.Context, table string, parts ...string) error {
	keys, err := d.db.Scan(ctx, escape(d.db.Key(table, parts...))+"|*")
	if err != nil {
		return err
	}
	return d.db.Del(ctx, keys...)
}

// escape takes a key literally inside a glob pattern.
func escape(key string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(key)
}

// Watch sends the keys of a table as they change; see sonicdb.DB.Watch.
func (d *DB) Watch(ctx context.Context, table string) (<-chan string, error) {
	return d.db.Watch(ctx, table+"|*")
}

// Get reads one row by its key: nil when there is none.
func (d *DB) Get(ctx context.Context, key string) (map[string]string, error) {
	return d.db.HGetAll(ctx, key)
}

// List reads a whole table with one of the Parse functions, sorted by key. Any process of the switch can write this
// database, so rows that do not parse are left out and reported in the error beside the good ones.
func List[T any](ctx context.Context, d *DB, table string, parse func(key string, row map[string]string) (T, error)) ([]T, error) {
	keys, err := d.db.Scan(ctx, table+"|*")
	if err != nil {
		return nil, err
	}
	var rows []T
	var errs []error
	for _, key := range keys {
		row, err := d.db.HGetAll(ctx, key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if row == nil { // removed since the scan
			continue
		}
		v, err := parse(key, row)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rows = append(rows, v)
	}
	return rows, errors.Join(errs...)
}
