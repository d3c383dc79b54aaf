// Package sonicdb connects to the Redis databases of a SONiC switch by their names.
//
// It reads database_config.json, finds the instance of a database and connects, by unix socket first. Rows are hashes
// of strings; a row without fields is stored as NULL=NULL, as SONiC's own tools do. It is the only user of go-redis.
// It is told by Redis itself: Watch follows the keyspace events that a switch has turned on.
package sonicdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ErrUnavailable says that the redis server of a database does not answer.
var ErrUnavailable = errors.New("redis does not answer")

// go-redis reports every failed dial on stderr in its own format; all of them reach the caller as errors anyway.
func init() { logging.Disable() }

// Set is the databases of one switch.
type Set struct {
	root   string
	layout Layout

	mu   sync.Mutex
	open map[string]*DB
}

// Open reads the layout of a switch. Root is "/" on the switch itself and in its feature containers, or the folder
// where another namespace's files are seen, such as /proc/PID/root. No connection is made yet.
func Open(root string) (*Set, error) {
	path := within(root, ConfigFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read database layout: %w", err)
	}
	l, err := ParseLayout(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Set{root: root, layout: l, open: map[string]*DB{}}, nil
}

// DB connects to a database by its name, for example "CONFIG_DB". The connection is shared and belongs to the Set.
func (s *Set) DB(ctx context.Context, name string) (*DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.open[name]; d != nil {
		return d, nil
	}
	place, instance, err := s.layout.Find(name)
	if err != nil {
		return nil, err
	}
	opt := &redis.Options{
		DB:                       place.ID,
		Protocol:                 2,
		DisableIdentity:          true,
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	opt.Network, opt.Addr, err = s.address(instance)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := &DB{name: name, id: place.ID, separator: place.Separator, client: redis.NewClient(opt)}
	if err := d.client.Ping(ctx).Err(); err != nil {
		_ = d.client.Close()
		return nil, fmt.Errorf("%s: %w: %w", name, ErrUnavailable, err)
	}
	s.open[name] = d
	return d, nil
}

// address prefers the unix socket. TCP is for a switch whose socket is not mounted here; below a foreign root it would
// reach this machine's own redis, so there it is no choice.
func (s *Set) address(i Instance) (network, addr string, err error) {
	if i.Socket != "" {
		sock := within(s.root, i.Socket)
		if _, err := os.Stat(sock); err == nil {
			return "unix", sock, nil
		}
	}
	if s.root != "" && s.root != "/" {
		return "", "", fmt.Errorf("%w: no socket %s", ErrUnavailable, within(s.root, i.Socket))
	}
	return "tcp", net.JoinHostPort(i.Hostname, strconv.Itoa(i.Port)), nil
}

// Close ends all connections.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for name, d := range s.open {
		errs = append(errs, d.client.Close())
		delete(s.open, name)
	}
	return errors.Join(errs...)
}

// DB is one database. Its methods may be called from several goroutines.
type DB struct {
	name      string
	id        int
	separator string
	client    *redis.Client
}

// Name of the database, for example "STATE_DB".
func (d *DB) Name() string { return d.name }

// ID is the number of the database on its instance.
func (d *DB) ID() int { return d.id }

// Key joins a table name and key parts with the separator of this database.
func (d *DB) Key(table string, parts ...string) string {
	return strings.Join(append([]string{table}, parts...), d.separator)
}

// nullField marks a row that exists and has no field.
const nullField = "NULL"

// HSet sets fields of a row; its other fields stay.
func (d *DB) HSet(ctx context.Context, key string, row map[string]string) error {
	if err := d.client.HSet(ctx, key, pairs(row)...).Err(); err != nil {
		return d.wrap("hset", key, err)
	}
	return nil
}

// Replace makes a row exactly these fields; readers never see the row missing in between.
func (d *DB) Replace(ctx context.Context, key string, row map[string]string) error {
	_, err := d.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, key)
		p.HSet(ctx, key, pairs(row)...)
		return nil
	})
	if err != nil {
		return d.wrap("replace", key, err)
	}
	return nil
}

// ReplaceFor is Replace of a row that vanishes unless it is written again within ttl: a reading outlives the program
// that took it by no more than that.
func (d *DB) ReplaceFor(ctx context.Context, key string, row map[string]string, ttl time.Duration) error {
	_, err := d.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, key)
		p.HSet(ctx, key, pairs(row)...)
		p.PExpire(ctx, key, ttl)
		return nil
	})
	if err != nil {
		return d.wrap("replace", key, err)
	}
	return nil
}

// Change is one step of Apply.
type Change struct {
	Key     string
	Row     map[string]string // nil: the row is removed
	TTL     time.Duration     // 0: the row stays
	Channel string            // where the key is published; "": nowhere
}

// Apply makes many changes in one round trip.
func (d *DB) Apply(ctx context.Context, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	_, err := d.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range changes {
			p.Del(ctx, c.Key)
			if c.Row != nil {
				p.HSet(ctx, c.Key, pairs(c.Row)...)
				if c.TTL > 0 {
					p.PExpire(ctx, c.Key, c.TTL)
				}
			}
			if c.Channel != "" {
				p.Publish(ctx, c.Channel, c.Key)
			}
		}
		return nil
	})
	if err != nil {
		return d.wrap("apply", fmt.Sprintf("%d changes", len(changes)), err)
	}
	return nil
}

// pairs lists fields in sorted order, so that redis-cli shows small rows sorted.
func pairs(row map[string]string) []any {
	if len(row) == 0 {
		return []any{nullField, nullField}
	}
	out := make([]any, 0, 2*len(row))
	for _, f := range slices.Sorted(maps.Keys(row)) {
		out = append(out, f, row[f])
	}
	return out
}

// HGetAll reads a row: nil when there is none, empty but not nil when it has no field.
func (d *DB) HGetAll(ctx context.Context, key string) (map[string]string, error) {
	row, err := d.client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, d.wrap("hgetall", key, err)
	}
	if len(row) == 0 {
		return nil, nil
	}
	if row[nullField] == nullField {
		delete(row, nullField)
	}
	return row, nil
}

// Rows reads many rows in one round trip and gives those that exist, by key. A key that holds no hash is left out and
// named in the error beside the others.
func (d *DB) Rows(ctx context.Context, keys ...string) (map[string]map[string]string, error) {
	if len(keys) == 0 {
		return map[string]map[string]string{}, nil
	}
	answers, _ := d.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.HGetAll(ctx, key)
		}
		return nil
	})
	rows := make(map[string]map[string]string, len(keys))
	var errs []error
	for i, answer := range answers {
		row, err := answer.(*redis.MapStringStringCmd).Result()
		if err != nil {
			err = d.wrap("hgetall", keys[i], err)
			if errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
				return nil, err
			}
			errs = append(errs, err)
			continue
		}
		if len(row) == 0 {
			continue
		}
		if row[nullField] == nullField {
			delete(row, nullField)
		}
		rows[keys[i]] = row
	}
	return rows, errors.Join(errs...)
}

// HDel removes fields of a row.
func (d *DB) HDel(ctx context.Context, key string, fields ...string) error {
	if err := d.client.HDel(ctx, key, fields...).Err(); err != nil {
		return d.wrap("hdel", key, err)
	}
	return nil
}

// Del removes rows; a row that is not there is no error.
func (d *DB) Del(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := d.client.Del(ctx, keys...).Err(); err != nil {
		return d.wrap("del", strings.Join(keys, " "), err)
	}
	return nil
}

// Scan lists the keys that match a glob pattern, sorted. Unlike KEYS it never holds up the server.
func (d *DB) Scan(ctx context.Context, pattern string) ([]string, error) {
	var keys []string
	it := d.client.Scan(ctx, 0, pattern, 500).Iterator()
	for it.Next(ctx) {
		keys = append(keys, it.Val())
	}
	if err := it.Err(); err != nil {
		return nil, d.wrap("scan", pattern, err)
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil // SCAN may give a key twice
}

// Publish sends a message on a channel. Channels belong to the instance, not to the database.
func (d *DB) Publish(ctx context.Context, channel, message string) error {
	if err := d.client.Publish(ctx, channel, message).Err(); err != nil {
		return d.wrap("publish", channel, err)
	}
	return nil
}

func (d *DB) wrap(op, key string, err error) error {
	var closed *net.OpError
	if errors.As(err, &closed) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %s %s: %w", d.name, op, key, err)
}
