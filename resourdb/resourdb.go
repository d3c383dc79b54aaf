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
	"time"

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

// WriteFor is Write of a row that vanishes unless it is written again within ttl, so that a reading does not outlive the
// program that took it.
func (d *DB) WriteFor(ctx context.Context, r Row, ttl time.Duration) error {
	key, err := d.key(r)
	if err != nil {
		return err
	}
	return d.db.Apply(ctx, []sonicdb.Change{{Key: key, Row: r.Row(), TTL: ttl, Channel: d.Channel(r.Table())}})
}

// Change is a row to be written as it is, or removed when Row is nil.
type Change struct {
	Key string
	Row map[string]string
	TTL time.Duration // 0: the row stays
}

// Apply makes many changes in one round trip and tells the tables' channels. It takes copies of other nodes' rows,
// with whatever fields they have.
func (d *DB) Apply(ctx context.Context, changes []Change) error {
	all := make([]sonicdb.Change, len(changes))
	for i, c := range changes {
		table, _, _ := strings.Cut(c.Key, "|")
		if !strings.HasPrefix(table, prefix) {
			return fmt.Errorf("key %s: not of this database", c.Key)
		}
		all[i] = sonicdb.Change{Key: c.Key, Row: c.Row, TTL: c.TTL, Channel: d.Channel(table)}
	}
	return d.db.Apply(ctx, all)
}

// ChangeOf is the change that writes a row, or removes it.
func (d *DB) ChangeOf(r Row, remove bool) (Change, error) {
	key, err := d.key(r)
	if err != nil {
		return Change{}, err
	}
	c := Change{Key: key}
	if !remove {
		c.Row = r.Row()
	}
	return c, nil
}

// prefix of all tables; SNMP's rows in the same database have another.
const prefix = "RESOUR_"

// All reads every row of resour_DB by its key. Keys that hold no hash are named in the error beside the rows.
func (d *DB) All(ctx context.Context) (map[string]map[string]string, error) {
	return d.Match(ctx, prefix+"*")
}

// Match is All for the keys that match a glob pattern.
func (d *DB) Match(ctx context.Context, pattern string) (map[string]map[string]string, error) {
	keys, err := d.db.Scan(ctx, pattern)
	if err != nil {
		return nil, err
	}
	return d.db.Rows(ctx, keys...)
}

// WatchPatterns sends the keys that match one of the patterns as they change; see sonicdb.DB.Watch.
func (d *DB) WatchPatterns(ctx context.Context, patterns ...string) (<-chan string, error) {
	return d.db.Watch(ctx, patterns...)
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
