package feature

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Each line is one input at one second, then what the machine says and where it is.
func TestMachine(t *testing.T) {
	for _, c := range []struct{ name, story string }{
		{"start and stop", `
			0 enable: start starting
			1 started: running
			5 disable: stop stopping
			6 ended: stopped
			7 tick: stopped`},
		{"restart after RestartSec", `
			0 enable: start starting
			1 started: running
			10 ended: waiting wake 40
			39 tick: waiting wake 40
			40 tick: start starting
			41 started: running`},
		{"a start that fails is an exit", `
			0 enable: start starting
			1 ended: waiting wake 31
			31 tick: start starting`},
		{"three starts in the window, then failed", `
			0 enable: start starting
			1 ended: waiting wake 31
			31 tick: start starting
			32 ended: waiting wake 62
			62 tick: start starting
			63 ended: waiting wake 93
			93 tick: failed
			2000 tick: failed`},
		{"starts that left the window do not count", `
			0 enable: start starting
			1 ended: waiting wake 31
			31 tick: start starting
			32 started: running
			1100 ended: waiting wake 1130
			1130 tick: start starting
			1180 ended: waiting wake 1210
			1210 tick: start starting`},
		{"enabled again after a failure", `
			0 noauto: start starting
			1 started: running
			2 ended: failed
			3 tick: failed
			4 disable: stopped
			5 enable: start starting`},
		{"no auto_restart", `
			0 noauto: start starting
			1 started: running
			2 ended: failed`},
		{"auto_restart turned off while it waits does not take the restart back", `
			0 enable: start starting
			1 ended: waiting wake 31
			2 noauto: waiting wake 31
			31 tick: start starting
			32 ended: failed`},
		{"disabled while it waits", `
			0 enable: start starting
			1 ended: waiting wake 31
			2 disable: stopped
			31 tick: stopped`},
		{"enabled while it stops", `
			0 enable: start starting
			1 started: running
			2 disable: stop stopping
			3 enable: stopping
			4 ended: start starting`},
		{"disabled while it starts", `
			0 enable: start starting
			1 disable: stop stopping
			2 started: stopping
			3 ended: stopped`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := New(Rule{RestartSec: 30 * time.Second, Burst: 3, Window: 1200 * time.Second})
			begin := time.Unix(0, 0)
			for line := range strings.SplitSeq(strings.TrimSpace(c.story), "\n") {
				line = strings.TrimSpace(line)
				input, want, _ := strings.Cut(line, ": ")
				var at int
				var what string
				if _, err := fmt.Sscan(input, &at, &what); err != nil {
					t.Fatal(err)
				}
				now := begin.Add(time.Duration(at) * time.Second)
				switch what {
				case "enable":
					m.Want(true, true)
				case "noauto":
					m.Want(true, false)
				case "disable":
					m.Want(false, true)
				case "started":
					m.Started()
				case "ended":
					m.Ended(now)
				case "tick":
				default:
					t.Fatalf("unknown input %q", what)
				}
				act, wake := m.Next(now)
				got := strings.TrimSpace(string(act) + " " + string(m.State()))
				if !wake.IsZero() {
					got += fmt.Sprint(" wake ", wake.Unix())
				}
				if got != want {
					t.Fatalf("%s: got %q", line, got)
				}
			}
		})
	}
}

// Whatever happens, starts keep to the limit and never meet a container that runs. Two bits of a byte are the input, the
// others the seconds that pass before it.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0x01, 0x02, 0x03, 0x7f, 0x03, 0xff, 0x00})
	f.Fuzz(func(t *testing.T, inputs []byte) {
		rule := Rule{RestartSec: 5 * time.Second, Burst: 3, Window: 100 * time.Second}
		m := New(rule)
		now := time.Unix(0, 0)
		var starts []time.Time
		enabled, running := false, false
		for _, in := range inputs {
			now = now.Add(time.Duration(in>>2) * time.Second)
			switch in & 3 {
			case 0:
				m.Want(false, true)
				enabled = false
			case 1:
				if !enabled {
					starts = nil // the operator's reset
				}
				m.Want(true, true)
				enabled = true
			case 2:
				m.Ended(now)
				running = false
			}
			switch act, _ := m.Next(now); act {
			case Start:
				if running || !enabled {
					t.Fatalf("start while running %v, enabled %v", running, enabled)
				}
				running = true
				m.Started()
				starts = append(starts, now)
				if n := len(starts); n > rule.Burst && now.Sub(starts[n-1-rule.Burst]) < rule.Window {
					t.Fatalf("%d starts within %v", rule.Burst+1, rule.Window)
				}
			case Stop:
				if !running || enabled {
					t.Fatalf("stop while running %v, enabled %v", running, enabled)
				}
			}
		}
	})
}
