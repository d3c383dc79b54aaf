package journal

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func replay(t *testing.T, path string) []string {
	t.Helper()
	var records []string
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Replay(func(r []byte) error { records = append(records, string(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	return records
}

// write makes a journal of records and gives its path.
func write(t *testing.T, records ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range records {
		if err := f.Append([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestWhatIsAppendedIsReplayed(t *testing.T) {
	want := []string{`{"a":1}`, `{ "space" : "  kept " }`, `[]`}
	path := write(t, want...)
	if got := replay(t, path); !slices.Equal(got, want) {
		t.Errorf("replayed %q, want %q", got, want)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Replay(func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := f.Append([]byte("4")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := replay(t, path); !slices.Equal(got, append(want, "4")) {
		t.Errorf("after a second run: %q", got)
	}
}

// TestTornAnywhere cuts the last line at every byte: the records before it are kept, and a new one fits behind them.
func TestTornAnywhere(t *testing.T) {
	whole, err := os.ReadFile(write(t, `{"n":1}`, `{"n":2}`))
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n') + 1
	for cut := first; cut < len(whole); cut++ {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Replay(func([]byte) error { return nil }); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := f.Append([]byte(`{"n":3}`)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got, want := replay(t, path), []string{`{"n":1}`, `{"n":3}`}; !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %q, want %q", cut, got, want)
		}
	}
}

func TestDamageIsNamed(t *testing.T) {
	path := write(t, `{"n":1}`, `{"n":2}`, `{"n":3}`)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.IndexByte(whole, '\n') + 1
	for name, edit := range map[string]func(text []byte) []byte{
		"flipped bit": func(text []byte) []byte { return bytes.Replace(text, []byte(`{"n":2}`), []byte(`{"n":6}`), 1) },
		"no JSON":     func(text []byte) []byte { text[second] = 'x'; return text },
		"format":      func(text []byte) []byte { text[second+len(`{"format":`)] = '9'; return text },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, edit(slices.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			err = f.Replay(func([]byte) error { return nil })
			if want := fmt.Sprintf("is damaged at byte %d", second); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		})
	}
}

func TestOneProcess(t *testing.T) {
	path := write(t)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if second, err := Open(path); err == nil || !strings.Contains(err.Error(), "another process has it") {
		t.Errorf("second open: %v, %v", second, err)
	}
}

func TestAppendWantsOneLine(t *testing.T) {
	path := write(t)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, record := range []string{"", "{", "[1,\n2]"} {
		if err := f.Append([]byte(record)); err == nil {
			t.Errorf("%q was appended", record)
		}
	}
}

func TestRewrite(t *testing.T) {
	path := write(t, "1", "2", "3")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Replay(func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := f.Rewrite([]byte(`{"all":6}`)); err != nil {
		t.Fatal(err)
	}
	if second, err := Open(path); err == nil {
		t.Errorf("the new file is not locked: %v", second)
	}
	if err := f.Append([]byte("4")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	// A crash before the rename leaves a file that nobody reads, and the next rewrite replaces.
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := replay(t, path), []string{`{"all":6}`, "4"}; !slices.Equal(got, want) {
		t.Errorf("replayed %q, want %q", got, want)
	}
	if f, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Rewrite([]byte("10")); err != nil {
		t.Errorf("rewrite over a left file: %v", err)
	}
}

// TestKill kills -9 a process that appends as fast as it can: every record it was told is stored is there afterwards.
func TestKill(t *testing.T) {
	if path := os.Getenv("JOURNAL_TO_FILL"); path != "" {
		fill(path)
	}
	path := filepath.Join(t.TempDir(), "journal")
	stored := 0
	for range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "JOURNAL_TO_FILL="+path)
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
		records := replay(t, path)
		if len(records) < stored || len(records) > stored+1 {
			t.Fatalf("%d records, %d were acknowledged", len(records), stored)
		}
		for i, r := range records {
			if r != strconv.Itoa(i+1) {
				t.Fatalf("record %d is %s", i+1, r)
			}
		}
	}
	if stored < 100 {
		t.Errorf("only %d records in five runs", stored)
	}
}

// fill is the process to be killed: it appends 1, 2, 3... and prints each number once it is stored.
func fill(path string) {
	f, err := Open(path)
	if err != nil {
		panic(err)
	}
	n := 0
	if err := f.Replay(func([]byte) error { n++; return nil }); err != nil {
		panic(err)
	}
	for {
		n++
		if err := f.Append([]byte(strconv.Itoa(n))); err != nil {
			panic(err)
		}
		fmt.Println(n)
	}
}

// FuzzReplay: no file makes Replay panic, and a file it accepts takes another record.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"format":1,"sum":"00000000","record":{}}` + "\n"))
	f.Add([]byte("\n\n"))
	f.Add([]byte(`{"format":1,"sum":"83f5d3a1","record":1}` + "\n" + `{"form`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		n := 0
		if err := j.Replay(func([]byte) error { n++; return nil }); err != nil {
			return
		}
		if err := j.Append([]byte("1")); err != nil {
			t.Fatal(err)
		}
		j.Close()
		if got := len(replay(t, path)); got != n+1 {
			t.Fatalf("%d records after an append to %d", got, n)
		}
	})
}
