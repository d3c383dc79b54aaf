package serve

import (
	"strings"
	"testing"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
	"sonic-netservices/resourdb"
)

// TestPicture: rows of a former life go, and rows that Redis lost come back.
func TestPicture(t *testing.T) {
	sw := dbtest.Start(t)
	dbs, err := sonicdb.Open(sw.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer dbs.Close()
	sw.Redis(t, "7", "HSET", "RESOUR_SERVICE|old", "image", "x")
	sw.Redis(t, "7", "HSET", "RESOUR_AGENT|leaf1", "addr", "not ours")

	p := &picture{}
	rows := []resourdb.Row{resourdb.Manager{Node: "leaf3", Addr: "10.1.0.3:7301", Epoch: 4}, resourdb.Service{Name: "kms", Migration: "live"}}
	keys := func() string {
		text := sw.Redis(t, "7", "KEYS", "*")
		var found []string
		for _, key := range []string{"RESOUR_AGENT|leaf1", "RESOUR_MANAGER|leader", "RESOUR_SERVICE|kms", "RESOUR_SERVICE|old"} {
			if strings.Contains(text, key) {
				found = append(found, key)
			}
		}
		return strings.Join(found, " ")
	}
	for _, c := range []struct {
		what   string
		before func()
		rows   []resourdb.Row
		want   string
	}{
		{"first", func() {}, rows, "RESOUR_AGENT|leaf1 RESOUR_MANAGER|leader RESOUR_SERVICE|kms"},
		{"service removed", func() {}, rows[:1], "RESOUR_AGENT|leaf1 RESOUR_MANAGER|leader"},
		{"Redis emptied", func() { sw.Restart(t) }, rows, "RESOUR_MANAGER|leader RESOUR_SERVICE|kms"},
	} {
		c.before()
		if err := p.set(t.Context(), dbs, c.rows); err != nil {
			if err = p.set(t.Context(), dbs, c.rows); err != nil { // the first call found the connection broken
				t.Fatal(err)
			}
		}
		if got := keys(); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}
