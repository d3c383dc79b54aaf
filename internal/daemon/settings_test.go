package daemon

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	flags := flag.NewFlagSet("program", flag.ContinueOnError)
	for _, name := range []string{"device", "key", "guess-ports", "left", "version"} {
		flags.String(name, "", "")
	}
	if err := flags.Parse([]string{"-device", "tap1"}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("device: tap3\nguess-ports: 3\nkey: secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewSettings(flags)
	if err := s.Row(map[string]string{"device": "tap2", "guess_ports": "2"}, "CONFIG_DB"); err != nil {
		t.Fatal(err)
	}
	if err := s.File(file); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	s.Print(&out, "key")
	want := "device: \"tap1\"  # flag\nguess-ports: \"2\"  # CONFIG_DB\nkey: \"(set)\"  # " + file + "\nleft: \"\"  # default\n"
	if out.String() != want {
		t.Errorf("in effect:\n%swant:\n%s", out.String(), want)
	}
	for name, err := range map[string]error{
		"CONFIG_DB: nope: no such setting":    s.Row(map[string]string{"nope": "1"}, "CONFIG_DB"),
		"CONFIG_DB: version: no such setting": s.Row(map[string]string{"version": "1"}, "CONFIG_DB"),
		"config: open /nowhere/settings":      s.File("/nowhere/settings"),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %s", err, name)
		}
	}
}
