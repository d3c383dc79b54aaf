package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonic-netservices/sonic-vs/overlay"
)

// wireRecord is a measurement and what iperf3, ping or the bench itself said of it.
type wireRecord struct {
	run  wireRun
	text string
}

// wireRecords makes the folder of a bench.
func wireRecords(t *testing.T, records ...wireRecord) string {
	t.Helper()
	w := &wire{dir: t.TempDir()}
	for _, r := range records {
		if err := w.add(r.run, []byte(r.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.writeRuns(); err != nil {
		t.Fatal(err)
	}
	return w.dir
}

func tcpText(mbit float64) string {
	return fmt.Sprintf(`{"end": {"sum_received": {"bits_per_second": %v}}}`, mbit*1e6)
}

func udpText(packets, lost int) string {
	return fmt.Sprintf(`{"end": {"sum": {"seconds": 2, "packets": %d, "lost_packets": %d}}}`, packets, lost)
}

// A ratio is the median of the rounds' ratios, not the ratio of medians; UDP counts at its best rate with less than 1 % lost.
func TestWireFigures(t *testing.T) {
	tcp := func(maker overlay.Maker, round int, mbit float64) wireRecord {
		return wireRecord{wireRun{Kind: kindTCP, Maker: maker, Transform: "null", Round: round}, tcpText(mbit)}
	}
	udp := func(maker overlay.Maker, packets, lost int) wireRecord {
		return wireRecord{wireRun{Kind: kindUDP, Maker: maker, Transform: "null", Round: 1, Size: 64}, udpText(packets, lost)}
	}
	dir := wireRecords(t, tcp(overlay.Ours, 1, 1000), tcp(overlay.Ntop, 1, 100), tcp(overlay.Ours, 2, 400), tcp(overlay.Ntop, 2, 100),
		tcp(overlay.Ours, 3, 900), tcp(overlay.Ntop, 3, 300), udp(overlay.Ours, 2000, 0), udp(overlay.Ours, 4000, 39), udp(overlay.Ours, 8000, 80),
		udp(overlay.Ntop, 2000, 0))
	all, err := wireFigures(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]wireFigure{}
	for _, f := range all {
		got[f.Name] = f
	}
	null := got["n2n.tcp_null_vs_ntop"]
	if null.Value != 900 || *null.Baseline != 100 || *null.Ratio != 4 || null.Runs != 3 {
		t.Errorf("TCP: %+v, baseline %v, ratio %v", null, *null.Baseline, *null.Ratio)
	}
	if err := null.check(); err == nil || !strings.Contains(err.Error(), "want 5 at least") {
		t.Errorf("a ratio of 4 is let through: %v", err)
	}
	if u := got["n2n.udp_pps_64_vs_ntop"]; u.Value != 1980.5 || *u.Baseline != 1000 {
		t.Errorf("UDP: %v beside %v", u.Value, *u.Baseline)
	}

	lines := filepath.Join(t.TempDir(), figureFile)
	if err := appendFigures(lines, plainFigures(all)); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := checkWire(dir, lines, &out); err == nil || strings.Contains(err.Error(), "the records") {
		t.Errorf("what was written is what the records say, but for a limit: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "001-tcp-ours.json"), []byte(tcpText(500)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkWire(dir, lines, &out); err == nil || !strings.Contains(err.Error(), "the records") {
		t.Errorf("a record that was changed is not noticed: %v", err)
	}
}

// Allocations and edges that do not come back have no ratio and a limit.
func TestCrowdAndCodecFigures(t *testing.T) {
	dir := wireRecords(t,
		wireRecord{wireRun{Kind: kindCodec, Maker: overlay.Ours}, `[{"name": "seal_null", "size": 1304, "ns": [40, 30, 50], "allocs": 1}]`},
		wireRecord{wireRun{Kind: kindCrowd, Maker: overlay.Ours}, `{"edges": 1000, "register_ns": 500000000, "rss_before": 1000000, "rss_after": 1500000,
			"forward": [{"sent": 100, "received": 100, "took_ns": 1000000000}, {"sent": 200, "received": 150, "took_ns": 1000000000}], "comeback": 1000, "comeback_out": 3}`})
	all, err := wireFigures(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"n2n.supernode_registrations_per_s": 2000, "n2n.supernode_bytes_per_edge": 500, "n2n.supernode_forward_pps": 100,
		"n2n.comeback_1000_out": 3, "n2n.codec_seal_null": 30, "n2n.codec_allocs": 1}
	bad := 0
	for _, f := range all {
		if v, ok := want[f.Name]; ok && f.Value != v {
			t.Errorf("%s is %v, want %v", f.Name, f.Value, v)
		}
		if f.check() != nil {
			bad++
		}
	}
	if bad != 2 {
		t.Errorf("%d figures are beyond their limits, want 2", bad)
	}
}
