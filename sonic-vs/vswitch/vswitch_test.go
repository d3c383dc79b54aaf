package vswitch

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/sonic-vs/vswitch/manifest"
)

var testConfig = Config{
	Instance: "test", Name: "leaf1", AS: 65001, MAC: "02:00:00:00:00:01", Tier: "access", Loopback: "10.1.0.1",
	Manager: "10.1.0.3:7301", ManagerNode: "leaf3",
	Ports: []Port{
		{Name: "Ethernet0", Address: "10.0.0.0/31", Speed: 10000},
		{Name: "Ethernet4", Speed: 10000, Access: true},
	},
	Segment:    Segment{VNI: 1000, Gateway: "10.20.0.1/24", MTU: 1240},
	Routes:     []Route{{Prefix: "10.1.0.2/32", NextHop: "10.0.0.1", Port: "Ethernet0"}},
	RestartSec: 30, StartLimitBurst: 3, StartLimitSec: 1200,
}

func TestParseConfig(t *testing.T) {
	text, err := json.Marshal(testConfig)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testConfig, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"name":"leaf1"`, `"name":""`, "name: is required"},
		{`"name":"leaf1"`, `"nom":"leaf1"`, `unknown field "nom"`},
		{`"Ethernet0"`, `"eth0"`, `ports[0].name: "eth0" is not EthernetN`},
		{`"10.0.0.0/31"`, `"10.0.0.0"`, "ports[0].address"},
		{`"loopback":"10.1.0.1"`, `"loopback":"10.1.0.1/32"`, "loopback"},
		{`"10.0.0.1"`, `"leaf2"`, "routes[0].nexthop"},
		{`"start_limit_burst":3`, `"start_limit_burst":0`, "start_limit_burst"},
		{`"restart_sec":30`, `"restart_sec":-1`, "restart_sec"},
	} {
		bad := strings.Replace(string(text), c.old, c.new, 1)
		if _, err := ParseConfig([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.new, err, c.want)
		}
	}
}

// The rows of CONFIG_DB as redis-cli would list them.
func TestConfigTables(t *testing.T) {
	var lines []string
	for table, rows := range configTables(testConfig) {
		for key, row := range rows {
			line := table + "|" + key
			for _, f := range slices.Sorted(maps.Keys(row)) {
				line += " " + f + "=" + row[f]
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	want := []string{
		"CRM|Config polling_interval=1",
		"DEVICE_METADATA|localhost bgp_asn=65001 hostname=leaf1 hwsku=netservices-vs mac=02:00:00:00:00:01 platform=x86_64-kvm_x86_64-r0 type=ToRRouter",
		"INTERFACE|Ethernet0",
		"INTERFACE|Ethernet0|10.0.0.0/31",
		"LOOPBACK_INTERFACE|Loopback0",
		"LOOPBACK_INTERFACE|Loopback0|10.1.0.1/32",
		"NETSERVICES|global as=65001 manager=10.1.0.3:7301 manager_node=leaf3 services_storage=8589934592 tier=access",
		"NETSERVICES|segment access_ports=Ethernet4 gateway=10.20.0.1/24 mtu=1240 vni=1000",
		"PORT|Ethernet0 admin_status=up alias=fortyGigE0/0 index=1 lanes=1,2,3,4 mtu=9100 speed=10000",
		"PORT|Ethernet4 admin_status=up alias=fortyGigE0/4 index=2 lanes=5,6,7,8 mtu=9100 speed=10000",
		"STATIC_ROUTE|default|10.1.0.2/32 ifname=Ethernet0 nexthop=10.0.0.1",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSaveRow(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/sonic"), 0o755); err != nil {
		t.Fatal(err)
	}
	row := map[string]string{"state": "enabled"}
	if err := SaveRow(root, "FEATURE", "mig-agent", row); err != nil {
		t.Fatal(err)
	}
	got, err := readSaved(root + SavedConfig)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tables{"FEATURE": {"mig-agent": row}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := SaveRow(root, "FEATURE", "mig-agent", nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := readSaved(root + SavedConfig); len(got["FEATURE"]) != 0 {
		t.Errorf("row stays: %v", got)
	}
}

// RESOUR_DB is found although the layout, like a stock switch's, does not list it.
func TestLayout(t *testing.T) {
	l, err := sonicdb.ParseLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"APPL_DB": 0, "COUNTERS_DB": 2, "CONFIG_DB": 4, "STATE_DB": 6, "SNMP_OVERLAY_DB": 7, "RESOUR_DB": 7} {
		place, instance, err := l.Find(name)
		if err != nil || place.ID != want || instance.Socket != redisSocket {
			t.Errorf("%s: id %d at %s, %v", name, place.ID, instance.Socket, err)
		}
	}
}

func TestParseNeighbors(t *testing.T) {
	text, err := os.ReadFile("testdata/lldpcli.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseNeighbors(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{"Ethernet0": {
		"lldp_rem_index": "1", "lldp_rem_time_mark": "4",
		"lldp_rem_chassis_id_subtype": "4", "lldp_rem_chassis_id": "52:54:00:00:00:02",
		"lldp_rem_port_id_subtype": "5", "lldp_rem_port_id": "Ethernet4", "lldp_rem_port_desc": "Ethernet4",
		"lldp_rem_sys_name": "leaf2", "lldp_rem_sys_desc": "Debian GNU/Linux 13 Linux 6.12.0 x86_64",
		"lldp_rem_man_addr": "10.1.0.2", "lldp_rem_sys_cap_supported": "39 00", "lldp_rem_sys_cap_enabled": "01 00",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for age, want := range map[string]time.Duration{
		"0 day, 00:00:04": 4 * time.Second, "3 days, 02:00:00": 74 * time.Hour, "soon": 0,
	} {
		if got := parseAge(age); got != want {
			t.Errorf("age %q: %v", age, got)
		}
	}
}

func FuzzParseNeighbors(f *testing.F) {
	text, err := os.ReadFile("testdata/lldpcli.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"lldp":[{}]}`))
	f.Add([]byte(`{"lldp":[{"interface":[{"name":"Ethernet0","chassis":[{}],"port":[{}]}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := parseNeighbors(text)
		if err != nil && rows != nil {
			t.Error("rows beside an error")
		}
		for port, row := range rows {
			if len(row) != 12 {
				t.Errorf("%s: %d fields", port, len(row))
			}
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	text, err := json.Marshal(testConfig)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		for _, p := range c.Ports { // what is accepted has a place on the front panel
			if p.index() < 1 || !strings.HasPrefix(p.oid(), "oid:0x1") {
				t.Errorf("port %q: index %d, %s", p.Name, p.index(), p.oid())
			}
		}
	})
}

func TestRate(t *testing.T) {
	var r rate
	at := time.Unix(0, 0)
	sample := func(seconds int, bytes uint64) map[string]string {
		return r.sample(&netlink.LinkStatistics{RxBytes: bytes}, at.Add(time.Duration(seconds)*time.Second))
	}
	if row := sample(0, 5000); row != nil {
		t.Errorf("a rate from one sample: %v", row)
	}
	for i, c := range []struct {
		bytes uint64
		want  string
	}{
		{6000, "1000.00"}, // the first difference counts whole
		{7000, "1000.00"},
		{7000, "818.18"}, // silence: 9/11 of the former
		{100, "669.42"},  // reset: no traffic, not a huge one
	} {
		if got := sample(i+1, c.bytes)["RX_BPS"]; got != c.want {
			t.Errorf("sample %d: %s, want %s", i+1, got, c.want)
		}
	}
}

// A container gets what docker_image_ctl gives, and of the rest only what its manifest declares.
func TestContainerConfig(t *testing.T) {
	text, err := os.ReadFile("../../containers/mig-agent/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	config, host := containerConfig(m, "sha256:1")
	want := []string{
		"/var/run/docker.sock:/var/run/docker.sock:rw", "/host/netservices:/host/netservices:rw,rslave", "/etc/sonic:/etc/sonic:ro",
		"/var/run/redis:/var/run/redis:rw", "/host/warmboot:/var/warmboot",
	}
	if diff := cmp.Diff(want, host.Binds); diff != "" {
		t.Errorf("binds (-want +got):\n%s", diff)
	}
	if !config.Tty || host.NetworkMode != "host" || host.UTSMode != "host" || host.Privileged || len(host.CapAdd) != 0 ||
		host.PidMode != "" || host.RestartPolicy.Name != "" {
		t.Errorf("%+v %+v", config, host)
	}
	_, bare := containerConfig(manifest.Manifest{Service: manifest.Service{Name: "x"}}, "sha256:1")
	if strings.Contains(fmt.Sprint(bare.Binds), "docker.sock") {
		t.Errorf("undeclared docker.sock: %v", bare.Binds)
	}
	for _, e := range []string{"RUNTIME_OWNER=local", "CONTAINER_NAME=mig-agent", "NAMESPACE_PREFIX=asic", "SYSLOG_TARGET_IP=127.0.0.1"} {
		if !slices.Contains(config.Env, e) {
			t.Errorf("no %s in %v", e, config.Env)
		}
	}
}
