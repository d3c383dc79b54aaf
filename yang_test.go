package arch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const yangModule = "api/yang/sonic-netservices.yang"

// yanglint says what libyang finds wrong, which is what a switch checks CONFIG_DB with.
func yanglint(t *testing.T, args ...string) (wrong string) {
	t.Helper()
	said, err := exec.Command("yanglint", args...).CombinedOutput()
	if _, refused := err.(*exec.ExitError); err != nil && !refused {
		t.Fatalf("%v: make setup installs it", err)
	}
	if (err == nil) != (len(said) == 0) {
		t.Fatalf("yanglint %q: %v: %s", args, err, said)
	}
	return string(said)
}

// A row of CONFIG_DB is taken or refused by the model as the programs take it.
func TestYANG(t *testing.T) {
	if wrong := yanglint(t, yangModule); wrong != "" {
		t.Fatalf("the model itself is not valid: %s", wrong)
	}
	for _, c := range []struct{ row, wrong string }{
		{`"edge": {"community": "office", "supernodes": "192.0.2.1:7654", "key": "secret", "mtu": 1290, "relay_only": true}`, ""},
		{`"edge": {"community": "a name of more than 19"}`, "community"},
		{`"edge": {"mtu": 2000}`, "mtu"},
		{`"edge": {"transform": "des"}`, "transform"},
		{`"edge": {"mac": "02:00:00:00:00"}`, "mac"},
		{`"edge": {"colour": "red"}`, "colour"},
		{`"supernode": {"communities": "/host/netservices/communities", "federation": "site", "lifetime": "60s", "rate": 200}`, ""},
		{`"supernode": {"federation": "a-name-that-is-too-long"}`, "federation"},
		{`"supernode": {"rate": 0}`, "rate"},
		{`"global": {"manager": "10.1.0.1:7301", "manager_node": "leaf1"}`, ""},
		{`"global": {"manager": "10.1.0.1:7301"}`, "manager_node"},
		{`"segment": {"vni": 10, "gateway": "10.20.0.1/24", "mtu": 1240}`, ""},
		{`"segment": {"vni": 0, "gateway": "10.20.0.1/24", "mtu": 1240}`, "vni"},
	} {
		data := filepath.Join(t.TempDir(), "data.json")
		if err := os.WriteFile(data, []byte(`{"sonic-netservices:sonic-netservices": {"NETSERVICES": {`+c.row+`}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		wrong := yanglint(t, "-t", "config", yangModule, data)
		if (c.wrong == "") != (wrong == "") || !strings.Contains(wrong, c.wrong) {
			t.Errorf("%s: %q, want %q", c.row, wrong, c.wrong)
		}
	}
}
