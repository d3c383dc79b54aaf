package edge

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// complete reads a configuration from flags and a file.
func complete(t *testing.T, file string, args ...string) (*Config, error) {
	t.Helper()
	flags := flag.NewFlagSet("edge", flag.ContinueOnError)
	cfg := new(Config)
	cfg.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "edge.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cfg, cfg.Complete(t.Context(), nil, path)
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for args, want := range map[string]string{
		"":                      "community:",
		"-community net":        "key:",
		"-community net -key k": "supernodes:",
		"-community much-too-long-a-name -key k -supernodes a:1":       "community:",
		"-community net -key k -supernodes a":                          "supernodes:",
		"-community net -key k -supernodes a:0":                        "supernodes:",
		"-community net -supernodes a:1 -transform rot13":              "transform:",
		"-community net -key k -supernodes a:1 -password p":            "transform:",
		"-community net -key k -supernodes a:1 -user u":                "password:",
		"-community net -key k -supernodes a:1 -address 10.0.0.1":      "address:",
		"-community net -key k -supernodes a:1 -address 10.0.0.1/31":   "address:",
		"-community net -key k -supernodes a:1 -mac 01:00:00:00:00:00": "mac:",
		"-community net -key k -supernodes a:1 -mtu 9000":              "mtu:",
		"-community net -key k -supernodes a:1 -interval 5m":           "interval:",
		"-community net -key k -supernodes a:1 -device a/b":            "device:",
		"-community net -key k -supernodes a:1 -preferred a:1":         "preferred:",
		"-community net -key k -supernodes a:1 -metrics 0.0.0.0:1":     "metrics:",
	} {
		_, err := complete(t, "", strings.Fields(args)...)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
}

func TestFlagsAreMoreThanTheFile(t *testing.T) {
	cfg, err := complete(t, "community: file\nkey: k\nsupernodes: a:1\nmtu: 1300\n", "-community", "flag")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Community != "flag" || cfg.MTU != 1300 {
		t.Errorf("community %q, mtu %d", cfg.Community, cfg.MTU)
	}
	var out bytes.Buffer
	cfg.Print(&out)
	for _, want := range []string{"community: \"flag\"  # flag\n", "mtu: \"1300\"  # ", "key: \"(set)\"", "port: \"0\"  # default\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if _, err := complete(t, "communty: x\n"); err == nil || !strings.Contains(err.Error(), "communty: no such setting") {
		t.Errorf("a setting nobody knows: %v", err)
	}
}

// After a crash an edge is who it was: supernodes would refuse anybody else under its MAC.
func TestIdentityIsKept(t *testing.T) {
	cfg := config(t, 1, "-state", t.TempDir())
	first, err := LoadIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if first.MAC[0]&3 != 2 || first.Token == ([16]byte{}) {
		t.Errorf("%+v", first)
	}
	again, err := LoadIdentity(cfg)
	if err != nil || again != first {
		t.Errorf("%+v, %v: want %+v", again, err, first)
	}
	named := config(t, 1, "-state", cfg.State, "-mac", "02:00:00:00:00:77")
	other, err := LoadIdentity(named)
	if err != nil || other.MAC != (mac(0x77)) || other.Token != first.Token {
		t.Errorf("%+v, %v: want the same token under another MAC", other, err)
	}
	path := filepath.Join(cfg.State, cfg.Device+".json")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others may read it", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte(`{"format":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(cfg); err == nil {
		t.Error("a format of the future was taken")
	}
}
