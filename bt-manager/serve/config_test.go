package serve

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
)

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for range 500 {
		if happened() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func parse(t *testing.T, args ...string) Config {
	t.Helper()
	var c Config
	flags := flag.NewFlagSet("x", flag.ContinueOnError)
	c.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigDB(t *testing.T) {
	sw := dbtest.Start(t)
	dbs, err := sonicdb.Open(sw.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer dbs.Close()
	db, err := dbs.DB(t.Context(), "CONFIG_DB")
	if err != nil {
		t.Fatal(err)
	}
	for key, row := range map[string]map[string]string{
		"DEVICE_METADATA|localhost":                  {"hostname": "leaf3"},
		"LOOPBACK_INTERFACE|Loopback0":               {},
		"LOOPBACK_INTERFACE|Loopback0|10.1.0.3/32":   {},
		"LOOPBACK_INTERFACE|Loopback0|fc00:1::3/128": {},
		"NETSERVICES|segment":                        {"vni": "1000", "gateway": "10.20.0.1/24", "gateway6": "fd20::1/64"},
		"NETSERVICES|global":                         {"tree": "/etc/trees.xml", "record": "off"},
	} {
		if err := db.HSet(t.Context(), key, row); err != nil {
			t.Fatal(err)
		}
	}
	c := parse(t, "-dir", "/tmp/x")
	if err := c.Complete(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c.Print(&out)
	want := `node     leaf3                        CONFIG_DB
listen   10.1.0.3:7301                CONFIG_DB
journal  10.1.0.3:7309                default
segment  10.20.0.1/24                 CONFIG_DB
segment6 fd20::1/64                   CONFIG_DB
pki      /host/netservices/pki        default
dir      /tmp/x                       flag
tree     /etc/trees.xml               CONFIG_DB
groot    127.0.0.1:1667               default
record   off                          CONFIG_DB
metrics  127.0.0.1:7306               default
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// The address that the agents are told, where it is this switch's.
	if err := db.HSet(t.Context(), "NETSERVICES|global", map[string]string{"manager": "10.1.0.3:7399", "manager_node": "leaf3"}); err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{"leaf3": "10.1.0.3:7399", "leaf4": "10.1.0.3:7301"} {
		c = parse(t, "-node", node)
		if err := c.Complete(t.Context(), db); err != nil || c.Listen != want {
			t.Errorf("%s listens on %s, want %s; %v", node, c.Listen, want, err)
		}
	}

	c = parse(t, "-listen", "127.0.0.1:1", "-node", "spine9", "-segment", "10.9.0.1/16")
	if err := c.Complete(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:1" || c.Node != "spine9" || c.Segment != "10.9.0.1/16" {
		t.Errorf("flags do not win: %+v", c)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "node: neither -node nor CONFIG_DB"},
		{[]string{"-node", "leaf3"}, "listen: neither -listen nor"},
		{[]string{"-node", "leaf3", "-listen", "10.1.0.3"}, "listen: address 10.1.0.3: missing port"},
		{[]string{"-node", "leaf3", "-listen", "10.1.0.3:1", "-segment", "10.20.0.1"}, "segment: netip.ParsePrefix"},
		{[]string{"-node", "leaf3", "-listen", "10.1.0.3:1", "-groot", "0.0.0.0:1667"}, "groot: 0.0.0.0:1667: want a loopback address"},
		{[]string{"-node", "leaf3", "-listen", "10.1.0.3:1", "-groot", "1667"}, "groot: not an ip:port"},
		{[]string{"-node", "leaf3", "-listen", "10.1.0.3:1", "-metrics", "10.1.0.3:7306"}, "metrics: 10.1.0.3:7306 is no address of the loopback"},
		{[]string{"-node", "leaf3", "-listen", "10.1.0.3:1", "-record", "some"}, `record: "some", want on or off`},
	} {
		config := parse(t, c.args...)
		if err := config.Complete(t.Context(), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q in it", c.args, err, c.want)
		}
	}
	c := Config{Node: "leaf4", Listen: "127.0.0.1:0", PKI: (&site{t: t, ca: newCA(t)}).pki("leaf3", "manager"), Dir: t.TempDir()}
	if err := Run(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "this switch is leaf4, the manager's certificate names leaf3") {
		t.Errorf("certificate of another node: %v", err)
	}
}

// What -check says of a tree file is what a start would end with.
func TestCheckTrees(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"built in":     {"", ""},
		"cut off":      {`<root BTCPP_format="4"><BehaviorTree ID="Intake">`, "trees.xml:1:"},
		"no such leaf": {"<root BTCPP_format=\"4\">\n<BehaviorTree ID=\"Intake\">\n<Guess/>\n</BehaviorTree></root>", "trees.xml:3:"},
		"a good one":   {`<root BTCPP_format="4"><BehaviorTree ID="Intake"><AlwaysSuccess/></BehaviorTree></root>`, ""},
	} {
		var c Config
		if tt.text != "" {
			c.Tree = filepath.Join(t.TempDir(), "trees.xml")
			if err := os.WriteFile(c.Tree, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.CheckTrees(); (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	missing := Config{Tree: filepath.Join(t.TempDir(), "none.xml")}
	if err := missing.CheckTrees(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
