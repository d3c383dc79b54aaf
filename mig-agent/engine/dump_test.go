package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/mig-agent/memory"
)

const dumped = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" // a container

// TestMain is also the child process of a dump: the runtime's executable of fakeHost is this test; and the runc of
// TestKilledRestore.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "dump" {
		if err := RunDump(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if slices.Contains(os.Args, "restore") {
		if err := restoreThatIsKilled(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fakeHost has a container that counts as frozen as soon as it is told to, and the runc of testdata.
func fakeHost(t *testing.T) (h Host, memory, record string) {
	t.Helper()
	dir := t.TempDir()
	h = Host{Dir: filepath.Join(dir, "agent"), Proc: filepath.Join(dir, "proc"), Cgroups: filepath.Join(dir, "cgroup")}
	for _, d := range []string{
		filepath.Join(h.Dir, "bin"), filepath.Join(h.Dir, "work"), filepath.Join(h.Proc, "sys/fs"), filepath.Join(h.Proc, "self"), filepath.Join(dir, "path"),
		filepath.Join(h.Cgroups, "freezer", CgroupParent, dumped),
	} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runc, err := filepath.Abs("testdata/runc")
	if err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{filepath.Join(h.Dir, "bin", RuntimeFile): self, filepath.Join(dir, "path/runc"): runc} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	put(t, h.pipeLimit(), "1048576\n")
	put(t, filepath.Join(h.Proc, "self/mountinfo"), "")
	memory, record = filepath.Join(dir, "memory"), filepath.Join(dir, "record")
	t.Setenv("PATH", filepath.Join(dir, "path")+":"+os.Getenv("PATH"))
	t.Setenv("MEMORY", memory)
	t.Setenv("RECORD", record)
	return h, memory, record
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (h Host) dumpOnce(t *testing.T, how DumpHow) (DumpResult, error) {
	t.Helper()
	d, err := h.ReadyDump("op", dumped, how)
	if err != nil {
		return DumpResult{}, err
	}
	return d.Dump(t.Context(), func(time.Duration) {})
}

// Rounds of tracked pre-copy: each builds on the one before, the dump on the last, and at the target the chain is the
// same and has every page.
func TestTrackedRounds(t *testing.T) {
	h, pages, record := fakeHost(t)
	target := Host{Dir: filepath.Join(t.TempDir(), "target")}
	send := func(from, to string) {
		t.Helper()
		var stream bytes.Buffer
		complete := make(chan struct{})
		close(complete)
		if _, err := memory.WriteCheckpoint(t.Context(), bufio.NewWriter(&stream), from, nil, complete); err != nil {
			t.Fatal(err)
		}
		if err := memory.NewPools(target.MemoryFolder("op"), 0).ReadCheckpoint(&stream, to); err != nil {
			t.Fatal(err)
		}
	}
	states := []string{"a1\nb1\nc1\n", "a1\nb2\nc1\n", "a1\nb2\nc3\n"}
	for i, state := range states {
		put(t, pages, state)
		if _, err := h.PreDump(t.Context(), "op", dumped, i+1); err != nil {
			t.Fatal(err)
		}
		send(h.RoundFolder("op", i+1), target.RoundFolder("op", i+1))
		if i > 0 {
			if err := target.LinkRound("op", target.RoundFolder("op", i+1), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(t, pages, "a4\nb2\nc3\n")
	if _, err := h.dumpOnce(t, DumpHow{Parent: len(states)}); err != nil {
		t.Fatal(err)
	}
	send(h.ImageFolder("op"), target.ImageFolder("op"))
	if err := target.LinkRound("op", target.ImageFolder("op"), len(states)); err != nil {
		t.Fatal(err)
	}

	got := strings.ReplaceAll(read(t, record), h.OpFolder("op"), "OP")
	want := fmt.Sprintf(`--root %[1]s checkpoint --pre-dump --tcp-established --image-path OP/pre/1 --work-path OP/criu %[2]s
--root %[1]s checkpoint --pre-dump --tcp-established --image-path OP/pre/2 --work-path OP/criu --parent-path ../1 %[2]s
--root %[1]s checkpoint --pre-dump --tcp-established --image-path OP/pre/3 --work-path OP/criu --parent-path ../2 %[2]s
--root %[1]s checkpoint --leave-running --tcp-established --image-path OP/image --work-path OP/criu --parent-path ../pre/3 %[2]s
`, runcRoot, dumped)
	if got != want {
		t.Errorf("runc was called\n%swant\n%s", got, want)
	}
	var chain []string // newest first, as CRIU looks for a page
	for at := target.ImageFolder("op"); ; at = filepath.Join(at, parentLink) {
		chain = append(chain, read(t, filepath.Join(at, "pages-1.img")))
		if !exists(filepath.Join(at, parentLink)) {
			break
		}
	}
	if got, want := strings.Join(chain, "|"), "a4\n|c3\n|b2\n|a1\nb1\nc1\n"; got != want {
		t.Errorf("the target's chain has pages %q, want %q", got, want)
	}
}

// A lazy dump returns when its page server is up, goes on, and holds the lock until it has ended.
func TestLazyDump(t *testing.T) {
	h, pages, record := fakeHost(t)
	put(t, pages, "a\nb\n")
	res, err := h.dumpOnce(t, DumpHow{Lazy: true})
	if err != nil {
		t.Fatal(err)
	}
	if called := read(t, record); !strings.Contains(called, "--lazy-pages --page-server "+res.Pages+" --status-fd 10 ") {
		t.Errorf("runc was called %q, the page server is at %s", called, res.Pages)
	}
	if exists(filepath.Join(h.ImageFolder("op"), "pages-1.img")) {
		t.Error("memory was written")
	}
	back := make(chan error, 1)
	go func() { back <- h.TakeBack("op", dumped) }()
	select {
	case err := <-back:
		t.Errorf("taken back while pages are served: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	put(t, filepath.Join(h.ImageFolder("op"), "fetched"), "")
	if err := <-back; err != nil {
		t.Error(err)
	}
	if state := read(t, filepath.Join(h.Cgroups, "freezer", CgroupParent, dumped, "freezer.state")); state != "THAWED" {
		t.Errorf("the container is %s", state)
	}
	if err := h.Forget("op"); err != nil {
		t.Error(err)
	}
}

func TestFailedDump(t *testing.T) {
	h, pages, _ := fakeHost(t)
	put(t, pages, "a\n")
	t.Setenv("FAIL", "no way")
	for _, how := range []DumpHow{{}, {Lazy: true}} {
		if _, err := h.dumpOnce(t, how); err == nil || !strings.Contains(err.Error(), "no way") {
			t.Errorf("%+v: %v", how, err)
		}
	}
	if _, err := h.PreDump(t.Context(), "op", dumped, 1); err == nil || !strings.Contains(err.Error(), "pre-dump: ") {
		t.Errorf("pre-dump: %v", err)
	}
}

// A dump that is not wanted any more ends without having begun, also one that comes to its gate when nobody is there.
func TestDumpNotBegun(t *testing.T) {
	for name, c := range map[string]struct {
		wait time.Duration
		late string
	}{"before runc": {0, "0"}, "at the gate": {500 * time.Millisecond, "0"}, "on its way": {100 * time.Millisecond, "0.3"}} {
		t.Run(name, func(t *testing.T) {
			h, pages, _ := fakeHost(t)
			put(t, pages, "a\n")
			t.Setenv("LATE", c.late)
			d, err := h.ready(dumpCall{op: "op", container: dumped}) // ReadyDump waits for CRIU
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.wait)
			d.Close()
			if err := h.TakeBack("op", dumped); err != nil {
				t.Error(err)
			}
			if err := h.Forget("op"); err != nil {
				t.Error(err)
			}
			select {
			case err := <-d.ended:
				if err == nil {
					t.Error("runc went on")
				}
			case <-time.After(10 * time.Second):
				t.Fatal("it still waits")
			}
			if exists(h.OpFolder("op")) {
				t.Error("it has left files, or dumped the container")
			}
		})
	}
}

// The limit of pipes is raised for as long as an operation needs it, and put back also by whoever comes after a crash.
func TestPipeLimit(t *testing.T) {
	if canGrowPipes() {
		t.Skip("this process may grow pipes: nothing is raised")
	}
	h, _, _ := fakeHost(t)
	for _, op := range []string{"one", "two"} {
		if err := h.makeWork(op); err != nil {
			t.Fatal(err)
		}
		if err := h.raisePipes(op); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, h.pipeLimit()); got != "4194304" {
		t.Errorf("raised to %q", got)
	}
	h = Host{Dir: h.Dir, Proc: h.Proc} // another life
	if err := h.Forget("one"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, h.pipeLimit()); got != "4194304" {
		t.Errorf("%q while the second operation needs it", got)
	}
	for range 2 { // forgetting again changes nothing
		if err := h.Forget("two"); err != nil {
			t.Fatal(err)
		}
		if got := read(t, h.pipeLimit()); got != "1048576" {
			t.Errorf("put back to %q", got)
		}
	}
}

func TestFeature(t *testing.T) {
	dir := t.TempDir()
	criu := filepath.Join(dir, "criu")
	if err := os.WriteFile(criu, []byte("#!/bin/sh\n[ \"$*\" = 'check --feature uffd-noncoop' ] || { echo \"$3 is OFF\"; exit 1; }\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := Feature(FeatureLazy); err != nil {
		t.Error(err)
	}
	if err := Feature(FeatureTracking); err == nil || !strings.Contains(err.Error(), "not supported here") || !strings.Contains(err.Error(), "is OFF") {
		t.Errorf("tracking: %v", err)
	}
	if err := Feature("x; rm"); err == nil || strings.Contains(err.Error(), "not supported") {
		t.Errorf("unknown: %v", err)
	}
}

// One process sees to the memory of a move, and says how it ended.
func TestPagedFile(t *testing.T) {
	h, _, _ := fakeHost(t)
	if err := h.makeWork("op"); err != nil {
		t.Fatal(err)
	}
	if _, ended, err := h.ReadPaged("op"); ended || err != nil {
		t.Errorf("ended %v, %v", ended, err)
	}
	if err := h.WritePaged("op", Paged{Error: "gone"}); err != nil {
		t.Fatal(err)
	}
	if p, ended, err := h.ReadPaged("op"); !ended || err != nil || p.Error != "gone" {
		t.Errorf("%+v, ended %v, %v", p, ended, err)
	}
	first, err := h.LockPages("op")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.LockPages("op"); err == nil {
		t.Error("two see to the same memory")
	}
	first.Close()
	again, err := h.LockPages("op")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
