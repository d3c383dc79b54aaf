package journal

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T) *Journal {
	t.Helper()
	j, err := Open(filepath.Join(t.TempDir(), "journal"), "agent")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func add(t *testing.T, j *Journal, op string, role Role, steps ...Step) {
	t.Helper()
	for _, s := range steps {
		if err := j.Append(Record{Op: op, Role: role, Step: s}); err != nil {
			t.Fatalf("append %s: %v", s, err)
		}
	}
}

func load(t *testing.T, j *Journal, op string, role Role) []Record {
	t.Helper()
	recs, err := j.Load(op, role)
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

// The commit rule (design 4): of committed and aborted only the first can be written.
func TestSettledOnce(t *testing.T) {
	for _, c := range []struct{ first, second Step }{{Committed, Aborted}, {Aborted, Committed}} {
		j := open(t)
		add(t, j, "op1", Source, Prepared, c.first)
		err := j.Append(Record{Op: "op1", Role: Source, Step: c.second})
		var settled *SettledError
		if !errors.As(err, &settled) || settled.Step != c.first {
			t.Errorf("%s after %s: error %v, want a SettledError that says %s", c.second, c.first, err, c.first)
		}
		add(t, j, "op1", Source, c.first) // repeating it is no contradiction
		add(t, j, "op1", Source, Done)
		if recs := load(t, j, "op1", Source); Settled(recs) != c.first || !Finished(recs) {
			t.Errorf("records %v: settled %q, finished %v", recs, Settled(recs), Finished(recs))
		}
	}
}

// Agent and helper race for the decision as two processes do: two journals over one folder.
func TestOneWinner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	var wins sync.Map
	for round := range 40 {
		op := "op" + string(rune('a'+round%26)) + string(rune('a'+round/26))
		var wg sync.WaitGroup
		for _, step := range []Step{Committed, Aborted} {
			j, err := Open(dir, string(step))
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if err := j.Append(Record{Op: op, Role: Source, Step: step}); err == nil {
					if other, taken := wins.LoadOrStore(op, step); taken {
						t.Errorf("%s: both %v and %s were written", op, other, step)
					}
				}
			})
		}
		wg.Wait()
		if _, ok := wins.Load(op); !ok {
			t.Errorf("%s: nobody won", op)
		}
	}
}

// What has ended is not reserved again under its ID.
func TestReservedOnce(t *testing.T) {
	j := open(t)
	add(t, j, "op1", Target, Reserved, Aborted, Done)
	var settled *SettledError
	if err := j.Append(Record{Op: "op1", Role: Target, Step: Reserved}); !errors.As(err, &settled) || settled.Step != Aborted {
		t.Errorf("reserved after aborted: %v", err)
	}
	add(t, j, "op1", Source, Prepared) // another role, another file
	add(t, j, "op2", Target, Reserved)
}

// A note is a step like any other, until the operation is settled.
func TestNote(t *testing.T) {
	j := open(t)
	add(t, j, "op1", Source, Prepared)
	if err := j.Note(Record{Op: "op1", Role: Source, Step: Switched}); err != nil {
		t.Fatal(err)
	}
	add(t, j, "op1", Source, Aborted)
	var settled *SettledError
	if err := j.Note(Record{Op: "op1", Role: Source, Step: Sent}); !errors.As(err, &settled) || settled.Step != Aborted {
		t.Errorf("note after aborted: %v", err)
	}
	if recs := load(t, j, "op1", Source); len(recs) != 3 || recs[1].Step != Switched || Last(recs) != Aborted {
		t.Errorf("records %v", recs)
	}
}

// A crash during an append leaves a torn line: the step was never done, and the next append takes its place.
func TestTornLine(t *testing.T) {
	j := open(t)
	add(t, j, "op1", Source, Prepared, Frozen)
	path := j.path("op1", Source)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.IndexByte(string(whole), '\n') + 1
	for cut := first; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if recs := load(t, j, "op1", Source); len(recs) != 1 || Last(recs) != Prepared {
			t.Fatalf("cut at byte %d: %v", cut, recs)
		}
		add(t, j, "op1", Source, Aborted)
		if recs := load(t, j, "op1", Source); len(recs) != 2 || Last(recs) != Aborted {
			t.Fatalf("cut at byte %d, then aborted: %v", cut, recs)
		}
	}
}

// Damage before the end is no crash of ours: it is named by its byte, and nothing is decided on top of it.
func TestDamage(t *testing.T) {
	j := open(t)
	add(t, j, "op1", Source, Prepared, Frozen)
	path := j.path("op1", Source)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[3] = 0
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Load("op1", Source); err == nil || !strings.Contains(err.Error(), "byte 0") {
		t.Errorf("load: %v, want an error that names byte 0", err)
	}
	if err := j.Append(Record{Op: "op1", Role: Source, Step: Committed}); err == nil {
		t.Error("committed on top of a damaged journal")
	}
}

func TestNames(t *testing.T) {
	j := open(t)
	for _, op := range []string{"", "../x", "a/b", "a.b", strings.Repeat("x", 65)} {
		if err := j.Append(Record{Op: op, Role: Source, Step: Prepared}); err == nil {
			t.Errorf("op %q was taken", op)
		}
	}
}

func TestPruneKeepsUnfinished(t *testing.T) {
	j := open(t)
	for _, op := range []string{"a", "b", "c"} {
		add(t, j, op, Source, Prepared, Aborted, Done)
		time.Sleep(time.Millisecond)
	}
	add(t, j, "d", Source, Prepared, Committed)
	if err := j.Prune(1); err != nil {
		t.Fatal(err)
	}
	list, err := j.List()
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range list {
		left = append(left, e.Op)
	}
	if got := strings.Join(left, " "); got != "c d" {
		t.Errorf("left %q, want the newest finished and the unfinished: c d", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":1,"op":"a","role":"source","step":"prepared","pid":1,"by":"agent","at":"2026-11-21T00:00:00Z"}` + "\n"))
	f.Add([]byte("{\"format\":2}\n"))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		recs, end, err := parse(data)
		if err != nil {
			return
		}
		if end > int64(len(data)) || end > 0 && data[end-1] != '\n' {
			t.Fatalf("end %d of %d is not behind a line", end, len(data))
		}
		again, _, err := parse(data[:end])
		if err != nil || len(again) != len(recs) {
			t.Fatalf("the good part parses to %d records, then %d (%v)", len(recs), len(again), err)
		}
	})
}

// A step of the wall clock decides nothing: records follow each other as they were written, not by their times.
func TestClockStep(t *testing.T) {
	j := open(t)
	now := time.Now()
	var text []byte
	for i, step := range []Step{Prepared, Frozen, Restored, Committed} {
		at := now.AddDate([]int{0, -1, 1, -2}[i], 0, 0)
		line, err := json.Marshal(Record{Format: Format, Op: "op1", Role: Source, Step: step, At: at})
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, line...), '\n')
	}
	if err := os.WriteFile(j.path("op1", Source), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if recs := load(t, j, "op1", Source); Last(recs) != Committed || Settled(recs) != Committed {
		t.Errorf("last %q, settled %q", Last(recs), Settled(recs))
	}
	var settled *SettledError
	if err := j.Append(Record{Op: "op1", Role: Source, Step: Aborted}); !errors.As(err, &settled) {
		t.Errorf("aborted after a commit of the past: %v", err)
	}
	add(t, j, "op1", Source, Released, Done)
	if recs := load(t, j, "op1", Source); !Finished(recs) {
		t.Errorf("not finished: %v", recs)
	}
}
