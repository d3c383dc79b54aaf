package bench

import (
	"encoding/json"
	"testing"
)

func TestRewire(t *testing.T) {
	var c map[string]any
	text := `{"root":{"path":"/var/lib/docker/overlay2/x/merged"},"hooks":{"prestart":[]},"annotations":{"org.criu.config":"/c"},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/etc/hosts","type":"bind","source":"/var/lib/docker/hosts"}],
"linux":{"cgroupsPath":"/netservices/x","namespaces":[{"type":"mount"},{"type":"network","path":"/proc/449/ns/net"}]}}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	sources, err := rewire(c, "bench-bare")
	if err != nil || len(sources) != 1 || sources[0] != "/var/lib/docker/hosts" {
		t.Fatalf("%q, %v", sources, err)
	}
	got, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"annotations":{"org.criu.config":"/c"},"linux":{"cgroupsPath":"/bench-bare","namespaces":[{"type":"mount"},{"path":"/run/netns/bench-bare","type":"network"}]},` +
		`"mounts":[{"destination":"/proc","source":"proc","type":"proc"},{"destination":"/etc/hosts","source":"/var/lib/bench-bare/mounts/0","type":"bind"}],` +
		`"root":{"path":"/var/lib/bench-bare/rootfs"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, bad := range []string{`{}`, `{"linux":{}}`} {
		var c map[string]any
		if err := json.Unmarshal([]byte(bad), &c); err != nil {
			t.Fatal(err)
		}
		if _, err := rewire(c, "b"); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
