package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"sonic-netservices/examples/kms/keylog"
)

// asLoad makes the test binary behave as `sonic-vs load`: the load runs as a process of its own, as in a scenario.
const asLoad = "SONIC_VS_TEST_AS_LOAD"

func TestMain(m *testing.M) {
	if os.Getenv(asLoad) == "" {
		os.Exit(m.Run())
	}
	if err := Command().Execute(); err != nil {
		os.Exit(1)
	}
}

// bench is a network namespace with a key service in it.
type bench struct {
	t      *testing.T
	ns     netns.NsHandle
	path   string // of the namespace, for --netns
	binary string // kms
	volume string
	cgroup string // freezer of the service; "" where the kernel has none we may use
	kms    *exec.Cmd
	load   *os.Process // the load that runs
}

const target = "http://127.0.0.1:8080"

func newBench(t *testing.T) *bench {
	b := &bench{t: t, binary: filepath.Join(t.TempDir(), "kms"), volume: t.TempDir()}
	if out, err := exec.Command("go", "build", "-o", b.binary, "sonic-netservices/examples/kms").CombinedOutput(); err != nil {
		t.Fatalf("build kms: %v\n%s", err, out)
	}
	err := onLockedThread(func() (err error) {
		if b.ns, err = netns.New(); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	t.Cleanup(func() { b.ns.Close() })
	b.path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(b.ns))
	b.cgroup = makeFreezer(t)
	b.startKMS()
	t.Cleanup(func() {
		b.kms.Process.Signal(syscall.SIGCONT)
		b.kms.Process.Kill()
		b.kms.Wait()
	})
	return b
}

// onLockedThread runs f on a thread that is not used again, so f may change its namespace.
func onLockedThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// makeFreezer makes a cgroup of v1 or v2 that can be frozen.
func makeFreezer(t *testing.T) string {
	for _, root := range []string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		dir := fmt.Sprintf("%s/sonic-vs-load-test-%d", root, os.Getpid())
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			setFreezer(dir, false)
			for range 100 { // the kernel needs a moment after the last process has gone
				if err := syscall.Rmdir(dir); err == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("cgroup %s stays", dir)
		})
		if openFreezer(dir) != nil {
			return dir
		}
	}
	return ""
}

func setFreezer(dir string, on bool) error {
	if _, err := os.Stat(filepath.Join(dir, "freezer.state")); err == nil {
		word := map[bool]string{true: frozen, false: thawed}[on]
		return os.WriteFile(filepath.Join(dir, "freezer.state"), []byte(word), 0)
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.freeze"), fmt.Appendf(nil, "%d", map[bool]int{true: 1, false: 0}[on]), 0)
}

// startKMS starts the service in the namespace and waits until it listens.
func (b *bench) startKMS() {
	b.t.Helper()
	b.kms = exec.Command(b.binary, "-listen", "127.0.0.1:8080", "-data", b.volume)
	b.kms.Stderr = &bytes.Buffer{}
	err := onLockedThread(func() error {
		if err := netns.Set(b.ns); err != nil {
			return err
		}
		if err := b.kms.Start(); err != nil {
			return err
		}
		for range 500 {
			c, err := net.Dial("tcp", "127.0.0.1:8080") // an address, so no other thread resolves it
			if err == nil {
				return c.Close()
			}
			time.Sleep(10 * time.Millisecond)
		}
		return fmt.Errorf("kms does not listen: %s", b.kms.Stderr)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.cgroup != "" {
		if err := os.WriteFile(filepath.Join(b.cgroup, "cgroup.procs"), fmt.Append(nil, b.kms.Process.Pid), 0); err != nil {
			b.t.Fatal(err)
		}
	}
}

// signal sends a signal and waits until a stop has happened.
func (b *bench) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.kms.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
	for s == syscall.SIGSTOP {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.kms.Process.Pid))
		if err != nil {
			b.t.Fatal(err)
		}
		if _, rest, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(rest, "T") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// run plays a load into dir/name while during runs, then copies the volume there. Without a duration among its
// arguments it is ended by SIGINT.
func (b *bench) run(dir, name string, args []string, during func(part string)) {
	b.t.Helper()
	part := filepath.Join(dir, name)
	args = append([]string{"run", "--target", target, "--out", part, "--netns", b.path}, args...)
	if b.cgroup != "" {
		args = append(args, "--freezer", "leaf1="+b.cgroup)
	}
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asLoad+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	defer cmd.Process.Kill()
	b.load = cmd.Process
	for range 500 {
		if _, err := os.Stat(filepath.Join(part, aboutFile)); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	during(part)
	if !strings.Contains(strings.Join(args, " "), "--duration") {
		cmd.Process.Signal(os.Interrupt)
	}
	err = cmd.Wait()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); err != nil && !status.Signaled() { // by during
		b.t.Fatalf("load %s: %v\n%s", name, err, &stderr)
	}
	b.t.Logf("load %s: %v CPU", name, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if err := os.CopyFS(filepath.Join(part, "volume"), os.DirFS(b.volume)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) move(part string, e Event, act func()) {
	b.t.Helper()
	e.Begin = time.Now().UTC()
	act()
	e.End = time.Now().UTC()
	if err := AppendEvent(part, e); err != nil {
		b.t.Fatal(err)
	}
}

// TestLoadSeesWhatHappens breaks a real key service in ways whose consequences are known, and expects exactly these.
func TestLoadSeesWhatHappens(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()

	b.run(dir, "live", []string{"--rate", "100,200@500ms"}, func(part string) {
		time.Sleep(800 * time.Millisecond)
		b.move(part, Event{Kind: "live", Move: 1, From: "leaf1", To: "leaf2"}, func() {
			b.signal(syscall.SIGSTOP)
			time.Sleep(300 * time.Millisecond)
			b.signal(syscall.SIGCONT)
			time.Sleep(200 * time.Millisecond)
		})
		time.Sleep(500 * time.Millisecond)
		b.move(part, Event{Kind: "live", Move: 2, From: "leaf2", To: "leaf1"}, func() {
			if b.cgroup == "" {
				return
			}
			if err := setFreezer(b.cgroup, true); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			if err := setFreezer(b.cgroup, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
		})
		time.Sleep(300 * time.Millisecond)
	})
	// Five kept connections and no others. The service is stopped while nothing is due, then each connection gets a
	// request, the service dies with the five, the next request finds nobody, and those from 3 s on are answered again.
	const outage = "100,1@300ms,100@1300ms,1@1340ms,100@3s"
	b.run(dir, "cold", []string{"--rate", outage, "--kept", "5", "--new", "0", "--duration", "3500ms"}, func(part string) {
		text, err := os.ReadFile(filepath.Join(part, aboutFile))
		if err != nil {
			t.Fatal(err)
		}
		about, err := ParseAbout(text)
		if err != nil {
			t.Fatal(err)
		}
		at := func(d time.Duration) { time.Sleep(time.Until(about.Start.Add(d))) }
		at(800 * time.Millisecond)
		b.move(part, Event{Kind: "cold", Move: 1, From: "leaf1", To: "leaf2"}, func() {
			b.signal(syscall.SIGSTOP)
			at(1800 * time.Millisecond)
			b.kms.Process.Kill()
			b.kms.Wait()
			at(2500 * time.Millisecond)
			b.startKMS()
		})
	})
	b.run(dir, "last", []string{"--rate", "100", "--duration", "1s"}, func(string) {})

	report, err := Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	live, cold, last := report.Part("live"), report.Part("cold"), report.Part("last")
	if live == nil || cold == nil || last == nil || len(report.Parts) != 3 || len(report.Moves) != 3 {
		t.Fatalf("parts %v, moves %v", report.Parts, report.Moves)
	}

	for _, p := range []*PartReport{live, last} {
		if p.Failed != 0 || p.Broken != 0 || p.Reconnected != 0 || len(p.BootIDs) != 1 {
			t.Errorf("%s: %d failed %v, %d broken, %d reconnected, boots %v",
				p.Name, p.Failed, p.Errors, p.Broken, p.Reconnected, p.BootIDs)
		}
	}
	for _, p := range report.Parts {
		if *p.Lost != 0 || *p.Duplicate != 0 || p.Answered+p.Failed != p.Requests || p.Truncated {
			t.Errorf("%s: %d lost, %d duplicate, %d answered + %d failed of %d", p.Name, *p.Lost, *p.Duplicate, p.Answered, p.Failed, p.Requests)
		}
	}
	if last.Requests != 100 || cold.Requests != 87 {
		t.Errorf("%d and %d requests, the schedules have 100 and 87", last.Requests, cold.Requests)
	}
	if cold.Broken != 5 || cold.Failed != 6 || cold.Errors["dial: connection refused"] != 1 || cold.Reconnected != 5 {
		t.Errorf("%d broken, %d failed, %d reconnected, %v; want 5, 6, 5 and 1 refused", cold.Broken, cold.Failed, cold.Reconnected, cold.Errors)
	}
	if m := report.Moves[2]; m.Broken != 5 || m.Failed != 6 {
		t.Errorf("%d broken and %d failed in the cold move, want 5 and 6", m.Broken, m.Failed)
	}
	if len(cold.BootIDs) != 2 || cold.BootIDs[0] != live.BootIDs[0] || cold.BootIDs[1] != last.BootIDs[0] {
		t.Errorf("boot ids: %v, %v, %v", live.BootIDs, cold.BootIDs, last.BootIDs)
	}
	for i, want := range []bool{false, false, true} {
		if m := report.Moves[i]; m.NewBoot != want || m.Kind != "live" && !want {
			t.Errorf("move %d (%s): new boot %v", i, m.Kind, m.NewBoot)
		}
	}
	// A gap begins with a due request: up to one interval (5 and 10 ms) after the service stopped.
	if gap := report.Moves[0].GapMS.Milliseconds(); gap < 295 {
		t.Errorf("gap %v ms, the service was stopped for 300", gap)
	}
	if gap := report.Moves[2].GapMS.Milliseconds(); gap < 1700 {
		t.Errorf("gap %v ms, nobody was answered from 1300 to 3000", gap)
	}
	if b.cgroup == "" {
		t.Log("no freezer cgroup can be made here: freezes not tested")
	} else {
		if f := report.Moves[1].FreezeMS.Milliseconds(); f < 190 {
			t.Errorf("frozen for %v ms, it was 200 and sampled every 5", f)
		}
		if f := *report.Moves[0].FreezeMS; f != 0 {
			t.Errorf("frozen for %v ms while it was only stopped", f.Milliseconds())
		}
	}
	t.Run("killed load", func(t *testing.T) { killedLoad(t, b) })
	t.Run("check command", func(t *testing.T) { checkCommandAgrees(t, dir, report) })
	t.Run("damaged volume", func(t *testing.T) { damagedVolume(t, dir) })
	t.Run("plot", func(t *testing.T) {
		if err := Plot(dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"latency.svg", "latency.png"} {
			if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Size() < 10_000 {
				t.Errorf("%s: %v, %v", name, fi, err)
			}
		}
	})
}

// killedLoad kills the load itself: what it had flushed, each second, can be checked.
func killedLoad(t *testing.T, b *bench) {
	dir := t.TempDir()
	b.run(dir, "killed", []string{"--rate", "100", "--duration", "1m"}, func(part string) {
		for range 500 { // until a flush
			if fi, err := os.Stat(filepath.Join(part, requestFile)); err == nil && fi.Size() > 1000 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		b.load.Kill()
	})
	report, err := Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p := report.Part("killed"); !p.Truncated || p.Requests == 0 || p.Failed != 0 || *p.Lost != 0 {
		t.Errorf("%+v", p)
	}
}

// checkCommandAgrees runs `load check`: the same bytes each time, and an error when report.json was changed.
func checkCommandAgrees(t *testing.T, dir string, report Report) {
	check := func(args ...string) (string, error) {
		cmd := Command()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&bytes.Buffer{})
		cmd.SetArgs(append([]string{"check", dir}, args...))
		err := cmd.Execute()
		return out.String(), err
	}
	want, err := report.Format()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := check("--write"); err != nil || got != string(want) {
		t.Fatalf("check --write: %v\n%s", err, got)
	}
	if got, err := check(); err != nil || got != string(want) {
		t.Fatalf("check again: %v\n%s", err, got)
	}
	var nested struct {
		Live, Cold struct {
			Failed *int     `json:"failed_requests"`
			Broken *int     `json:"broken_connections"`
			Lost   *int     `json:"lost_keys"`
			Twice  *int     `json:"duplicate_keys"`
			Gap    *float64 `json:"gap_ms"`
			Boots  []string `json:"boot_ids"`
		}
		Moves []struct {
			Gap *float64 `json:"gap_ms"`
		}
	}
	if err := json.Unmarshal(want, &nested); err != nil {
		t.Fatal(err)
	}
	if l := nested.Live; l.Failed == nil || l.Broken == nil || l.Lost == nil || l.Twice == nil || l.Gap == nil || len(l.Boots) != 1 || nested.Moves[0].Gap == nil {
		t.Errorf("report lacks members: %s", want)
	}
	path := filepath.Join(dir, reportFile)
	if err := os.WriteFile(path, bytes.Replace(want, []byte(`"failed_requests": 0`), []byte(`"failed_requests": 1`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := check(); err == nil {
		t.Error("a changed report.json passed")
	}
	os.Remove(path)
}

// damagedVolume takes keys away from the copy of the last volume, and repeats one.
func damagedVolume(t *testing.T, dir string) {
	path := filepath.Join(dir, "last", logFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(path, whole, 0o600)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1] // behind the last newline
	for _, tt := range []struct {
		name            string
		log             [][]byte
		lost, duplicate int
	}{
		{"last three keys gone", lines[:len(lines)-3], 3, 0},
		{"one key repeated", append(lines[:len(lines):len(lines)], lines[len(lines)-1]), 0, 1},
		{"two keys swapped", append(lines[:len(lines)-2:len(lines)], lines[len(lines)-1], lines[len(lines)-2]), 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, bytes.Join(tt.log, nil), 0o600); err != nil {
				t.Fatal(err)
			}
			report, err := Check(dir)
			if err != nil {
				t.Fatal(err)
			}
			if p := report.Part("last"); *p.Lost != tt.lost || *p.Duplicate != tt.duplicate {
				t.Errorf("%d lost, %d duplicate; want %d, %d", *p.Lost, *p.Duplicate, tt.lost, tt.duplicate)
			}
		})
	}
	t.Run("key of an earlier part gone", func(t *testing.T) {
		if err := os.WriteFile(path, bytes.Join(lines[1:], nil), 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := Check(dir)
		if err != nil {
			t.Fatal(err)
		}
		if p := report.Part("live"); *p.Lost != 1 {
			t.Errorf("%d lost, want 1: answered in live and not on the final volume", *p.Lost)
		}
	})
	t.Run("forged line", func(t *testing.T) {
		e, err := keylog.ParseLine(strings.TrimSuffix(string(lines[5]), "\n"))
		if err != nil {
			t.Fatal(err)
		}
		e.Digest[0] ^= 1
		forged := append([][]byte{}, lines...)
		forged[5] = e.AppendLine(nil)
		if err := os.WriteFile(path, bytes.Join(forged, nil), fs.FileMode(0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := Check(dir); err == nil || !strings.Contains(err.Error(), "keys.log:6") {
			t.Errorf("error %v, want one that names keys.log:6", err)
		}
	})
}
