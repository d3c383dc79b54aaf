package run

import (
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/decide"
)

// What actions do is counted by their paths, however many trees there are.
func TestStats(t *testing.T) {
	kept := 0
	d := newDisk(t)
	cfg := config()
	cfg.Store, cfg.Kept = d, func(time.Duration) { kept++ }
	w := roomy(t, nil).world
	w.begins["leaf3"] = decide.ErrRefused
	w.stuck[decide.Prewarm] = true
	p := start(t, w, cfg)
	p.run(30 * time.Second)
	s := p.r.Stats()
	only := func(what string, paths []string, leaf string) {
		t.Helper()
		if len(paths) != 1 || !strings.Contains(paths[0], "/"+leaf+"::") {
			t.Errorf("%s: %q, want one of %s", what, paths, leaf)
		}
	}
	var failed, running []string
	for path, n := range s.Failures {
		if n == 1 {
			failed = append(failed, path)
		}
	}
	for path, age := range s.Running {
		if age > 20*time.Second && age < 26*time.Second {
			running = append(running, path)
		}
	}
	only("failed once", failed, "Handshake")
	only("running for 24 s", running, "Prewarm")
	if s.Trees != 2 || len(s.Halts) != 0 || kept != len(d.writes) || kept == 0 || s.Ticks["floor"] < 40 {
		t.Errorf("%+v, told of %d of %d records", s, kept, len(d.writes))
	}
	if _, err := p.steer(Steering{Act: Halt}); err != nil {
		t.Fatal(err)
	}
	var halted []string
	for path := range p.r.Stats().Halts {
		halted = append(halted, path)
	}
	if len(halted) == 0 || !strings.Contains(halted[0], "/Prewarm::") && !strings.Contains(halted[len(halted)-1], "/Prewarm::") {
		t.Errorf("halted %q", halted)
	}
}
