package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The command lines containerd's shim writes (26.1 and 28.5), and what must survive in them.
func TestParseRuntimeArgs(t *testing.T) {
	root := []string{"--root", "/run/docker/runtime-runc/moby", "--log", "/run/log.json", "--log-format", "json"}
	for _, c := range []struct {
		name string
		args []string
		want runtimeCall
	}{
		{"create", append(append([]string{}, root...), "create", "--bundle", "/b", "--pid-file", "/b/init.pid", "id1"),
			runtimeCall{globals: root, verb: "create", bundle: "/b", pidFile: "/b/init.pid", log: "/run/log.json", id: "id1"}},
		{"create with terminal and equals signs", append(append([]string{}, root...), "create", "--bundle=/b", "--pid-file=/p", "--no-pivot", "--console-socket", "/c", "id1"),
			runtimeCall{globals: root, verb: "create", bundle: "/b", pidFile: "/p", log: "/run/log.json", noPivot: true, id: "id1"}},
		{"start", append(append([]string{}, root...), "start", "id1"),
			runtimeCall{globals: root, verb: "start", log: "/run/log.json", id: "id1"}},
		{"systemd switch has no value", []string{"--systemd-cgroup", "--root", "/r", "start", "id1"},
			runtimeCall{globals: []string{"--systemd-cgroup", "--root", "/r"}, verb: "start", id: "id1"}},
		{"kill keeps its signal apart", []string{"--root", "/r", "kill", "id1", "15"},
			runtimeCall{globals: []string{"--root", "/r"}, verb: "kill", id: "15"}},
		{"version", []string{"--version"}, runtimeCall{globals: []string{"--version"}}},
		{"nothing", nil, runtimeCall{}},
	} {
		got := parseRuntimeArgs(c.args)
		if len(got.globals) == 0 {
			got.globals = nil
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(runtimeCall{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func FuzzParseRuntimeArgs(f *testing.F) {
	f.Add("--root /r create --bundle /b --pid-file /p id")
	f.Add("--root")
	f.Add("- -- create -")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Fields(line)
		call := parseRuntimeArgs(args)
		if len(call.globals) > len(args) {
			t.Fatalf("more globals than arguments: %q", call.globals)
		}
	})
}

// What stands in daemon.json stays: it belongs to the operator.
func TestWithRuntime(t *testing.T) {
	const path = "/host/netservices/mig-agent/bin/mig-runc"
	for _, c := range []struct {
		name, text string
		changed    bool
		fails      bool
	}{
		{"no file", "", true, false},
		{"other settings", `{"live-restore":true,"runtimes":{"kata":{"path":"/k","runtimeArgs":["-x"]}}}`, true, false},
		{"there already", `{"runtimes":{"mig":{"path":"` + path + `"}}}`, false, false},
		{"another path", `{"runtimes":{"mig":{"path":"/old"}}}`, true, false},
		{"not JSON", `{"live-restore":`, false, true},
		{"runtimes is a list", `{"runtimes":[]}`, false, true},
	} {
		out, changed, err := withRuntime([]byte(c.text), path)
		if (err != nil) != c.fails || changed != c.changed {
			t.Errorf("%s: changed %v, error %v", c.name, changed, err)
		}
		if c.fails {
			continue
		}
		var before, after map[string]any
		json.Unmarshal([]byte(c.text), &before)
		if err := json.Unmarshal(out, &after); err != nil {
			t.Errorf("%s: result is not JSON: %v", c.name, err)
		}
		runtimes := after["runtimes"].(map[string]any)
		if got := runtimes["mig"].(map[string]any)["path"]; got != path {
			t.Errorf("%s: path %v", c.name, got)
		}
		for key, value := range before {
			if key != "runtimes" && !cmp.Equal(after[key], value) {
				t.Errorf("%s: %s changed to %v", c.name, key, after[key])
			}
		}
		if old, ok := before["runtimes"].(map[string]any); ok && old["kata"] != nil && !cmp.Equal(old["kata"], runtimes["kata"]) {
			t.Errorf("%s: another runtime changed to %v", c.name, runtimes["kata"])
		}
	}
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]bool{"4.2.1": false, "4.2": true, "4.2.0": true, "4.3": false, "5.0": false, "3.17.1": true, "": true, "4.2.10": false} {
		if got := older(version, minCRIU); got != want {
			t.Errorf("%q older than %v: %v", version, minCRIU, got)
		}
	}
}

func TestPlatformDiffers(t *testing.T) {
	a := Platform{CRIU: "4.2.1", Runc: "1.1.15", Kernel: "6.18", CPU: "x", Propagation: "shared"}
	if got := a.Differ(a); len(got) != 0 {
		t.Errorf("equal platforms differ: %v", got)
	}
	b := a
	b.CRIU, b.Propagation, b.Kernel = "4.2.2", "private", "6.19" // another kernel alone is no obstacle
	if got := a.Differ(b); len(got) != 2 {
		t.Errorf("differences %v, want criu and propagation", got)
	}
}

// The freezer is the real one: processes of ours, in a cgroup of ours.
func TestFreezer(t *testing.T) {
	for _, c := range []struct {
		name, mount, control string
		v2                   bool
	}{
		{"v1", "/sys/fs/cgroup/freezer", "freezer.state", false},
		{"v2", "/sys/fs/cgroup/unified", "cgroup.freeze", true},
		{"pure v2", "/sys/fs/cgroup", "cgroup.freeze", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(c.mount, "netservices-freezer-test")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Skipf("no cgroup %s on this machine: %v", c.name, err)
			}
			defer os.Remove(dir)
			if !exists(filepath.Join(dir, c.control)) {
				t.Skipf("no %s on this machine", filepath.Join(dir, c.control))
			}
			cmd := exec.Command("sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
				t.Fatal(err)
			}
			z := freezer{dir, c.v2}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := z.freeze(ctx); err != nil {
				t.Fatal(err)
			}
			if frozen, err := z.frozen(); !frozen || err != nil {
				t.Errorf("after freeze: frozen %v, %v", frozen, err)
			}
			if err := z.thaw(); err != nil {
				t.Fatal(err)
			}
			if err := z.freeze(ctx); err != nil {
				t.Fatal(err)
			}
			if err := z.kill(ctx); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Error("the frozen process ended by itself")
			}
			if err := os.Remove(dir); err != nil {
				t.Errorf("the cgroup is not empty: %v", err)
			}
			if err := z.thaw(); err != nil {
				t.Errorf("thaw of a cgroup that is gone: %v", err)
			}
		})
	}
}

func TestFreezerUnknown(t *testing.T) {
	if _, err := freezerByName("/sys/fs/cgroup", strings.Repeat("0", 64)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want not exist", err)
	}
}

// The armed start waits for its word, takes an abort, and gives up when it is disarmed altogether.
func TestArmedStart(t *testing.T) {
	dir := t.TempDir()
	if err := Arm(dir, "id1"); err != nil {
		t.Fatal(err)
	}
	armed := filepath.Join(dir, "work", armedDir, "id1")
	type answer struct {
		w   word
		err error
	}
	wait := func(ctx context.Context) <-chan answer {
		c := make(chan answer, 1)
		go func() {
			w, err := awaitWord(ctx, filepath.Join(armed, wordFile))
			c <- answer{w, err}
		}()
		return c
	}
	got := wait(t.Context())
	if err := writeJSON(filepath.Join(armed, wordFile), word{Image: "/i", Work: "/w"}); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.err != nil || a.w.Image != "/i" || a.w.Work != "/w" {
		t.Errorf("word %+v, %v", a.w, a.err)
	}
	if err := Arm(dir, "id1"); err != nil { // an old word must not count
		t.Fatal(err)
	}
	got = wait(t.Context())
	if err := Disarm(dir, "id1", "no more"); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.err != nil || a.w.Abort != "no more" {
		t.Errorf("word %+v, %v", a.w, a.err)
	}
	if err := Arm(dir, "id1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got = wait(ctx)
	cancel()
	if a := <-got; a.err == nil {
		t.Errorf("no word and no time left gave %+v", a.w)
	}
	if err := Disarm(dir, "id2", "never armed"); err != nil {
		t.Errorf("disarm of what is not armed: %v", err)
	}
}

// A CRIU that was killed leaves its mounts.
func TestForgetUnmounts(t *testing.T) {
	h := Host{Dir: t.TempDir(), Proc: "/proc"}
	left := filepath.Join(h.OpFolder("op1"), "criu", ".criu.cgyard.X")
	inner := filepath.Join(left, "pids")
	for _, dir := range []string{left, inner} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); errors.Is(err, unix.EPERM) {
			t.Skip("only root mounts")
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	}
	if err := h.Forget("op1"); err != nil || exists(h.OpFolder("op1")) {
		t.Errorf("forget op1: %v", err)
	}
}

func TestForgetStaysInside(t *testing.T) {
	h := Host{Dir: t.TempDir(), Proc: "/proc"}
	if err := os.MkdirAll(h.ImageFolder("op1"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"", "..", "../op", "a/b"} {
		if err := h.Forget(op); err == nil {
			t.Errorf("forget %q was taken", op)
		}
	}
	if err := h.Forget("op1"); err != nil || exists(h.OpFolder("op1")) {
		t.Errorf("forget op1: %v", err)
	}
}
