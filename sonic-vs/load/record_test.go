package load

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sampleRecords are written by the real writer.
func sampleRecords(t testing.TB) (records []Record, file []byte) {
	t.Helper()
	s := begin()
	s.steady(0, 300*msec)
	s.bad(300*msec, 301*msec, "connection ended: EOF").Broken = true
	s.steady(310*msec, 400*msec)
	dir := t.TempDir()
	w, err := createRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Records {
		w.records <- r
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	file, err = os.ReadFile(filepath.Join(dir, requestFile))
	if err != nil {
		t.Fatal(err)
	}
	return s.Records, file
}

func TestRecordsComeBack(t *testing.T) {
	want, file := sampleRecords(t)
	got, truncated, problems := ReadRecords(bytes.NewReader(file))
	if truncated || problems != nil {
		t.Errorf("truncated %v, problems %v", truncated, problems)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Wherever a crash cuts the file, what is before the cut can be read.
func TestCutRecords(t *testing.T) {
	want, file := sampleRecords(t)
	last := 0
	for cut := range len(file) {
		got, truncated, problems := ReadRecords(bytes.NewReader(file[:cut]))
		if !truncated || problems != nil {
			t.Fatalf("cut at %d: truncated %v, problems %v", cut, truncated, problems)
		}
		if len(got) < last || len(got) > 0 && !cmp.Equal(got, want[:len(got)]) {
			t.Fatalf("cut at %d: %d records after %d", cut, len(got), last)
		}
		last = len(got)
	}
	if last != len(want) {
		t.Errorf("%d records without the checksum, want %d", last, len(want))
	}
}

func TestDamagedRecords(t *testing.T) {
	pack := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.Bytes()
	}
	good := `{"n":0,"due":1,"failed":2,"error":"x"}` + "\n"
	flipped := pack(strings.Repeat(good, 3))
	flipped[len(flipped)-6] ^= 1 // in the checksum
	for _, tt := range []struct {
		name    string
		file    []byte
		records int
		problem string
	}{
		{"empty line", pack(good + "\n" + good), 2, "line 2: EOF"},
		{"no JSON", pack(good + "x\n"), 1, "line 2: invalid character"},
		{"two values", pack(good + good[:len(good)-1] + good), 1, "line 2: 39 bytes after the value"},
		{"unknown field", pack(`{"n":0,"due":1,"failed":2,"error":"x","retries":1}` + "\n"), 0, "line 1: json: unknown field"},
		{"no outcome", pack(`{"n":0,"due":1}` + "\n"), 0, "line 1: neither answered nor failed"},
		{"answered without a key", pack(`{"n":0,"due":1,"answered":3,"latency":2}` + "\n"), 0, "line 1: answered without"},
		{"wrong latency", pack(`{"n":0,"due":1,"answered":3,"latency":1,"answer":{}}` + "\n"), 0, "line 1: latency"},
		{"negative", pack(`{"n":-1,"due":1,"failed":2,"error":"x"}` + "\n"), 0, "line 1: negative"},
		{"failed silently", pack(`{"n":1,"due":1,"failed":2}` + "\n"), 0, "line 1: failed without"},
		{"no newline", pack(good + "{"), 1, "line 2: no newline"},
		{"no gzip", []byte(good), 0, "line 1: gzip"},
		{"other bytes", flipped, 3, "line 4: gzip: invalid checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			records, truncated, problems := ReadRecords(bytes.NewReader(tt.file))
			if len(records) != tt.records || truncated {
				t.Errorf("%d records, truncated %v; want %d", len(records), truncated, tt.records)
			}
			if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), tt.problem) {
				t.Errorf("problems %v, want %q", problems, tt.problem)
			}
		})
	}
}

func TestFolderIsNotUsedTwice(t *testing.T) {
	dir := t.TempDir()
	w, err := createRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := createRecords(dir); err == nil {
		t.Error("records would be overwritten")
	}
}

func TestEventsComeBack(t *testing.T) {
	dir := t.TempDir()
	want := []Event{
		{Kind: "live", Move: 1, From: "leaf1", To: "leaf2", Begin: zero, End: zero.Add(time.Second), Phases: []Phase{{"dump", 1.5, 100}}},
		{Kind: "cold", Move: 2, From: "leaf2", To: "leaf1", Begin: zero, End: zero},
	}
	for _, e := range want {
		if err := AppendEvent(dir, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := AppendEvent(dir, Event{Kind: "live", Begin: zero.Add(1), End: zero}); err == nil {
		t.Error("a move that ends before it begins was written")
	}
	var p Part
	got, there, err := readLines(&p, dir, eventFile, ParseEvent)
	if err != nil || !there || p.Problems != nil {
		t.Errorf("there %v, problems %v, %v", there, p.Problems, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzReadRecords(f *testing.F) {
	_, file := sampleRecords(f)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		records, _, _ := ReadRecords(bytes.NewReader(file))
		for _, r := range records {
			if err := r.check(); err != nil {
				t.Errorf("%+v was accepted: %v", r, err)
			}
		}
	})
}

// fuzzLines checks that a parser accepts again what it has read and written.
func fuzzLines[T any](f *testing.F, parse func([]byte) (T, error), seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		v, err := parse(line)
		if err != nil {
			return
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%q is read as %+v and cannot be written: %v", line, v, err)
		}
		again, err := parse(text)
		if err != nil || !cmp.Equal(v, again) {
			t.Errorf("%q is written as %q, read again as %+v, %v", line, text, again, err)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	fuzzLines(f, ParseRecord,
		`{"n":0,"due":0,"sent":1,"answered":2,"latency":2,"conn":1,"slot":1,"port":4,"status":200,"answer":{"serial":1,"boot_id":"","key":"","signature":""}}`,
		`{"n":1,"due":10,"failed":12,"broken":true,"error":"connection ended: EOF"}`)
}

func FuzzParseFreeze(f *testing.F) {
	fuzzLines(f, ParseFreeze,
		`{"t":5,"prev":1,"node":"leaf1","container":"c","state":"FROZEN"}`,
		`{"t":1000,"samples":200,"longest":7}`)
}

func FuzzParseEvent(f *testing.F) {
	fuzzLines(f, ParseEvent,
		`{"kind":"live","move":1,"from":"leaf1","to":"leaf2","begin":"2026-11-21T12:00:00Z","end":"2026-11-21T12:00:01.5Z","phases":[{"name":"dump","start_ms":1,"took_ms":2}]}`)
}

func FuzzParseAbout(f *testing.F) {
	fuzzLines(f, ParseAbout,
		`{"format":1,"start":"2026-11-21T12:00:00Z","target":"http://10.20.0.10:8080","public_key":"","steps":[{"from":0,"rate":100}],"new":20,"kept":50,"duration":0}`)
}

func FuzzParseCgroups(f *testing.F) {
	f.Add("leaf1=/sys/fs/cgroup/freezer/netservices/*")
	f.Add("=[")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseCgroups(text)
		if err != nil {
			return
		}
		if g.Node+"="+g.Glob != text {
			t.Errorf("%q is read as %v", text, g)
		}
		if _, err := filepath.Glob(g.Glob); err != nil {
			t.Errorf("%q was accepted: %v", text, err)
		}
	})
}
