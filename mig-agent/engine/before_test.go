package engine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What an operator has in daemon.json is there again, byte by byte, after we came and went; what somebody changed in
// between stays.
func TestDaemonJSONComesBack(t *testing.T) {
	const ours = `{"runtimes":{"mig":{"path":"/old"}}}`
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		name        string
		was         *string
		liveRestore bool
		later       func(daemonJSON) // somebody else's change while we are there
		want        *string
	}{
		{"no file", nil, false, nil, nil},
		{"no file, live-restore", nil, true, nil, nil},
		{"empty file", text(""), true, nil, text("")},
		{"empty object", text("{}"), false, nil, text("{}")},
		{"own layout", text("{\"debug\":true,\n\n  \"log-level\":\"warn\"}"), true, nil, text("{\"debug\":true,\n\n  \"log-level\":\"warn\"}")},
		{"own live-restore", text(`{"live-restore": true}`), false, nil, text(`{"live-restore": true}`)},
		{"own live-restore off", text(`{"live-restore":false}`), true, nil, text(`{"live-restore":false}`)},
		{"own runtime", text(`{"runtimes":{"kata":{"path":"/k"}}}`), false, nil, text(`{"runtimes":{"kata":{"path":"/k"}}}`)},
		{"of a version that noted nothing", text(ours), false, nil, nil},
		{"changed since", nil, true, func(c daemonJSON) { c["debug"] = json.RawMessage("true") }, text("{\n  \"debug\": true\n}\n")},
		{"changed since, own keys", text(`{"live-restore":true,"runtimes":{"kata":{"path":"/k"}}}`), false,
			func(c daemonJSON) { c["debug"] = json.RawMessage("true") },
			text("{\n  \"debug\": true,\n  \"live-restore\": true,\n  \"runtimes\": {\n    \"kata\": {\n      \"path\": \"/k\"\n    }\n  }\n}\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := Host{Dir: t.TempDir(), Proc: t.TempDir()}
			d := Dockerd{JSON: filepath.Join(t.TempDir(), "daemon.json"), PID: "/nonexistent", LiveRestore: c.liveRestore}
			if c.was != nil {
				if err := os.WriteFile(d.JSON, []byte(*c.was), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second time nothing is new
				h.ConfigureDockerd(d) // there is no dockerd to reload, which it says
			}
			now, err := os.ReadFile(d.JSON)
			if err != nil {
				t.Fatal(err)
			}
			if _, changed, err := withRuntime(now, h.runtime()); err != nil || changed {
				t.Errorf("our runtime is not in %s (%v)", now, err)
			}
			b, err := h.readBefore()
			if err != nil {
				t.Fatal(err)
			}
			if on, _ := mustParse(t, now).liveRestore(); on != (c.liveRestore || b.liveRestore()) {
				t.Errorf("live-restore is %v in %s", on, now)
			}
			if c.later != nil {
				conf := mustParse(t, now)
				c.later(conf)
				now = conf.text()
			}
			ending, err := b.ending(now)
			if err != nil {
				t.Fatal(err)
			}
			conf := mustParse(t, ending)
			if _, set := conf["runtimes"]; !set || conf.dropRuntime() {
				t.Errorf("reload would not end our runtime: %s", ending)
			}
			if on, set := conf.liveRestore(); b.Restoring && !set || on != b.liveRestore() {
				t.Errorf("reload would not end live-restore: %s", ending)
			}
			last, err := b.restored(now)
			if err != nil {
				t.Fatal(err)
			}
			var got *string
			if last != nil {
				got = text(string(last))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An operator's own live-restore is not ours to end, whenever it was set; ours ends when it is not asked for any more.
func TestLiveRestoreOfOthers(t *testing.T) {
	h := Host{Dir: t.TempDir(), Proc: t.TempDir()}
	d := Dockerd{JSON: filepath.Join(t.TempDir(), "daemon.json"), PID: "/nonexistent"}
	configure := func(ours bool) (on bool) {
		t.Helper()
		d.LiveRestore = ours
		h.ConfigureDockerd(d) // there is no dockerd to reload, which it says
		now, err := os.ReadFile(d.JSON)
		if err != nil {
			t.Fatal(err)
		}
		on, _ = mustParse(t, now).liveRestore()
		return on
	}
	if configure(false) {
		t.Error("it is on without anybody's wish")
	}
	if !configure(true) {
		t.Error("it is not on")
	}
	if configure(false) {
		t.Error("ours stays on")
	}
	now, err := os.ReadFile(d.JSON)
	if err != nil {
		t.Fatal(err)
	}
	conf := mustParse(t, now)
	conf[liveRestoreKey] = json.RawMessage("true")
	if err := os.WriteFile(d.JSON, conf.text(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, ours := range []bool{false, true, false} {
		if !configure(ours) {
			t.Errorf("asked for %v, the operator's is off", ours)
		}
	}
}

func mustParse(t *testing.T, text []byte) daemonJSON {
	t.Helper()
	conf, err := parseDaemonJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}
