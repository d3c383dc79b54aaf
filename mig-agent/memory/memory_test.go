package memory

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain: this program is also the process whose memory is sent. It holds pages and changes them when it is told so.
func TestMain(m *testing.M) {
	if os.Getenv("MEMORY_TEST_CHILD") != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

func child() {
	held := make([]byte, 16<<20)
	chance := rand.NewChaCha8([32]byte{1})
	chance.Read(held)
	var more [][]byte
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "change": // a page in ten
			for at := 0; at < len(held); at += 10 * PageSize {
				chance.Read(held[at:][:PageSize])
			}
		case "grow": // in the middle of what there is, as a heap does
			b := make([]byte, 3<<20)
			chance.Read(b)
			more = append(more, b)
		}
		fmt.Println("done")
	}
	_ = more
}

// process is a child with its pipes.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startChild(t *testing.T) *process {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MEMORY_TEST_CHILD=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := &process{t, cmd, in, bufio.NewReader(out)}
	p.hear()
	return p
}

func (p *process) hear() {
	p.t.Helper()
	if _, err := p.out.ReadString('\n'); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) do(what string) {
	p.t.Helper()
	fmt.Fprintln(p.in, what)
	p.hear()
}

// dump stops the process and gives its pages as CRIU writes them.
func (p *process) dump() []byte {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	list, err := extents("/proc", p.cmd.Process.Pid)
	if err != nil {
		p.t.Fatal(err)
	}
	var all []byte
	for _, e := range list {
		b := make([]byte, e.pages*PageSize)
		n, err := readMemory(p.cmd.Process.Pid, e.start, b)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, b[:n/PageSize*PageSize]...)
	}
	return all
}

// tmpfs is a folder where pools can be: the work folder of an agent is one, too.
func tmpfs(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "memory-test-*")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The memory of a real process that goes on, in rounds, and its image, while that is written.
func TestRoundsAndCheckpoint(t *testing.T) {
	p := startChild(t)
	dir := tmpfs(t)
	source := NewSource("/proc", rand.New(rand.NewPCG(1, 2)))
	pools := NewPools(filepath.Join(dir, "pools"), 1<<30)
	defer pools.Close()
	round := func() Stats {
		t.Helper()
		var stream bytes.Buffer
		stats, err := source.Round(t.Context(), bufio.NewWriter(&stream), []int{p.cmd.Process.Pid})
		if err != nil {
			t.Fatal(err)
		}
		n, err := pools.Apply(&stream)
		if err != nil || n != int64(stats.Sent)*PageSize {
			t.Fatalf("took %d bytes of %d pages: %v", n, stats.Sent, err)
		}
		return stats
	}
	first := round()
	if first.Pages < 4096 || first.Sent != first.Pages {
		t.Fatalf("first round: %+v", first)
	}
	p.do("change")
	second := round()
	if second.Sent < 400 || second.Sent > 1200 {
		t.Errorf("a tenth of 4,096 pages changed: %+v", second)
	}
	p.do("grow")
	p.do("change")

	image := p.dump()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.Mkdir(from, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := source.WriteTable(filepath.Join(dir, "table")); err != nil {
		t.Fatal(err)
	}
	table, err := ReadTable(filepath.Join(dir, "table"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"pages-1.img": image, "core-1.img": []byte("core"), "empty.img": nil,
		"pages-2.img": bytes.Repeat([]byte("another process"), 5*PageSize/15+1)[:5*PageSize]}
	dumped := make(chan struct{})
	go func() {
		defer close(dumped)
		for _, name := range []string{"core-1.img", "pages-1.img", "pages-2.img", "empty.img"} {
			f, err := os.Create(filepath.Join(from, name))
			if err != nil {
				t.Error(err)
				return
			}
			for b := files[name]; len(b) > 0; { // in pieces that end anywhere
				n := min(len(b), 700_001)
				f.Write(b[:n])
				b = b[n:]
				time.Sleep(time.Millisecond)
			}
			f.Close()
		}
	}()
	var stream bytes.Buffer
	sent, err := WriteCheckpoint(t.Context(), bufio.NewWriter(&stream), from, table, dumped)
	if err != nil {
		t.Fatal(err)
	}
	if err := pools.ReadCheckpoint(&stream, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes came, %d were sent: %v", name, len(got), len(want), err)
		}
	}
	total := int64(len(image))
	if sent.Present < total*6/10 || sent.Bytes < total {
		t.Errorf("of an image of %d bytes %d were there already", total, sent.Present)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "pools")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Without rounds every byte is sent, also of files that no dump of ours has.
func TestCheckpointWithoutTable(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	want := bytes.Repeat([]byte{7}, 3*PageSize+11)
	if err := os.WriteFile(filepath.Join(from, "pages-1.img"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	sent, err := WriteCheckpoint(t.Context(), bufio.NewWriter(&stream), from, nil, over())
	if err != nil || sent != (Sent{Bytes: int64(len(want))}) {
		t.Fatalf("%+v %v", sent, err)
	}
	if err := NewPools(t.TempDir(), 0).ReadCheckpoint(&stream, to); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(to, "pages-1.img")); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came", len(got))
	}
}

func over() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// A dump that fails leaves a stream that nobody takes for a whole one.
func TestCheckpointEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var stream bytes.Buffer
	if _, err := WriteCheckpoint(ctx, bufio.NewWriter(&stream), t.TempDir(), nil, nil); err == nil {
		t.Error("a dump that never ends was sent")
	}
	if err := NewPools(t.TempDir(), 0).ReadCheckpoint(&stream, t.TempDir()); err == nil {
		t.Error("half a checkpoint was taken")
	}
}

func TestPrivate(t *testing.T) {
	for line, want := range map[string]bool{
		"c000000000-c000400000 rw-p 00000000 00:00 0 ":                       true,
		"00400000-00401000 r-xp 00000000 08:01 12  /bin/x":                   true, // a page may have been written to
		"7f0000000000-7f0000001000 rw-s 00000000 00:01 5 /memfd:x (deleted)": false,
		"7ffe00000000-7ffe00001000 r-xp 00000000 00:00 0 [vdso]":             false,
		"7ffe00000000-7ffe00004000 r--p 00000000 00:00 0 [vvar]":             false,
		"c000400000-c004000000 ---p 00000000 00:00 0 ":                       false,
		"garbage": false, "": false, "c000-b000 rw-p 0 0 0": false,
	} {
		if _, _, ok := private(line); ok != want {
			t.Errorf("%q: %v", line, ok)
		}
	}
}

// Streams that nobody of us wrote are refused, and nothing is written outside.
func TestMalformed(t *testing.T) {
	name := func(s string) string { return "f" + string(rune(len(s))) + s }
	for what, stream := range map[string]string{
		"empty":                         "",
		"unknown word":                  "x",
		"no end":                        name("a") + "e",
		"folder":                        name("../a") + "eE",
		"hidden":                        name(".a") + "eE",
		"copy without pool":             name("a") + "c\x00\x01eE",
		"pool that is not there":        name("a") + "P\x00eE",
		"bytes that do not come":        name("a") + "b\x05abc",
		"more bytes than a piece holds": name("a") + "b\xff\xff\xff\xff\x7f",
	} {
		dir := t.TempDir()
		if err := NewPools(filepath.Join(dir, "pools"), 1<<30).ReadCheckpoint(strings.NewReader(stream), filepath.Join(dir, "image")); err == nil {
			t.Errorf("%s was taken", what)
		}
		if all, _ := os.ReadDir(dir); len(all) > 1 {
			t.Errorf("%s: %v", what, all)
		}
	}
	for what, stream := range map[string]string{
		"pages before a pool":  "W\x00\x01",
		"pool out of turn":     "P\x01\x00\x01E",
		"pages outside a pool": "P\x00\x00\x01W\x01\x01" + strings.Repeat("x", PageSize) + "E",
		"a pool that shrinks":  "P\x00\x00\x02P\x00\x00\x01E",
		"another gap":          "P\x00\x00\x02P\x00\x01\x02E",
		"half a page":          "P\x00\x00\x02W\x00\x01xx",
		"too many pages":       "P\x00\x00\xff\xff\xff\xff\x7fE",
		"a run of no page":     "P\x00\x00\x02W\x00\x00E",
	} {
		p := NewPools(filepath.Join(t.TempDir(), "pools"), 1<<20)
		if _, err := p.Apply(strings.NewReader(stream)); err == nil {
			t.Errorf("%s was taken", what)
		}
		p.Close()
	}
}

// Rounds and checkpoints of the same memory over and over.
func BenchmarkCheckpoint(b *testing.B) {
	const pages = 64 << 20 / PageSize
	from := b.TempDir()
	held := make([]byte, pages*PageSize)
	rand.NewChaCha8([32]byte{2}).Read(held)
	if err := os.WriteFile(filepath.Join(from, "pages-1.img"), held, 0o600); err != nil {
		b.Fatal(err)
	}
	var k known
	for at := range pages {
		k.sums = append(k.sums, sumOf(held[at*PageSize:][:PageSize], 1))
	}
	k.pool = pool{gapOf(pages), pages}
	k.index()
	b.SetBytes(pages * PageSize)
	for b.Loop() {
		k.taken = false
		sent, err := WriteCheckpoint(b.Context(), bufio.NewWriter(io.Discard), from, &Table{seed: 1, pools: []*known{&k}}, over())
		if err != nil || sent.Present != pages*PageSize {
			b.Fatalf("%+v %v", sent, err)
		}
	}
}

// A target without room says so instead of dying over a page that is not there.
func TestNoRoom(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	p := NewPools(filepath.Join(dir, "pools"), 1<<30)
	defer p.Close()
	var stream bytes.Buffer
	w := bufio.NewWriter(&stream)
	putWord(w, wordPool, 0, 0, 1000)
	w.WriteByte(wordEnd)
	w.Flush()
	if _, err := p.Apply(&stream); err == nil || !strings.Contains(err.Error(), "room") {
		t.Errorf("got %v", err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte("P\x00\x00\x01W\x00\x01" + strings.Repeat("x", PageSize) + "E"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := NewPools(filepath.Join(t.TempDir(), "pools"), 1<<20)
		defer p.Close()
		p.Apply(bytes.NewReader(b))
		p.ReadCheckpoint(bytes.NewReader(b), t.TempDir())
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte("f\x01ab\x03abceE"))
	f.Add([]byte("f\x0bpages-1.imgP\x00c\x00\x01eE"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		p := NewPools(filepath.Join(dir, "pools"), 1<<30)
		defer p.Close()
		if _, err := p.Apply(strings.NewReader("P\x00\x02\x04W\x00\x01" + strings.Repeat("x", PageSize) + "E")); err != nil {
			t.Fatal(err)
		}
		p.ReadCheckpoint(bytes.NewReader(b), filepath.Join(dir, "image"))
	})
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(tableMagic + "12345678P\x01P\x00\x01" + strings.Repeat("h", 16)))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := parseTable(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		for _, k := range table.pools {
			for i, h := range k.sums {
				if at, ok := k.find(h, 0, i); !ok || k.sums[at] != h {
					t.Fatalf("page %d is not found", i)
				}
			}
		}
	})
}
