package overlay

import (
	"maps"
	"net/netip"
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
	sent, err := parseFlows([]byte(listed), 20001)
	want := map[netip.Addr]uint64{netip.MustParseAddr("198.51.100.1"): 3, netip.MustParseAddr("198.51.100.22"): 42}
	if err != nil || !maps.Equal(sent, want) {
		t.Errorf("%v, %v, want %v", sent, err, want)
	}
	if sent, err := parseFlows([]byte(`{"nftables": [{"set": {"name": "sent"}}]}`), 20001); err != nil || len(sent) != 0 {
		t.Errorf("of an empty set: %v, %v", sent, err)
	}
	if _, err := parseFlows([]byte("no JSON"), 20001); err == nil {
		t.Error("no error")
	}
}

// Of ten packets nine have to go straight, and one may go elsewhere: a registration.
func TestWayOf(t *testing.T) {
	peer, sn := netip.MustParseAddr("198.51.100.22"), netip.MustParseAddr("198.51.100.1")
	to := &Edge{at: testbed.Site{Public: peer, Own: netip.MustParseAddr("192.168.1.2")}}
	before := map[netip.Addr]uint64{peer: 100, sn: 1000}
	for _, c := range []struct {
		direct, relayed uint64
		want            Way
	}{{20, 0, Direct}, {18, 2, Direct}, {10, 10, Mixed}, {1, 20, Relay}, {0, 20, Relay}} {
		after := map[netip.Addr]uint64{peer: 100 + c.direct, sn: 1000 + c.relayed}
		if got := WayOf(before, after, to); got != c.want {
			t.Errorf("%d straight, %d to supernodes: %s, want %s", c.direct, c.relayed, got, c.want)
		}
	}
}
