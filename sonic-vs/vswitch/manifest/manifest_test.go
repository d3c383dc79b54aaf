package manifest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const full = `{
  "version": "1.0.0",
  "package": {"name": "mig-agent", "version": "0.1.0", "description": "d", "depends": ["database>=1.0.0,<2.0.0", {"name": "lldp"}]},
  "service": {"name": "mig-agent", "requires": ["database"], "after": ["database"], "stop-time": "10", "warm-shutdown": {"before": ["swss"]}},
  "container": {"volumes": ["/var/run/docker.sock:/var/run/docker.sock:rw", "/etc/sonic:/etc/sonic:ro"],
    "mounts": [{"source": "/a", "target": "/b", "type": "bind"}], "environment": {"N": 3, "B": true, "S": "x"}, "tmpfs": ["/tmp"]},
  "processes": [{"name": "mig-agent"}],
  "cli": {"show": "/show.py", "config": null, "clear": []}
}`

func TestParse(t *testing.T) {
	m, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{
		Version: "1.0.0",
		Package: Package{Name: "mig-agent", Version: "0.1.0", Description: "d", Depends: []string{"database>=1.0.0,<2.0.0", "lldp"}},
		Service: Service{Name: "mig-agent", Requires: []string{"database"}, After: []string{"database"}, HostService: true,
			StopTime: "10", WarmShutdown: Order{Before: []string{"swss"}}},
		Container: Container{
			Volumes:     []string{"/var/run/docker.sock:/var/run/docker.sock:rw", "/etc/sonic:/etc/sonic:ro"},
			Mounts:      []Mount{{"/a", "/b", "bind"}},
			Environment: map[string]string{"N": "3", "B": "true", "S": "x"},
			Tmpfs:       []string{"/tmp"},
		},
		Processes: []Process{{Name: "mig-agent"}},
		CLI:       CLI{Show: []string{"/show.py"}},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := strings.Join(m.Package.Requires(), " "); got != "database lldp" {
		t.Errorf("requires %q", got)
	}
}

// Each case changes one key of a good manifest; the error names that key.
func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ path, value, want string }{
		{"colour", `"red"`, "colour: unknown key"},
		{"container.capabilities", `["ALL"]`, "container.capabilities: unknown key"},
		{"service.warm-shutdown", `{"when": []}`, "service.warm-shutdown.when: unknown key"},
		{"processes", `[{"name": "a", "command": "b"}]`, "processes[0].command: unknown key"},
		{"package.version", `"1.0"`, `package.version: "1.0" is not x.y.z`},
		{"package.version", `null`, "package.version: is required"},
		{"package.name", `"a b"`, `package.name: "a b"`},
		{"package.depends", `["database >= 1.0.0"]`, "package.depends[0]"},
		{"package.depends", `["database>=new"]`, "package.depends[0]"},
		{"package.base-os", `{"kernel": 6}`, "package.base-os.kernel: want text"},
		{"service.name", `"` + strings.Repeat("a", 33) + `"`, "service.name"},
		{"service.after", `"database"`, "service.after: want a list"},
		{"service.requires", `[1]`, "service.requires[0]"},
		{"service.delayed", `"yes"`, "service.delayed: want true or false"},
		{"service.stop-time", `10`, "service.stop-time: want text"},
		{"container.volumes", `["/a:/b --cap-add ALL"]`, "container.volumes[0]"},
		{"container.volumes", `["relative:/b"]`, "container.volumes[0]"},
		{"container.mounts", `[{"source": "/a", "target": "/b"}]`, "container.mounts[0].type: is required"},
		{"container.mounts", `[null]`, "container.mounts[0]: want an object"},
		{"container.environment", `{"A": "b --privileged"}`, "container.environment.A"},
		{"container.environment", `{"A": []}`, "container.environment.A"},
		{"container.privileged", `1`, "container.privileged: want true or false"},
		{"cli.show", `""`, "cli.show[0]: want text that is not empty"},
		{"cli.show", `["show.py"]`, "cli.show[0]"},
		{"service", `[]`, "service: want an object"},
	} {
		var doc map[string]any
		if err := json.Unmarshal([]byte(full), &doc); err != nil {
			t.Fatal(err)
		}
		at, key := doc, c.path
		if section, rest, ok := strings.Cut(c.path, "."); ok {
			at, key = doc[section].(map[string]any), rest
		}
		at[key] = json.RawMessage(c.value)
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %s: error %v, want %s", c.path, c.value, err, c.want)
		}
	}
	for _, text := range []string{``, `[]`, `{} {}`, `null`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q parses", text)
		}
	}
}

// The manifests of our own images are good, name themselves after their folder, and carry one version.
func TestOurManifests(t *testing.T) {
	files, err := filepath.Glob("../../../containers/*/manifest.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	versions := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if dir := filepath.Base(filepath.Dir(f)); m.Package.Name != dir || m.Service.Name != dir {
			t.Errorf("%s: package %s, service %s", f, m.Package.Name, m.Service.Name)
		}
		versions[m.Package.Version] = true
	}
	if len(versions) != 1 {
		t.Errorf("versions differ: %v", versions)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"package":{"name":"a","version":"1.0.0"},"service":{"name":"a"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		if m.Package.Name == "" || m.Service.Name == "" || !semver(m.Package.Version) {
			t.Errorf("accepted %+v", m)
		}
	})
}
