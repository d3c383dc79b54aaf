package vswitch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// TestMain: this test program is also the sonic-vs its nodes are started with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		root := &cobra.Command{SilenceUsage: true, SilenceErrors: true}
		root.AddCommand(testbed.Commands()...)
		root.AddCommand(vswitch.Command())
		if err := root.ExecuteContext(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// soon is how long a row may take to follow the kernel (issue 2: 3 s); patience is for what takes several steps.
const (
	soon     = 3 * time.Second
	patience = 30 * time.Second
)

// node is a switch under test with its databases.
type node struct {
	*testing.T
	bed  *testbed.Testbed
	node testbed.Node
	dbs  *sonicdb.Set
}

func (n node) db(name string) *sonicdb.DB {
	n.Helper()
	d, err := n.dbs.DB(n.Context(), name)
	if err != nil {
		n.Fatal(err)
	}
	return d
}

func (n node) row(db, key string) map[string]string {
	n.Helper()
	row, err := n.db(db).HGetAll(n.Context(), key)
	if err != nil {
		n.Fatal(err)
	}
	return row
}

func (n node) number(db, key, field string) int {
	n.Helper()
	v, err := strconv.Atoi(n.row(db, key)[field])
	if err != nil {
		n.Fatalf("%s %s %s: %v", db, key, field, err)
	}
	return v
}

// within waits until the row is as wanted.
func (n node) within(limit time.Duration, what, db, key string, ok func(map[string]string) bool) {
	n.Helper()
	begun := time.Now()
	for {
		row := n.row(db, key)
		if ok(row) {
			n.Logf("%s: after %v", what, time.Since(begun).Round(10*time.Millisecond))
			return
		}
		if time.Since(begun) > limit {
			n.Fatalf("%s: not within %v; %s %s is %v", what, limit, db, key, row)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func field(name, want string) func(map[string]string) bool {
	return func(row map[string]string) bool { return row[name] == want }
}

func gone(row map[string]string) bool { return row == nil }

func (n node) run(command ...string) string {
	n.Helper()
	out, err := n.bed.Exec(n.Context(), n.node.Name, command...).CombinedOutput()
	if err != nil {
		n.Fatalf("%s: %v: %v\n%s", n.node.Name, command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// with gives the node to a subtest.
func (n node) with(t *testing.T) node {
	n.T = t
	return n
}

func TestSwitch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("namespaces and mounts need root")
	}
	const instance = "vswtest"
	t.Cleanup(func() {
		if err := testbed.Down(context.Background(), instance); err != nil {
			t.Error(err)
		}
	})
	bed, err := testbed.Up(t.Context(), testbed.Options{
		Topology: "testdata/pair.yaml", Instance: instance,
		Restart: testbed.Restart{Sec: 0.5, LimitBurst: 3, LimitSec: 1200},
	})
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string) node {
		n, err := bed.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		dbs, err := sonicdb.Open(n.Path("/"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dbs.Close() })
		return node{t, bed, n, dbs}
	}
	leaf1, leaf2 := open("leaf1"), open("leaf2")

	t.Run("identity", func(t *testing.T) {
		n := leaf2.with(t)
		if got := n.run("hostname"); got != n.row("CONFIG_DB", "DEVICE_METADATA|localhost")["hostname"] {
			t.Errorf("hostname %s", got)
		}
		if row := n.row("CONFIG_DB", "NETSERVICES|global"); row["manager"] != "10.1.0.2:7301" || row["manager_node"] != "leaf2" {
			t.Errorf("NETSERVICES|global %v", row)
		}
	})
	t.Run("neighbours and links", func(t *testing.T) { links(leaf1.with(t), leaf2.with(t)) })
	t.Run("counters", func(t *testing.T) { counters(leaf1.with(t)) })
	t.Run("resources", func(t *testing.T) { resources(leaf1.with(t)) })
	t.Run("features", func(t *testing.T) { features(leaf1.with(t)) })
	t.Run("redis restart", func(t *testing.T) { redisRestart(leaf2.with(t)) })
}

// links: a neighbour is where LLDP really hears it; a link that goes down at one end takes the rows of both along.
func links(a, b node) {
	a.within(patience, "neighbour", "APPL_DB", "LLDP_ENTRY_TABLE:Ethernet0", field("lldp_rem_sys_name", "leaf2"))
	b.within(patience, "neighbour", "APPL_DB", "LLDP_ENTRY_TABLE:Ethernet4", field("lldp_rem_sys_name", "leaf1"))
	mac := b.row("CONFIG_DB", "DEVICE_METADATA|localhost")["mac"]
	row := a.row("APPL_DB", "LLDP_ENTRY_TABLE:Ethernet0")
	for f, want := range map[string]string{"lldp_rem_port_id": "Ethernet4", "lldp_rem_port_id_subtype": "5",
		"lldp_rem_chassis_id": mac, "lldp_rem_chassis_id_subtype": "4", "lldp_rem_man_addr": "10.1.0.2"} {
		if row[f] != want {
			a.Errorf("%s = %q, want %q", f, row[f], want)
		}
	}

	b.run("ip", "link", "set", "Ethernet4", "down")
	a.within(soon, "oper_status down", "APPL_DB", "PORT_TABLE:Ethernet0", field("oper_status", "down"))
	a.within(soon, "netdev_oper_status down", "STATE_DB", "PORT_TABLE|Ethernet0", field("netdev_oper_status", "down"))
	a.within(soon, "neighbour gone", "APPL_DB", "LLDP_ENTRY_TABLE:Ethernet0", gone)
	b.within(soon, "admin_status down", "APPL_DB", "PORT_TABLE:Ethernet4", field("admin_status", "down"))
	b.within(soon, "its neighbour gone", "APPL_DB", "LLDP_ENTRY_TABLE:Ethernet4", gone)
	if got := a.row("APPL_DB", "PORT_TABLE:Ethernet0")["admin_status"]; got != "up" {
		a.Errorf("admin_status of the other end: %s", got)
	}
	b.run("ip", "link", "set", "Ethernet4", "up")
	a.within(soon, "oper_status up", "APPL_DB", "PORT_TABLE:Ethernet0", field("oper_status", "up"))
	a.within(patience, "neighbour back", "APPL_DB", "LLDP_ENTRY_TABLE:Ethernet0", field("lldp_rem_sys_name", "leaf2"))

	// The operator's way: `config interface shutdown`.
	config := b.db("CONFIG_DB")
	if err := config.HSet(b.Context(), "PORT|Ethernet4", map[string]string{"admin_status": "down"}); err != nil {
		b.Fatal(err)
	}
	b.within(soon, "shutdown", "APPL_DB", "PORT_TABLE:Ethernet4", field("admin_status", "down"))
	if err := config.HSet(b.Context(), "PORT|Ethernet4", map[string]string{"admin_status": "up"}); err != nil {
		b.Fatal(err)
	}
	a.within(soon, "startup", "APPL_DB", "PORT_TABLE:Ethernet0", field("oper_status", "up"))
	if route := b.run("ip", "route", "show", "10.1.0.1"); !strings.Contains(route, "10.0.0.0 dev Ethernet4") {
		b.Errorf("the static route went with the link: %q", route)
	}
}

// counters: real traffic is what raises them.
func counters(n node) {
	oid := n.row("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP")["Ethernet0"]
	key := "COUNTERS:" + oid
	before := n.number("COUNTERS_DB", key, "SAI_PORT_STAT_IF_OUT_OCTETS")
	const packets, size = 200, 1000
	err := n.bed.InNetns("leaf1", func() error {
		c, err := net.Dial("udp", "10.1.0.2:9")
		if err != nil {
			return err
		}
		defer c.Close()
		for range packets {
			c.Write(make([]byte, size)) // a refusal of an earlier one comes back as an error; they were sent
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
	n.within(soon, "octets", "COUNTERS_DB", key, func(row map[string]string) bool {
		after, err := strconv.Atoi(row["SAI_PORT_STAT_IF_OUT_OCTETS"])
		return err == nil && after >= before+packets*size/2
	})
	n.within(soon, "rate", "COUNTERS_DB", "RATES:"+oid, func(row map[string]string) bool {
		rate, err := strconv.ParseFloat(row["TX_BPS"], 64)
		return err == nil && rate > 1000
	})
	n.within(soon, "rates valid", "COUNTERS_DB", "RATES:"+oid+":PORT", field("INIT_DONE", "DONE"))
}

// resources: CRM counts what the kernel holds.
func resources(n node) {
	const used, available = "crm_stats_ipv4_route_used", "crm_stats_ipv4_route_available"
	u, a := n.number("COUNTERS_DB", "CRM:STATS", used), n.number("COUNTERS_DB", "CRM:STATS", available)
	is := func(more int) func(map[string]string) bool {
		return func(row map[string]string) bool {
			return row[used] == strconv.Itoa(u+more) && row[available] == strconv.Itoa(a-more)
		}
	}
	n.run("ip", "route", "add", "192.0.2.0/24", "via", "10.0.0.1")
	n.run("ip", "route", "add", "198.51.100.0/24", "via", "10.0.0.1")
	n.within(soon, "two routes more", "COUNTERS_DB", "CRM:STATS", is(2))
	n.run("ip", "route", "del", "192.0.2.0/24")
	n.run("ip", "route", "del", "198.51.100.0/24")
	n.within(soon, "routes gone", "COUNTERS_DB", "CRM:STATS", is(0))
	n.run("ip", "neigh", "add", "10.0.0.9", "lladdr", "02:00:00:00:00:09", "dev", "Ethernet0", "nud", "permanent")
	n.within(soon, "neighbour", "COUNTERS_DB", "CRM:STATS", func(row map[string]string) bool {
		k, err := strconv.Atoi(row["crm_stats_ipv4_neighbor_used"])
		return err == nil && k > 0
	})
	n.run("nft", "add", "table", "ip", "test")
	n.within(soon, "ACL table", "COUNTERS_DB", "CRM:ACL_STATS:INGRESS:SWITCH", field("crm_stats_acl_table_used", "1"))
	n.run("nft", "delete", "table", "ip", "test")
}

// tinyRepo is a repository with one feature, built.
func tinyRepo(t *testing.T) string {
	t.Helper()
	repo := t.TempDir()
	for from, to := range map[string]string{"Dockerfile": "containers/Dockerfile", "manifest.json": "containers/tiny/manifest.json"} {
		text, err := os.ReadFile(filepath.Join("testdata/tiny", from))
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(repo, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(repo, "out/bin/tiny"), "./testdata/tiny")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return repo
}

// features: the life of a package on a switch.
func features(n node) {
	ctx := n.Context()
	repo := tinyRepo(n.T)
	docker, err := vswitch.DockerAt(n.node.DockerSocket())
	if err != nil {
		n.Fatal(err)
	}
	defer docker.Close()
	n.Cleanup(func() {
		built, _ := filepath.Glob(filepath.Join(images.CacheDir, "tiny-*.tar"))
		for _, f := range built {
			os.Remove(f)
		}
	})
	tarball, err := images.Build(ctx, docker, repo, "tiny")
	if err != nil {
		n.Fatal(err)
	}
	if got := n.run("docker", "images", "-aq"); got != "" {
		n.Errorf("the build left images: %s", got)
	}
	first, err := os.Stat(tarball)
	if err != nil {
		n.Fatal(err)
	}
	if _, err := images.Build(ctx, nil, repo, "tiny"); err != nil { // no engine: nothing to build
		n.Errorf("built again: %v", err)
	}
	if again, err := os.Stat(tarball); err != nil || !os.SameFile(first, again) {
		n.Errorf("the tarball was replaced: %v", err)
	}

	s := images.Switch{Root: n.node.Path("/"), Docker: docker, Config: n.db("CONFIG_DB"), State: n.db("STATE_DB")}
	p, err := s.Install(ctx, tarball, true)
	if err != nil {
		n.Fatal(err)
	}
	up, down := field("system_state", "up"), field("system_state", "down")
	n.within(patience, "up", "STATE_DB", "FEATURE|tiny", up)
	if row := n.row("CONFIG_DB", "TINY|global"); row["interval"] != "5" {
		n.Errorf("init-cfg: %v", row)
	}
	row := n.row("STATE_DB", "FEATURE|tiny")
	if row["state"] != "enabled" || row["current_owner"] != "local" || row["container_version"] != "1.2.3" {
		n.Errorf("FEATURE|tiny %v", row)
	}
	c := inspect(n, docker)
	if c.ID[:12] != row["container_id"] || c.Image != p.ImageID || c.HostConfig.NetworkMode != "host" || c.HostConfig.Privileged {
		n.Errorf("container %s of %s, %s", c.ID, c.Image, c.HostConfig.NetworkMode)
	}
	for _, m := range c.Mounts {
		if strings.Contains(m.Source, "docker.sock") {
			n.Error("an undeclared Docker socket is in the container")
		}
	}
	if err := s.Uninstall(ctx, "tiny"); err == nil || !strings.Contains(err.Error(), "disable it first") {
		n.Errorf("uninstall of an enabled feature: %v", err)
	}

	// Killed, it comes back as the same container after RestartSec; the third start is the last.
	comesBack := func(what string, die func()) {
		n.Helper()
		was := inspect(n, docker)
		die()
		n.within(patience, what, "STATE_DB", "FEATURE|tiny", func(row map[string]string) bool {
			is := inspect(n, docker)
			return row["system_state"] == "up" && is.State.Running && is.State.StartedAt != was.State.StartedAt
		})
		if is := inspect(n, docker); is.ID != was.ID {
			n.Error("restarted as another container")
		}
	}
	for range 2 {
		comesBack("restarted", func() { kill(n, docker) })
	}
	kill(n, docker)
	n.within(patience, "down", "STATE_DB", "FEATURE|tiny", down)
	time.Sleep(1500 * time.Millisecond) // three times RestartSec
	if inspect(n, docker).State.Running {
		n.Error("started a fourth time within StartLimitSec")
	}

	set := func(state string) {
		n.Helper()
		if err := s.Config.HSet(ctx, "FEATURE|tiny", map[string]string{"state": state}); err != nil {
			n.Fatal(err)
		}
	}
	set("disabled")
	n.within(patience, "disabled", "STATE_DB", "FEATURE|tiny", field("state", "disabled"))
	set("enabled")
	n.within(patience, "enabled again", "STATE_DB", "FEATURE|tiny", up)
	comesBack("restarted with dockerd", func() {
		n.run("sh", "-c", "kill -9 $(pidof dockerd)")
		for begun := time.Now(); time.Since(begun) < patience; time.Sleep(100 * time.Millisecond) {
			if _, err := docker.Ping(ctx); err == nil {
				return
			}
		}
		n.Fatal("dockerd does not come back")
	})
	set("disabled")
	n.within(patience, "stopped", "STATE_DB", "FEATURE|tiny", down)
	if inspect(n, docker).State.Running {
		n.Error("disabled and running")
	}
	// What runs from the image beside the feature goes with it, as SONiC's package manager has it (rm_by_ancestor).
	n.run("docker", "run", "-d", "--name", "beside", p.ImageID)
	if err := s.Uninstall(ctx, "tiny"); err != nil {
		n.Fatal(err)
	}
	n.within(patience, "row gone", "STATE_DB", "FEATURE|tiny", gone)
	if got := n.run("docker", "ps", "-aq") + n.run("docker", "images", "-aq"); got != "" {
		n.Errorf("uninstall left %s", got)
	}
}

type state struct {
	ID    string
	Image string
	State struct {
		Running   bool
		StartedAt string
	}
	HostConfig struct {
		NetworkMode string
		Privileged  bool
	}
	Mounts []struct{ Source string }
}

func inspect(n node, docker *client.Client) state {
	n.Helper()
	_, text, err := docker.ContainerInspectWithRaw(n.Context(), "tiny", false)
	if err != nil {
		n.Fatal(err)
	}
	var c state
	if err := json.Unmarshal(text, &c); err != nil {
		n.Fatal(err)
	}
	return c
}

func kill(n node, docker *client.Client) {
	n.Helper()
	if err := docker.ContainerKill(n.Context(), "tiny", "KILL"); err != nil {
		n.Fatal(err)
	}
}

// redisRestart: a redis-server that died comes back empty, and the switch writes its rows again.
func redisRestart(n node) {
	if err := n.db("CONFIG_DB").HSet(n.Context(), "PROOF|of", map[string]string{"former": "life"}); err != nil {
		n.Fatal(err)
	}
	n.run("sh", "-c", "kill -9 $(pidof redis-server)")
	begun := time.Now()
	wait := func(db, key string) {
		n.Helper()
		for time.Since(begun) < patience {
			d, err := n.dbs.DB(n.Context(), db)
			if err == nil {
				if row, err := d.HGetAll(n.Context(), key); err == nil && row != nil {
					return
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		n.Errorf("%s %s did not come back", db, key)
	}
	wait("CONFIG_DB", "DEVICE_METADATA|localhost")
	wait("APPL_DB", "PORT_TABLE:Ethernet4")
	wait("STATE_DB", "PORT_TABLE|Ethernet4")
	wait("COUNTERS_DB", "CRM:STATS")
	wait("APPL_DB", "LLDP_ENTRY_TABLE:Ethernet4")
	if row := n.row("CONFIG_DB", "PROOF|of"); row != nil {
		n.Error("redis was not restarted empty")
	}
}
