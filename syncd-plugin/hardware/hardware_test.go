package hardware

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

var update = flag.Bool("update", false, "re-record testdata/*.golden")

// The golden files are the rows of a switch whose files and databases are in testdata: a first reading at zero, and one
// a second and a half later.
func TestRows(t *testing.T) {
	text, err := os.ReadFile("testdata/sonic.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range []string{"v1", "v1-slice", "v1-budget", "v2", "v2-free", "bare"} {
		t.Run(tree, func(t *testing.T) {
			g, err := Host{Root: filepath.Join("testdata", tree)}.Group()
			if err != nil {
				t.Fatal(err)
			}
			r := &Reading{Poll: 300 * time.Second}
			if err := json.Unmarshal(text, r); err != nil {
				t.Fatal(err)
			}
			r.At, r.Group, r.Disk = 1500*time.Millisecond, &g, &Disk{Capacity: 2e9, Used: 5e8}
			m := &meter{node: "leaf1", before: &Reading{Group: &Group{CPU: min(g.CPU, 4500*time.Millisecond)}}}
			rows, bad := m.rows(r)
			var view strings.Builder
			for _, row := range rows {
				fmt.Fprintln(&view, key(row))
				fields := row.Row()
				for _, f := range slices.Sorted(maps.Keys(fields)) {
					fmt.Fprintf(&view, "  %s=%s\n", f, fields[f])
				}
			}
			fmt.Fprintln(&view, bad)
			golden := filepath.Join("testdata", tree+".golden")
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
				t.Errorf("rows (-golden +got):\n%s", diff)
			}
		})
	}
}

func TestRate(t *testing.T) {
	at := func(sec float64, cpu time.Duration) *Reading {
		return &Reading{At: time.Duration(sec * float64(time.Second)), Group: &Group{CPU: cpu}}
	}
	m := &meter{}
	for i, step := range []struct {
		r    *Reading
		want float64
		ok   bool
	}{
		{at(0, 100*time.Second), 0, false}, // nothing to compare with
		{at(1, 100*time.Second+500*time.Millisecond), 0.5, true},
		{at(3, 100*time.Second+700*time.Millisecond), 0.1, true}, // a late reading
		{at(4, 200*time.Millisecond), 0.2, true},                 // the group was made anew
		{at(4, 300*time.Millisecond), 0, false},                  // no time has passed
	} {
		got, ok := m.rate(step.r)
		if got != step.want || ok != step.ok {
			t.Errorf("step %d: %v %v, want %v %v", i, got, ok, step.want, step.ok)
		}
		m.before = step.r
	}
}

// With a configured capacity, security counts the flows that services here have declared.
func TestFlows(t *testing.T) {
	rows := map[string]map[string]string{
		"RESOUR_SERVICE|fw":           {"migration": "cold", "demand_security": "300"},
		"RESOUR_INSTANCE|fw|0|leaf1":  {"state": "running"},
		"RESOUR_INSTANCE|fw|1|leaf1":  {"state": "migrating"},
		"RESOUR_INSTANCE|fw|2|leaf2":  {"state": "running"},
		"RESOUR_INSTANCE|fw|3|leaf1":  {"state": "garbage"},
		"RESOUR_INSTANCE|kms|0|leaf1": {"state": "running"},
	}
	got := flows("leaf1", 1000, rows)
	if got.Kind != netmap.Security || got.Used != 600 || got.Capacity != 1000 || got.Unit != "flows" {
		t.Errorf("%+v", got)
	}
}

// With a configured capacity, storage counts what services here have on disk, as long as the disk has that room left.
func TestShare(t *testing.T) {
	usage := map[string]map[string]string{
		"RESOUR_USAGE|kms|0|leaf1": {"cpu": "0", "memory": "0", "disk": "300", "net": "0", "data_bytes": "900"},
		"RESOUR_USAGE|fw|0|leaf1":  {"cpu": "0", "memory": "0", "disk": "100", "net": "0", "data_bytes": "100"},
		"RESOUR_USAGE|odd|0|leaf1": {"disk": "plenty"},
	}
	for _, c := range []struct {
		name           string
		bytes          float64
		disk           *Disk
		usage          map[string]map[string]string
		used, capacity float64
		source         string
	}{
		{"the disk itself", 0, &Disk{10_000, 9000}, nil, 9000, 10_000, "file system of /host/netservices"},
		{"a part of it", 800, &Disk{10_000, 9000}, usage, 400, 800, "NETSERVICES|global services_storage"},
		{"nobody here yet", 800, &Disk{10_000, 9000}, map[string]map[string]string{}, 0, 800, "NETSERVICES|global services_storage"},
		{"filled by others", 800, &Disk{10_000, 9900}, usage, 400, 500, "room in the file system of /host/netservices"},
		{"more than there is", 800, &Disk{10_000, 10_000}, usage, 400, 400, "room in the file system of /host/netservices"},
		{"usage unknown", 800, &Disk{10_000, 9000}, nil, 0, 0, ""},
		{"disk unknown", 800, nil, usage, 0, 0, ""},
	} {
		rows, _ := (&meter{node: "leaf1"}).rows(&Reading{Disk: c.disk, Bytes: c.bytes, Usage: c.usage})
		var got netmap.Resource
		for _, r := range rows {
			got = r.(resourdb.Resource).Resource
		}
		if got.Used != c.used || got.Capacity != c.capacity || got.Source != c.source {
			t.Errorf("%s: %+v, want %v of %v, source %q", c.name, got, c.used, c.capacity, c.source)
		}
	}
}

// A row is written when it changes and before it would vanish; one that is gone goes when everything could be read.
func TestPicture(t *testing.T) {
	now := time.Unix(0, 0)
	p := &picture{written: map[string]written{}}
	row := func(used float64) resourdb.Row {
		return resourdb.Resource{Node: "a", Resource: netmap.Resource{Kind: netmap.Compute, Used: used}}
	}
	step := func(after time.Duration, complete bool, want int, rows ...resourdb.Row) {
		t.Helper()
		now = now.Add(after)
		if got := p.changes(rows, complete, now); len(got) != want {
			t.Errorf("%d changes %v, want %d", len(got), got, want)
		}
	}
	step(0, true, 1, row(1))
	step(time.Second, true, 0, row(1))
	step(time.Second, true, 1, row(2))
	step(writeAgain, true, 1, row(2))
	step(time.Second, false, 0)
	step(time.Second, true, 1)
	step(time.Second, true, 0)
}

func TestHostErrors(t *testing.T) {
	root := t.TempDir()
	if _, err := (Host{Root: root}).Group(); err == nil {
		t.Error("no proc/stat, no error")
	}
	os.MkdirAll(filepath.Join(root, "proc"), 0o755)
	os.WriteFile(filepath.Join(root, "proc/stat"), []byte("cpu 1\ncpu0 1\n"), 0o644)
	os.WriteFile(filepath.Join(root, "proc/meminfo"), []byte("MemTotal: many kB\n"), 0o644)
	if _, err := (Host{Root: root}).Group(); err == nil || !strings.Contains(err.Error(), "MemTotal:") {
		t.Errorf("garbage in meminfo: %v", err)
	}
	if _, err := (Host{Root: root}).Disk(); err == nil {
		t.Error("no netservices, no error")
	}
}

// Whatever CRM and LLDP say, what is written parses.
func FuzzRows(f *testing.F) {
	f.Add("crm_stats_ipv4_route_used", "14", "leaf2", "10000")
	f.Add("crm_stats_x_used", "-1", "a|b", "NaN")
	f.Fuzz(func(t *testing.T, field, value, name, speed string) {
		r := &Reading{CRM: map[string]string{field: value, "crm_stats_x_available": value},
			ACL:   []map[string]string{{"crm_stats_acl_entry_used": value, "crm_stats_acl_entry_available": "5"}},
			LLDP:  map[string]map[string]string{"Ethernet0": {"lldp_rem_sys_name": name}},
			Ports: map[string]map[string]string{"Ethernet0": {"speed": speed}}}
		rows, _ := (&meter{node: "leaf1"}).rows(r)
		all := map[string]map[string]string{resourdb.NodeTable + "|leaf1": {}, resourdb.NodeTable + "|" + name: {}}
		for _, row := range rows {
			all[key(row)] = row.Row()
		}
		if _, bad := resourdb.SnapshotOf(all); len(bad) > 0 && !strings.Contains(name, "|") {
			t.Errorf("%v", bad)
		}
	})
}
