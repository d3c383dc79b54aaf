package sonicdb

import (
	"context"
	"testing"
	"time"

	"sonic-netservices/internal/sonicdb/dbtest"
)

// A program that is up before the configuration waits for it, and no longer than it is to live.
func TestBooted(t *testing.T) {
	sw := dbtest.Start(t)
	set, err := Open(sw.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, node, err := set.Booted(short); err == nil {
		t.Fatalf("booted as %q without a configuration", node)
	}
	time.AfterFunc(300*time.Millisecond, func() { sw.Redis(t, "4", "hset", "DEVICE_METADATA|localhost", "hostname", "leaf3") })
	db, node, err := set.Booted(t.Context())
	if err != nil || node != "leaf3" || db.Name() != "CONFIG_DB" {
		t.Errorf("booted as %q: %v", node, err)
	}
}
