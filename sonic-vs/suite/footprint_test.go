package suite

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sonic-netservices/sonic-vs/testbed"
)

func TestFootprintVerdict(t *testing.T) {
	f := &Footprint{LimitCPU: IdleCPU, LimitPSS: IdlePSS}
	f.add("leaf1", Taken{Manager, 50, 500e6}) // stands beside
	f.add("leaf1", Taken{Agent, 0.6, 50e6})
	f.add("leaf1", Taken{Sync, 0.4, 70e6})
	f.add("leaf2", Taken{Agent, 0.6, 50e6})
	if faults := f.Faults(); len(faults) != 0 {
		t.Errorf("at the limits: %q", faults)
	}
	f.add("leaf2", Taken{Sync, 0.41, 70.1e6})
	want := []string{"leaf2: 1.01 % of one core, more than 1.00 %", "leaf2: 120.1 MB PSS, more than 120.0 MB"}
	if faults := f.Faults(); strings.Join(faults, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", faults, want)
	}
	var out bytes.Buffer
	if err := f.Print(&out); err != nil || strings.Count(out.String(), "\n") != 9 {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// A counter of each kind, in files as the kernel writes them.
func TestFootprintCounters(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		unit time.Duration
		want time.Duration
	}{
		"v1": {"1500000000\n", time.Nanosecond, 1500 * time.Millisecond},
		"v2": {"usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n", time.Microsecond, 1500 * time.Millisecond},
	} {
		file := filepath.Join(t.TempDir(), "cpu")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := (&measured{cpu: file, unit: tt.unit}).time()
		if err != nil || got != tt.want {
			t.Errorf("%s: %v %v, want %v", name, got, err, tt.want)
		}
	}
	if _, err := (&measured{cpu: "/dev/null", unit: 1}).time(); err == nil {
		t.Error("an empty counter is no error")
	}
	pss, err := parsePSS("00400000-7ff ---p 0 00:00 0 [rollup]\nRss:     54464 kB\nPss:     46546 kB\nPss_Dirty: 1 kB\n")
	if err != nil || pss != 46546<<10 {
		t.Errorf("PSS %d %v", pss, err)
	}
	if _, err := parsePSS("Rss: 1 kB\n"); err == nil {
		t.Error("no Pss is no error")
	}
}

// A process outside the node's cgroups is nobody's program.
func TestFootprintForeign(t *testing.T) {
	n := testbed.Node{Name: "leaf1", Cgroups: map[string]string{"cpuacct": "/sys/fs/cgroup/cpuacct/sonic-vs/none/leaf1"}}
	if _, err := newMeasured(n, Agent, os.Getpid()); err == nil || !strings.Contains(err.Error(), "no cgroup of the node") {
		t.Errorf("%v", err)
	}
}
