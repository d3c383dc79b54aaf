package sonicdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/internal/sonicdb/dbtest"
)

func open(t *testing.T, root, name string) *DB {
	t.Helper()
	set, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	d, err := set.DB(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRows(t *testing.T) {
	root := dbtest.Start(t).Root
	d, ctx := open(t, root, "CONFIG_DB"), t.Context()
	key := d.Key("PORT", "Ethernet0")
	if key != "PORT|Ethernet0" {
		t.Fatalf("key %q", key)
	}
	step := func(what string, err error, want map[string]string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.HGetAll(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	step("absent", nil, nil)
	step("no field", d.HSet(ctx, key, nil), map[string]string{})
	step("set", d.HSet(ctx, key, map[string]string{"mtu": "9100"}), map[string]string{"mtu": "9100"})
	step("merge", d.HSet(ctx, key, map[string]string{"speed": "10000"}), map[string]string{"mtu": "9100", "speed": "10000"})
	step("field gone", d.HDel(ctx, key, "mtu"), map[string]string{"speed": "10000"})
	step("replace", d.Replace(ctx, key, map[string]string{"alias": "a"}), map[string]string{"alias": "a"})
	step("replace by nothing", d.Replace(ctx, key, nil), map[string]string{})
	for i := range 1200 { // more than one SCAN page
		if err := d.HSet(ctx, d.Key("VLAN", fmt.Sprint(i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := d.Scan(ctx, "VLAN|*")
	if err != nil || len(keys) != 1200 || !slices.IsSorted(keys) {
		t.Errorf("scan: %d keys, %v", len(keys), err)
	}
	step("removed", d.Del(ctx, key, "PORT|absent"), nil)
}

// A row of another type than hash is an error that names database, operation and key.
func TestWrongType(t *testing.T) {
	root := dbtest.Start(t).Root
	d := open(t, root, "STATE_DB")
	if err := d.client.Set(t.Context(), "PORT_TABLE|x", "text", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := d.HGetAll(t.Context(), "PORT_TABLE|x")
	if err == nil || !strings.Contains(err.Error(), "STATE_DB: hgetall PORT_TABLE|x") {
		t.Errorf("error %v", err)
	}
}

func TestResourDBNeighbours(t *testing.T) {
	root := dbtest.Start(t).Root
	if d := open(t, root, "RESOUR_DB"); d.ID() != 7 || d.Key("A", "b") != "A|b" {
		t.Errorf("RESOUR_DB: id %d, key %s", d.ID(), d.Key("A", "b"))
	}
	set, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.DB(t.Context(), "NO_DB"); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("NO_DB: %v", err)
	}
}

func TestUnavailable(t *testing.T) {
	sw := dbtest.Start(t)
	root := sw.Root
	d := open(t, root, "STATE_DB")
	sw.Stop()
	if err := d.HSet(t.Context(), "A|b", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("dead server: %v", err)
	}
	os.Remove(filepath.Join(root, "run/redis/redis.sock"))
	set, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.DB(t.Context(), "STATE_DB"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no socket: %v", err)
	}
}

func TestAddress(t *testing.T) {
	here := Instance{Hostname: "127.0.0.1", Port: 6379, Socket: "/nowhere/redis.sock"}
	network, addr, err := (&Set{root: "/"}).address(here)
	if err != nil || network != "tcp" || addr != "127.0.0.1:6379" {
		t.Errorf("TCP fallback: %s %s %v", network, addr, err)
	}
	if _, _, err := (&Set{root: "/proc/1/root"}).address(here); !errors.Is(err, ErrUnavailable) {
		t.Errorf("foreign root fell back to TCP: %v", err)
	}
	for path, want := range map[string]string{
		"/var/run/redis/redis.sock": "/proc/7/root/run/redis/redis.sock",
		"/run/redis.sock":           "/proc/7/root/run/redis.sock",
	} {
		if got := within("/proc/7/root", path); got != want {
			t.Errorf("within(%s) = %s", path, got)
		}
	}
}

func TestWatch(t *testing.T) {
	sw := dbtest.Start(t)
	d := open(t, sw.Root, "APPL_DB")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	set := func(key string) {
		t.Helper()
		if err := d.HSet(ctx, key, map[string]string{"f": "v"}); err != nil {
			t.Fatal(err)
		}
	}
	set("T:old")
	keys, err := d.Watch(ctx, "T:*")
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, wanted ...string) {
		t.Helper()
		got := map[string]bool{}
		for len(got) < len(wanted) {
			select {
			case k := <-keys:
				got[k] = true
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: only %v came", what, slices.Sorted(maps.Keys(got)))
			}
		}
		if diff := cmp.Diff(wanted, slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want("first scan", "T:old")
	set("U:other")
	set("T:new")
	want("event", "T:new")
	if err := d.Del(ctx, "T:new"); err != nil {
		t.Fatal(err)
	}
	want("removal", "T:new")

	// A restart empties the server, as a power cycle does: the lost row and the row written meanwhile are both told.
	sw.Restart(t)
	set("T:meanwhile")
	want("after the restart", "T:meanwhile", "T:old")

	cancel()
	for range keys { // closes
	}
}

func TestWatchWithoutEvents(t *testing.T) {
	root := dbtest.StartEvents(t, "").Root
	if _, err := open(t, root, "APPL_DB").Watch(t.Context(), "T:*"); !errors.Is(err, ErrEventsOff) {
		t.Errorf("error %v", err)
	}
}

func TestLayoutErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "unexpected end",
		`{"DATABASES":{"A":{"id":1,"instance":"redis"}}}`:                           `DATABASES A: instance "redis" is not in INSTANCES`,
		`{"INSTANCES":{"redis":{}},"DATABASES":{"A":{"id":-1,"instance":"redis"}}}`: "DATABASES A: id -1 is negative",
	} {
		if _, err := ParseLayout([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

func FuzzParseLayout(f *testing.F) {
	f.Add(dbtest.Layout)
	f.Add([]byte(`{"INSTANCES":{},"DATABASES":{"STATE_DB":{"instance":"x"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseLayout(text)
		if err != nil {
			return
		}
		for name := range l.Databases { // what parses can be found
			if _, _, err := l.Find(name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
