package testbed

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/sonic-vs/vswitch"
)

const triangle = "../topologies/triangle.yaml"

// TestTriangle is the plan of the topology the demo uses, as an operator would write it down.
func TestTriangle(t *testing.T) {
	topo, err := ReadTopology(triangle)
	if err != nil {
		t.Fatal(err)
	}
	got := switchConfigs("triangle", topo, SONiCRestart())["leaf3"]
	want := vswitch.Config{
		Instance: "triangle", Name: "leaf3", AS: 65100, MAC: switchMAC("triangle", "leaf3").String(), Tier: "edge",
		Loopback: "10.1.0.3", Manager: "10.1.0.3:7301", ManagerNode: "leaf3",
		Ports: []vswitch.Port{
			{Name: "Ethernet0", Address: "10.0.0.3/31", Speed: 10000},
			{Name: "Ethernet4", Address: "10.0.0.5/31", Speed: 10000},
			{Name: "Ethernet8", Speed: 10000, Access: true},
		},
		Segment: vswitch.Segment{VNI: 1000, Gateway: "10.20.0.1/24", Gateway6: "fd20::1/64", MTU: 1280},
		Routes: []vswitch.Route{
			{Prefix: "10.1.0.1/32", NextHop: "10.0.0.4", Port: "Ethernet4"},
			{Prefix: "10.1.0.2/32", NextHop: "10.0.0.2", Port: "Ethernet0"},
		},
		RestartSec: 30, StartLimitBurst: 3, StartLimitSec: 1200,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("leaf3 (-want +got):\n%s", diff)
	}
}

// TestRoutesOverSeveralHops: on a line of four every switch reaches every other, by the only way there is.
func TestRoutesOverSeveralHops(t *testing.T) {
	topo, err := ParseTopology("line.yaml", []byte(`
name: line
segment: {vni: 1, gateway: 10.20.0.1/24, mtu: 1240}
nodes:
  a: {loopback: 10.1.0.1, manager: true}
  b: {loopback: 10.1.0.2}
  c: {loopback: 10.1.0.3}
  d: {loopback: 10.1.0.4}
links:
  - {a: a:Ethernet0, b: b:Ethernet0}
  - {a: c:Ethernet0, b: b:Ethernet4}
  - {a: c:Ethernet4, b: d:Ethernet0}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]vswitch.Route{
		"a": {{Prefix: "10.1.0.2/32", NextHop: "10.0.0.1", Port: "Ethernet0"},
			{Prefix: "10.1.0.3/32", NextHop: "10.0.0.1", Port: "Ethernet0"},
			{Prefix: "10.1.0.4/32", NextHop: "10.0.0.1", Port: "Ethernet0"}},
		"b": {{Prefix: "10.1.0.1/32", NextHop: "10.0.0.0", Port: "Ethernet0"},
			{Prefix: "10.1.0.3/32", NextHop: "10.0.0.2", Port: "Ethernet4"},
			{Prefix: "10.1.0.4/32", NextHop: "10.0.0.2", Port: "Ethernet4"}},
	}
	for node, w := range want {
		if diff := cmp.Diff(w, routes(topo, node)); diff != "" {
			t.Errorf("routes of %s (-want +got):\n%s", node, diff)
		}
	}
}

func TestLinkAddresses(t *testing.T) {
	for _, c := range []struct {
		link int
		a, b string
	}{{0, "10.0.0.0/31", "10.0.0.1/31"}, {127, "10.0.0.254/31", "10.0.0.255/31"}, {128, "10.0.1.0/31", "10.0.1.1/31"}, {32767, "10.0.255.254/31", "10.0.255.255/31"}} {
		if a, b := linkAddrs(c.link); a.String() != c.a || b.String() != c.b {
			t.Errorf("link %d: %s, %s, want %s, %s", c.link, a, b, c.a, c.b)
		}
	}
}

// TestBadTopology: a message names the place and the field, and all mistakes of a file are told at once.
func TestBadTopology(t *testing.T) {
	const head = "name: t\nsegment: {vni: 1, gateway: 10.20.0.1/24, mtu: 1240}\n"
	const node = head + "nodes:\n  a: {loopback: 10.1.0.1, manager: true}\n  b: {loopback: 10.1.0.2}\n"
	const site = "name: t\ninternet: 198.51.100.0/24\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "t.yaml: no topology in it"},
		{"not yaml", "a: [", "t.yaml: "},
		{"unknown field", node + "speed: 1\n", `t.yaml:6:1: topology: unknown field "speed"`},
		{"field twice", node + "as: 1\nas: 2\n", `t.yaml:7:1: topology: field "as" twice`},
		{"missing field", "name: t\nnodes: {a: {loopback: 10.1.0.1, manager: true}}\n", `t.yaml:1:1: topology: no field "segment"`},
		{"name", "name: T-1\n", `t.yaml:1:7: name: name "T-1": want`},
		{"no manager", head + "nodes: {a: {loopback: 10.1.0.1}}\n", "t.yaml:3:8: nodes: 0 of them have manager: true, want one"},
		{"two managers", head + "nodes: {a: {loopback: 10.1.0.1, manager: true}, b: {loopback: 10.1.0.2, manager: true}}\n", "nodes: 2 of them"},
		{"flag", head + "nodes: {a: {loopback: 10.1.0.1, manager: perhaps}}\n", `nodes.a.manager: "perhaps": want true or false`},
		{"tier", head + "nodes: {a: {loopback: 10.1.0.1, tier: spine}}\n", `nodes.a.tier: "spine": want core, edge, access, cloud`},
		{"no address", head + "nodes: {a: {loopback: leaf}}\n", `nodes.a.loopback: "leaf" is not an IPv4 address`},
		{"address taken", head + "nodes:\n  a: {loopback: 10.1.0.1}\n  b: {loopback: 10.1.0.1}\n", "t.yaml:5:17: nodes.b.loopback: 10.1.0.1 is taken by nodes.a.loopback"},
		{"address in the segment", head + "nodes: {a: {loopback: 10.20.0.7}}\n", "nodes.a.loopback: 10.20.0.7 lies in the segment 10.20.0.0/24"},
		{"address of a link", head + "nodes: {a: {loopback: 10.0.0.7}}\n", "nodes.a.loopback: 10.0.0.7 lies in 10.0.0.0/16"},
		{"gateway", "name: t\nsegment: {vni: 1, gateway: 10.20.0.0/24, mtu: 1240}\n", `t.yaml:2:28: segment.gateway: "10.20.0.0/24" is not`},
		{"gateway6", "name: t\nsegment: {vni: 1, gateway: 10.20.0.1/24, gateway6: fd20::/64, mtu: 1280}\n", `t.yaml:2:52: segment.gateway6: "fd20::/64" is not`},
		{"gateway6 and mtu", "name: t\nsegment: {vni: 1, gateway: 10.20.0.1/24, gateway6: fd20::1/64, mtu: 1240}\n", "t.yaml:2:52: segment.gateway6: IPv6 needs an mtu of 1280"},
		{"client without IPv6", node + "clients: {c: {port: b:Ethernet0, address: 10.20.0.2, address6: fd20::2}}\n", `clients.c.address6: "fd20::2" is not an address in segment.gateway6`},
		{"vni", "name: t\nsegment: {vni: 0, gateway: 10.20.0.1/24, mtu: 1240}\n", `t.yaml:2:16: segment.vni: "0": want a number from 1 to 16777215`},
		{"unknown node", node + "links: [{a: a:Ethernet0, b: c:Ethernet0}]\n", `t.yaml:6:29: links[0].b: no node "c"`},
		{"not a port", node + "links: [{a: a:eth0, b: b:Ethernet0}]\n", `links[0].a: "a:eth0": want NODE:EthernetN`},
		{"port taken", node + "links: [{a: a:Ethernet0, b: b:Ethernet0}]\nclients: {c: {port: b:Ethernet0, address: 10.20.0.2}}\n", "t.yaml:7:21: clients.c.port: port b:Ethernet0 is taken"},
		{"link to itself", node + "links: [{a: a:Ethernet0, b: a:Ethernet4}]\n", "links[0]: both ends are on a"},
		{"negative speed", node + "links: [{a: a:Ethernet0, b: b:Ethernet4, speed: -1}]\n", `links[0].speed: "-1": want a number`},
		{"client named as a node", node + "clients: {a: {port: b:Ethernet0, address: 10.20.0.2}}\n", "clients.a: a node has this name"},
		{"client outside", node + "clients: {c: {port: b:Ethernet0, address: 10.21.0.2}}\n", "clients.c.address: 10.21.0.2 is not in the segment"},
		{"no internet", "name: t\nsites: {a: {address: 198.51.100.1}}\n", `t.yaml:1:1: topology: no field "internet"`},
		{"internet", "name: t\ninternet: 10.0.1.0/24\nsites: {a: {address: 10.0.1.1}}\n", "t.yaml:2:11: internet: 10.0.1.0/24 overlaps"},
		{"site outside", site + "sites: {a: {address: 203.0.113.1}}\n", "t.yaml:3:22: sites.a.address: 203.0.113.1 is not in the internet"},
		{"NAT", site + "sites: {a: {address: 198.51.100.1, nat: cone}}\n", `sites.a.nat: "cone": want open, full-cone, restricted, symmetric`},
		{"jitter", site + "sites: {a: {address: 198.51.100.1, delay: 1ms, jitter: 2ms}}\n", "sites.a: jitter 2ms: want 0 to the delay, 1ms"},
		{"delay", site + "sites: {a: {address: 198.51.100.1, delay: 10}}\n", `sites.a.delay: "10": want a time, such as 10ms`},
		{"site's name", site + "sites: {internet: {address: 198.51.100.1}}\n", "sites.internet: the net of the sites has this name"},
		{"loss of a link", node + "links: [{a: a:Ethernet0, b: b:Ethernet4, loss: 101}]\n", "links[0]: loss 101: want percent"},
		{"list for fields", head + "nodes: {a: []}\n", "t.yaml:3:12: nodes.a: want fields: loopback, tier, manager"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseTopology("t.yaml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %s", err, c.want)
			}
		})
	}
	_, err := ParseTopology("t.yaml", []byte("name: T-1\nspeed: 1\n"))
	if n := strings.Count(err.Error(), "t.yaml:"); n != 4 {
		t.Errorf("%d mistakes told, want 4 (name, unknown field, two missing):\n%v", n, err)
	}
}

// FuzzParseTopology: no text makes the parser panic, and what it accepts can be planned.
func FuzzParseTopology(f *testing.F) {
	topo, err := os.ReadFile(triangle)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(topo)
	overlay, err := os.ReadFile("../topologies/overlay.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(overlay)
	f.Add([]byte("name: &a t\nsegment: *a\nnodes: [1]\n"))
	f.Add([]byte("{name: t, nodes: {a: {loopback: 10.1.0.1, manager: true}}, links: {}, clients: {? [] : 1}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		topo, err := ParseTopology("f.yaml", text)
		if err != nil {
			if !strings.Contains(err.Error(), "f.yaml") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		if len(topo.Nodes) == 0 {
			return
		}
		for name, c := range switchConfigs("fuzz", topo, SONiCRestart()) {
			if c.Name != name || c.Manager == "" {
				t.Errorf("config of %s: %+v", name, c)
			}
		}
	})
}
