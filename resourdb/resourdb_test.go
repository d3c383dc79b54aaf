package resourdb

import (
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
	"sonic-netservices/netmap"
)

var update = flag.Bool("update", false, "re-record testdata/schema.golden")

var at = time.Date(2026, 11, 21, 12, 0, 0, 250e6, time.UTC)

// samples holds one row of each table.
var samples = []Row{
	Agent{Node: "leaf1", Addr: "10.1.0.1:7302", CRIU: "4.2.1", From: "bundle", Runtime: "runc 1.1.15",
		Modes:  []netmap.Mode{netmap.Live, netmap.Cold},
		Cannot: map[netmap.Mode]string{netmap.Warm: "no state handler in the image"}},
	Instance{ID: netmap.ReplicaID{Service: "kms"}, Node: "leaf1", State: netmap.Running, Container: "kms-0",
		Address: "10.20.0.10/24", Since: at, Op: "01J", Problem: "10.20.0.10 of kms-0 on leaf1 is claimed by leaf2 too"},
	Service{Name: "kms", Image: "kms:1.0.0", ImageID: "sha256:0123", Replicas: 1, Address: "10.20.0.10/24",
		Migration: netmap.Live, Probe: "http :8080/healthz", Volumes: []string{"data:/data"},
		Demand: map[string]float64{"compute": 0.2, "memory": 67108864}},
	Policy{ID: netmap.ReplicaID{Service: "kms"}, Node: "leaf2", Reason: "operator", Gain: 0.125, Epoch: 3, Decided: at},
	Migration{Op: "01J", ID: netmap.ReplicaID{Service: "kms"}, From: "leaf1", To: "leaf2", Mode: netmap.Live,
		Phase: "clean", Outcome: "committed", GapMS: 131.5, Bytes: 4194304, Started: at, Ended: at.Add(3 * time.Second),
		ExpectedMS: 140, Packets: 87, Reason: "operator's order", Trace: `{"op":"01J","checkpoint_bytes":"4190208"}`},
	Manager{Node: "leaf3", Addr: "10.1.0.3:7301", Epoch: 3, Cluster: "kq3"},
	Node{Name: "leaf1", Addr: "10.1.0.1", AS: 65100, Tier: "edge", MAC: "52:54:00:00:00:01", Kernel: "6.12.41", Software: "0.1.0",
		PushInterval: time.Second, Incarnation: 2, Rev: 17},
	Resource{Node: "leaf1", Resource: netmap.Resource{Kind: netmap.Compute, Capacity: 0.6, Used: 0.153, Unit: "cores",
		Source: "cpuacct of /netservices"}},
	Resource{Node: "leaf1", Resource: netmap.Resource{Kind: netmap.Forwarding, Capacity: 98304, Used: 14, Unit: "entries",
		Source: "CRM ipv4_route"}, Age: 300 * time.Second},
	Forwarding{Node: "leaf1", Count: map[string]int64{"ipv4_route_used": 14, "ipv4_route_available": 98290}},
	Neighbor{Node: "leaf1", Port: "Ethernet0", Neighbor: "leaf2", NeighborPort: "Ethernet4", SpeedBPS: 10e9},
	Usage{ID: netmap.ReplicaID{Service: "kms"}, Node: "leaf1", CPU: 0.153, Memory: 7340032, Disk: 40960, Net: 51200, DataBytes: 7380992},
	Health{ID: netmap.ReplicaID{Service: "kms"}, Node: "leaf1", Result: Failed, Failures: 3, Since: at,
		Detail: "connection refused"},
	Seen{Node: "leaf1", State: netmap.Alive, Heard: 420 * time.Millisecond},
	Blackboard{Tree: "root", Entries: map[string]string{"Service1": "kms compute=0.2 memory=67108864", "Policy1": "leaf2"}},
	Reserved{Node: "leaf2", Kind: netmap.Compute, Amount: 0.2},
	Edge{Community: "office", MAC: "02:00:00:00:00:0a", Supernode: "leaf3", Name: "alice", Address: netip.MustParsePrefix("10.99.0.2/24"),
		Public: netip.MustParseAddrPort("192.0.2.10:5000"), Local: netip.MustParseAddrPort("192.168.1.5:5000"), NAT: "symmetric",
		Since: at},
}

// parseAny reads a row of whichever table its key names.
func parseAny(key string, row map[string]string) (Row, error) {
	switch table, _, _ := strings.Cut(key, "|"); table {
	case AgentTable:
		return ParseAgent(key, row)
	case InstanceTable:
		return ParseInstance(key, row)
	case ServiceTable:
		return ParseService(key, row)
	case PolicyTable:
		return ParsePolicy(key, row)
	case MigrationTable:
		return ParseMigration(key, row)
	case NodeTable:
		return ParseNode(key, row)
	case ResourceTable:
		return ParseResource(key, row)
	case ForwardingTable:
		return ParseForwarding(key, row)
	case NeighborTable:
		return ParseNeighbor(key, row)
	case UsageTable:
		return ParseUsage(key, row)
	case HealthTable:
		return ParseHealth(key, row)
	case SeenTable:
		return ParseSeen(key, row)
	case BlackboardTable:
		return ParseBlackboard(key, row)
	case EdgeTable:
		return ParseEdge(key, row)
	case ReservedTable:
		return ParseReserved(key, row)
	default:
		return ParseManager(key, row)
	}
}

func openTest(t *testing.T) (*DB, *dbtest.Switch) {
	t.Helper()
	sw := dbtest.Start(t)
	set, err := sonicdb.Open(sw.Root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	d, err := Open(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	return d, sw
}

// The golden file is what an operator sees with redis-cli -n 7.
func TestSchema(t *testing.T) {
	d, sw := openTest(t)
	var view strings.Builder
	for _, r := range samples {
		if err := d.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		key, _ := d.key(r)
		view.WriteString("> hgetall " + key + "\n" + sw.Redis(t, "7", "hgetall", key))

		row, err := d.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseAny(key, row)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{})); diff != "" {
			t.Errorf("%s comes back changed (-wrote +read):\n%s", key, diff)
		}
	}
	const golden = "testdata/schema.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(view.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), view.String()); diff != "" {
		t.Errorf("redis-cli view (-golden +got):\n%s", diff)
	}
}

// Clearing leaves what belongs to others: SNMP's rows, other tables, tables whose name begins alike.
func TestClear(t *testing.T) {
	d, sw := openTest(t)
	for _, key := range []string{"RESOUR_INSTANCE|kms|0|leaf1", "RESOUR_INSTANCE|kms|0|leaf2", "RESOUR_INSTANCE|k*|0|leaf1",
		"RESOUR_INSTANCES|a", "1.3.6.1.2.1.2"} {
		sw.Redis(t, "7", "hset", key, "f", "v")
	}
	left := func(want string) {
		t.Helper()
		keys, err := d.db.Scan(t.Context(), "*")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("left:\n %s\nwant:\n %s", got, want)
		}
	}
	if err := d.Clear(t.Context(), InstanceTable, "k*"); err != nil {
		t.Fatal(err)
	}
	left("1.3.6.1.2.1.2 RESOUR_INSTANCES|a RESOUR_INSTANCE|kms|0|leaf1 RESOUR_INSTANCE|kms|0|leaf2")
	if err := d.Clear(t.Context(), InstanceTable); err != nil {
		t.Fatal(err)
	}
	left("1.3.6.1.2.1.2 RESOUR_INSTANCES|a")
}

// A writer's channel carries the key of each write and removal; a watcher hears of both.
func TestTold(t *testing.T) {
	d, _ := openTest(t)
	keys, err := d.Watch(t.Context(), ManagerTable)
	if err != nil {
		t.Fatal(err)
	}
	m := Manager{Node: "leaf3", Addr: "10.1.0.3:7301", Epoch: 3, Cluster: "kq3"}
	for _, change := range []func() error{
		func() error { return d.Write(t.Context(), m) },
		func() error { return d.Delete(t.Context(), m) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		select {
		case key := <-keys:
			if key != "RESOUR_MANAGER|leader" {
				t.Errorf("key %s", key)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing told")
		}
	}
	if got := d.Channel(ManagerTable); got != "RESOUR_MANAGER_CHANNEL@7" {
		t.Errorf("channel %s", got)
	}
}

// List gives the good rows and names table, key and field of the bad ones.
func TestListBadRow(t *testing.T) {
	d, sw := openTest(t)
	for _, r := range samples {
		if err := d.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	sw.Redis(t, "7", "hset", "RESOUR_INSTANCE|kms|1|leaf1", "state", "asleep")
	rows, err := List(t.Context(), d, InstanceTable, ParseInstance)
	if len(rows) != 1 || rows[0].Node != "leaf1" {
		t.Errorf("rows %v", rows)
	}
	const want = `key RESOUR_INSTANCE|kms|1|leaf1: field state: state "asleep"`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		key, field, value, want string
	}{
		{"RESOUR_AGENT|a", "modes", "live,fast", "key RESOUR_AGENT|a: field modes"},
		{"RESOUR_AGENT|a", "cannot_fly", "no wings", "key RESOUR_AGENT|a: field cannot_fly"},
		{"RESOUR_INSTANCE|kms|0", "state", "running", "2 parts after the table, want 3"},
		{"RESOUR_INSTANCE|kms|x|leaf1", "state", "running", `"x" is not a replica number`},
		{"RESOUR_INSTANCE|kms|0|leaf1", "since", "noon", "field state"}, // the first error, in the order of the fields
		{"RESOUR_SERVICE|kms", "replicas", "-1", "field replicas: is negative"},
		{"RESOUR_POLICY|kms|0", "gain", "NaN", "field gain"},
		{"RESOUR_MIGRATION|1", "outcome", "perhaps", "field mode"},
		{"RESOUR_MANAGER|leader", "epoch", "one", "field epoch"},
		{"RESOUR_NODE|a", "push_interval", "99999999999999", "field push_interval: is too large"},
		{"RESOUR_RESOURCE|a|compute", "used", "1", "field capacity: is missing"},
		{"RESOUR_RESOURCE|a|compute", "capacity", "-1", "field capacity: is negative"},
		{"RESOUR_RESOURCE|a", "used", "1", "1 parts after the table, want 2"},
		{"RESOUR_FORWARDING|a", "ipv4_route_used", "many", "field ipv4_route_used"},
		{"RESOUR_NEIGHBOR|a|Ethernet0", "speed_bps", "1", "field neighbor: is missing"},
		{"RESOUR_USAGE|kms|0|a", "cpu", "+Inf", "field cpu"},
		{"RESOUR_HEALTH|kms|0|a", "result", "well", "field result"},
		{"RESOUR_SEEN|a", "state", "asleep", "field state"},
		{"RESOUR_RESERVED|a|compute", "amount", "", "field amount: is missing"},
		{"OTHER|leader", "epoch", "1", "want RESOUR_MANAGER"},
	} {
		_, err := parseAny(c.key, map[string]string{c.field: c.value})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s=%s: error %v, want %s", c.key, c.field, c.value, err, c.want)
		}
	}
	if _, err := ParseManager("RESOUR_MANAGER|leader", nil); err == nil || !strings.Contains(err.Error(), "no such row") {
		t.Errorf("absent row: %v", err)
	}
}

func TestWriteRefusesKey(t *testing.T) {
	d, _ := openTest(t)
	for _, name := range []string{"", "a|b"} {
		if err := d.Write(t.Context(), Service{Name: name}); err == nil {
			t.Errorf("wrote service %q", name)
		}
	}
}

// What parses is written and read back the same.
func FuzzParse(f *testing.F) {
	for _, r := range samples {
		row := r.Row()
		for field, value := range row {
			f.Add(strings.Join(append([]string{r.Table()}, r.Parts()...), "|"), field, value)
		}
	}
	f.Fuzz(func(t *testing.T, key, field, value string) {
		var base map[string]string
		for _, r := range samples {
			if strings.HasPrefix(key, r.Table()+"|") {
				base = r.Row()
			}
		}
		if base == nil {
			return
		}
		base[field] = value
		r, err := parseAny(key, base)
		if err != nil {
			return
		}
		again, err := parseAny(key, r.Row())
		if err != nil {
			t.Fatalf("%v of %q does not parse: %v", r.Row(), key, err)
		}
		if diff := cmp.Diff(r.Row(), again.Row()); diff != "" {
			t.Errorf("changed by a round trip:\n%s", diff)
		}
	})
}
