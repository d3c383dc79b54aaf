package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func openAt(t *testing.T, dir string, tp *tape) (*Raft, error) {
	t.Helper()
	return Open(Config{Dir: dir, Node: "leaf1", Addr: "127.0.0.1:0", Log: quiet()}, tp)
}

// run opens the journal of a folder, leads, and gives what is in it.
func run(t *testing.T, dir string) *manager {
	t.Helper()
	tp := &tape{}
	log, err := openAt(t, dir, tp)
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, log, tp)
	m.raft = log
	m.await(t)
	return m
}

// write makes a journal of records.
func write(t *testing.T, records ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "journal")
	m := run(t, dir)
	for _, r := range records {
		if err := m.Append([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRestart(t *testing.T) {
	leaks(t)
	dir := write(t, `{"n":1}`, `{"n":2}`)
	begun := time.Now()
	m := run(t, dir)
	if took := time.Since(begun); took > patience {
		t.Errorf("the only manager leads after %v", took)
	}
	if got := m.tape.all(); len(got) != 2 || got[1] != `{"n":2}` {
		t.Errorf("after a restart: %q", got)
	}
	if second, err := openAt(t, dir, &tape{}); err == nil || !strings.Contains(err.Error(), "another process has it") {
		t.Errorf("second open: %v, %v", second, err)
	}
}

// TestSnapshot: a sum takes the place of the entries, and a journal begins with it.
func TestSnapshot(t *testing.T) {
	leaks(t)
	dir := write(t, `{"n":1}`)
	m := run(t, dir)
	for _, n := range []string{`{"n":2}`, `{"n":3}`} {
		if err := m.Append([]byte(n)); err != nil {
			t.Fatal(err)
		}
		if n == `{"n":2}` {
			if err := m.raft.raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if got := run(t, dir).tape.all(); len(got) != 3 || got[0] != `{"n":1}` || got[2] != `{"n":3}` {
		t.Errorf("%q", got)
	}
}

// TestNobodyLooksIn: the folder has secrets in files that the libraries let everybody read.
func TestNobodyLooksIn(t *testing.T) {
	dir := write(t, `{"secret":"x"}`)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o700 {
		t.Errorf("folder has mode %v", mode)
	}
}

// TestDamageIsNamed changes the record that comes second, behind which others were stored.
func TestDamageIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"flipped bit":     {`{"n":2}`, `{"n":6}`, "damaged: sum is"},
		"no JSON":         {`"records":[{"n":2}]`, `"records":({"n":2}]`, "damaged"},
		"another version": {`{"format":1,"sum":"` + sumOf([]byte(`[{"n":2}]`)), `{"format":9,"sum":"` + sumOf([]byte(`[{"n":2}]`)), "format 9, this version reads 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, `{"n":1}`, `{"n":2}`, `{"n":3}`)
			edit(t, dir, func(text []byte) []byte { return bytes.Replace(text, []byte(c.old), []byte(c.new), 1) })
			_, err := openAt(t, dir, &tape{})
			if err == nil || !strings.Contains(err.Error(), "entry 5: "+c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want the folder and %q in it", err, "entry 5: "+c.want)
			}
		})
	}
}

// edit changes the one segment of a journal.
func edit(t *testing.T, dir string, change func([]byte) []byte) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segments[0], change(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// unmark takes the mark of a journal back to before its newest entry: nobody was told that it is stored.
func unmark(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, markFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 8)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := (&entries{mark: f}).lower(binary.LittleEndian.Uint64(b) - 1); err != nil {
		t.Fatal(err)
	}
}

// TestNewestIsDamaged: damage to the newest entry, or to the head of a frame with others behind it, is not taken for the
// end of the log; an operator can have it so.
func TestNewestIsDamaged(t *testing.T) {
	for name, at := range map[string]struct {
		text string
		off  int
		want string
	}{
		"newest entry": {`{"n":3}`, 5, "entry 6: damaged"},
		"its head":     {`"records":[{"n":3}]`, -48, "entry 6: damaged"},
		"older head":   {`"records":[{"n":2}]`, -48, "entry 5: damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, `{"n":1}`, `{"n":2}`, `{"n":3}`)
			edit(t, dir, func(text []byte) []byte {
				i := bytes.Index(text, []byte(at.text)) + at.off
				for n := range 8 {
					text[i-i%8+n] = 0
				}
				return text
			})
			_, err := openAt(t, dir, &tape{})
			if err == nil || !strings.Contains(err.Error(), at.want) || !strings.Contains(err.Error(), "entry 6 was stored") {
				t.Fatalf("got %v, want %q", err, at.want)
			}
			if err := os.Remove(filepath.Join(dir, markFile)); err != nil {
				t.Fatal(err)
			}
			if m := run(t, dir); !slices.Contains(m.tape.all(), `{"n":1}`) || slices.Contains(m.tape.all(), `{"n":3}`) {
				t.Errorf("what is left: %q", m.tape.all())
			}
		})
	}
}

// TestTorn: what a power cut left of the newest write is dropped, and a new record fits behind the others.
func TestTorn(t *testing.T) {
	for _, left := range []int{0, 8, 40, 55} { // bytes of the entry
		dir := write(t, `{"n":1}`, `{"n":2}`)
		edit(t, dir, func(text []byte) []byte {
			at := bytes.Index(text, []byte(`"records":[{"n":2}]`)) - 40
			clear(text[at+left:])
			return text
		})
		unmark(t, dir)
		m := run(t, dir)
		if err := m.Append([]byte(`{"n":3}`)); err != nil {
			t.Fatal(err)
		}
		if got := m.tape.all(); len(got) != 2 || got[0] != `{"n":1}` || got[1] != `{"n":3}` {
			t.Errorf("%d bytes left: %q", left, got)
		}
	}
}

// TestAnotherVersion: a record that the machine does not know ends the journal with its place.
func TestAnotherVersion(t *testing.T) {
	leaks(t)
	dir := write(t, `{"n":1}`, `{"n":2}`, `{"n":3}`)
	tp := &tape{refuse: `{"n":2}`}
	log, err := openAt(t, dir, tp)
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, log, tp)
	<-log.failed
	if err := m.stop(); err == nil || !strings.Contains(err.Error(), "entry 5: record of another version") {
		t.Errorf("ended with %v", err)
	}
	if got := tp.all(); len(got) != 1 {
		t.Errorf("applied %q", got)
	}
}

func TestFileInTheWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAt(t, dir, &tape{}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

// TestKill kills -9 a process that appends as fast as it can: every record it was told is stored is there afterwards.
func TestKill(t *testing.T) {
	if dir := os.Getenv("JOURNAL_TO_FILL"); dir != "" {
		fill(t, dir)
	}
	dir := filepath.Join(t.TempDir(), "journal")
	stored := 0
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "JOURNAL_TO_FILL="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := bufio.NewScanner(out)
		for i := 0; acknowledged.Scan(); i++ {
			if stored, err = strconv.Atoi(acknowledged.Text()); err != nil {
				t.Fatal(err)
			}
			if i == 20 {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		m := run(t, dir)
		records := m.tape.all()
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		if len(records) < stored || len(records) > stored+1 {
			t.Fatalf("%d records, %d were acknowledged", len(records), stored)
		}
		for i, r := range records {
			if r != strconv.Itoa(i+1) {
				t.Fatalf("record %d is %s", i+1, r)
			}
		}
	}
	if stored < 80 {
		t.Errorf("only %d records in four runs", stored)
	}
}

// fill is the process to be killed: it appends 1, 2, 3... and prints each number once it is stored.
func fill(t *testing.T, dir string) {
	m := run(t, dir)
	for n := len(m.tape.all()) + 1; ; n++ {
		if err := m.Append([]byte(strconv.Itoa(n))); err != nil {
			panic(err)
		}
		fmt.Println(n)
	}
}

// FuzzOpenEntry: no entry makes open panic, and what it accepts can be sealed again.
func FuzzOpenEntry(f *testing.F) {
	entry, err := seal(3, []byte(`{"n":1}`), []byte("2"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(entry)
	f.Add([]byte(`{"format":1,"sum":"00000000","records":[]}`))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, entry []byte) {
		term, records, err := open(entry)
		if err != nil {
			return
		}
		again, err := seal(term, records...)
		if err != nil {
			t.Fatal(err)
		}
		if got, list, err := open(again); err != nil || got != term || len(list) != len(records) {
			t.Errorf("%s: %v", again, err)
		}
	})
}
