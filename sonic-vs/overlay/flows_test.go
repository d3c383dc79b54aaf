package overlay

import (
	"maps"
	"net"
	"net/netip"
	"os"
	"testing"

	"sonic-netservices/sonic-vs/testbed"
)

// What nft 1.0.6 lists.
const listed = `{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}}, {"set": {"family": "inet", "name": "sent", "table": "flows",
"type": ["inet_service", "ipv4_addr", "inet_service"], "handle": 2, "size": 65535, "elem": [
{"elem": {"val": {"concat": [20001, "198.51.100.1", 7654]}, "counter": {"packets": 3, "bytes": 30}}},
{"elem": {"val": {"concat": [20001, "198.51.100.22", 20002]}, "counter": {"packets": 40, "bytes": 30}}},
{"elem": {"val": {"concat": [20001, "198.51.100.22", 4711]}, "counter": {"packets": 2, "bytes": 30}}},
{"elem": {"val": {"concat": [20011, "198.51.100.1", 7654]}, "counter": {"packets": 9, "bytes": 30}}}], "stmt": [{"counter": null}]}}]}`

func TestParseFlows(t *testing.T) {
	sent, err := parseFlows([]byte(listed), map[uint16]bool{20001: true})
	want := map[flow]uint64{{20001, netip.MustParseAddrPort("198.51.100.1:7654")}: 3, {20001, netip.MustParseAddrPort("198.51.100.22:20002")}: 40,
		{20001, netip.MustParseAddrPort("198.51.100.22:4711")}: 2}
	if err != nil || !maps.Equal(sent, want) {
		t.Errorf("%v, %v, want %v", sent, err, want)
	}
	if sent, err := parseFlows([]byte(`{"nftables": [{"set": {"name": "sent"}}]}`), nil); err != nil || len(sent) != 0 {
		t.Errorf("of an empty set: %v, %v", sent, err)
	}
	if _, err := parseFlows([]byte("no JSON"), nil); err == nil {
		t.Error("no error")
	}
}

func TestUDPPorts(t *testing.T) {
	var want []uint16
	for range 3 {
		conn, err := net.ListenPacket("udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		want = append(want, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	}
	ports, err := udpPorts(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		if !ports[p] {
			t.Errorf("port %d is not among %v", p, ports)
		}
	}
}

// Of ten packets nine have to go straight, and one may go elsewhere: a registration. What goes to many ports is no traffic.
func TestWayOf(t *testing.T) {
	site, sn := netip.MustParseAddr("198.51.100.22"), flow{20001, netip.MustParseAddrPort("198.51.100.1:7654")}
	peer := flow{20001, netip.AddrPortFrom(site, 4711)}
	to := &Edge{at: testbed.Site{Public: site, Own: netip.MustParseAddr("192.168.1.2")}}
	before := map[flow]uint64{peer: 100, sn: 1000}
	for _, c := range []struct {
		direct, relayed uint64
		guesses         int
		want            Way
	}{{20, 0, 0, Direct}, {18, 2, 0, Direct}, {10, 10, 0, Mixed}, {1, 20, 0, Relay}, {0, 20, 0, Relay}, {0, 20, 500, Relay}, {20, 0, 500, Direct}} {
		after := map[flow]uint64{peer: 100 + c.direct, sn: 1000 + c.relayed}
		for i := range c.guesses {
			after[flow{20001, netip.AddrPortFrom(site, uint16(1024+i))}] = 1
		}
		if got := wayOf(before, after, to); got != c.want {
			t.Errorf("%d straight, %d to supernodes, %d guesses: %s, want %s", c.direct, c.relayed, c.guesses, got, c.want)
		}
	}
}
