package serve

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
)

// A flag wins over CONFIG_DB, that over the file, that over the default; -check shows which it was.
func TestWhereSettingsComeFrom(t *testing.T) {
	sw := dbtest.Start(t)
	sw.Redis(t, "4", "hset", "NETSERVICES|supernode", "rate", "50", "max_edges", "10", "takeover", "true")
	sw.Redis(t, "4", "hset", "LOOPBACK_INTERFACE|Loopback0|10.1.0.3/32", "NULL", "NULL")
	dbs, err := sonicdb.Open(sw.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer dbs.Close()
	db, err := dbs.DB(t.Context(), "CONFIG_DB")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("rate: 60\nmax-edges: 20\nlifetime: 90s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &Config{}
	flags := flag.NewFlagSet("x", flag.ContinueOnError)
	c.Flags(flags)
	if err := flags.Parse([]string{"-rate", "40"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(t.Context(), db, file); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	c.Print(&out)
	for _, want := range []string{`rate: "40"  # flag`, `max-edges: "10"  # CONFIG_DB NETSERVICES|supernode`, `takeover: "true"  # CONFIG_DB NETSERVICES|supernode`,
		`lifetime: "1m30s"  # ` + file, `subnets: "10.128.0.0/9"  # default`, `manage: "10.1.0.3:7307"  # CONFIG_DB Loopback0`} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no line %s in\n%s", want, out.String())
		}
	}
}

// What is wrong is named.
func TestWrongSettings(t *testing.T) {
	list := filepath.Join(t.TempDir(), "communities")
	if err := os.WriteFile(list, []byte("office\n* alice nokey\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flag, value, want string }{
		{"listen", "7654", "listen:"},
		{"mac", "03:00:00:00:00:01", "mac:"},
		{"metrics", "0.0.0.0:80", "metrics:"},
		{"subnets", "10.0.0.0/31", "subnets:"},
		{"federation", "a-name-that-is-too-long", "federation:"},
		{"lifetime", "10s", "lifetime:"},
		{"rate", "0", "rate:"},
		{"peers", "192.0.2.1", "peers:"},
		{"communities", list, "communities: " + list + ": line 2: user \"alice\""},
		{"communities", list + ".none", "communities: open"},
	} {
		config := &Config{}
		flags := flag.NewFlagSet("x", flag.ContinueOnError)
		config.Flags(flags)
		if err := flags.Parse([]string{"-" + c.flag, c.value}); err != nil {
			t.Fatal(err)
		}
		if err := config.Complete(t.Context(), nil, ""); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("-%s %s: %v, want %s...", c.flag, c.value, err, c.want)
		}
	}
}
