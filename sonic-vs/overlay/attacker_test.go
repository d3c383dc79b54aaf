package overlay

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"testing"
)

func TestParseUDP(t *testing.T) {
	b := append(make([]byte, vnetLen+12), 0x08, 0x00, 0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x1d, 0xe6, 0, 80, 0, 11, 0, 0, 'a', 'b', 'c', 0, 0)
	h, ok := parseUDP(b)
	if !ok || len(h) != 1 || h[0].From != netip.MustParseAddrPort("192.0.2.1:7654") || h[0].To != netip.MustParseAddrPort("192.0.2.2:80") || string(h[0].Payload) != "abc" {
		t.Errorf("%+v, %v", h, ok)
	}
	several := append([]byte{}, b...)
	several[1] = vnetUDP
	binary.NativeEndian.PutUint16(several[vnetSizeAt:], 2)
	if h, ok := parseUDP(several); !ok || len(h) != 2 || string(h[0].Payload) != "ab" || string(h[1].Payload) != "c" {
		t.Errorf("several: %+v, %v", h, ok)
	}
	for _, c := range []struct {
		what string
		at   int
		is   byte
	}{{"TCP", 9, 6}, {"a fragment", 7, 1}, {"longer than it is", 25, 200}, {"shorter than its header", 25, 7}, {"IPv6", 0, 0x65}} {
		bad := append([]byte{}, b...)
		bad[vnetLen+etherLen+c.at] = c.is
		if h, ok := parseUDP(bad); ok {
			t.Errorf("%s: %+v", c.what, h)
		}
	}
}

func TestParseCounters(t *testing.T) {
	const text = "# HELP a x\n# TYPE a counter\na{reason=\"key\"} 3\na{reason=\"clock\"} 1.5e+03\nb 7\n"
	for name, want := range map[string]map[string]uint64{"a": {"key": 3, "clock": 1500}, "b": {"": 7}} {
		if got, err := parseCounters(text, name); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if got, err := parseCounters(text, "c"); err == nil {
		t.Errorf("of none: %v", got)
	}
}
