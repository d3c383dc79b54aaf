package load

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/mig-agent/journal"
)

const treeOp = "tree-kms-0-e1-1"

// overloaded is a watched load: slower answers from second 30 on, a move from 37 to 39 s, and 62 s after it.
func overloaded() *story {
	s := begin()
	s.About.Steps = []Step{{0, 100}, {30 * time.Second, 500}}
	s.Watch = &Watch{Replica: "kms-0", Mode: "live", Node: "leaf1", After: time.Minute}
	for due := time.Duration(0); due < 101*time.Second; due += 200 * msec { // signatures take their time
		latency := msec
		if due >= 30*time.Second && due < 37*time.Second {
			latency = 9 * msec
		}
		s.good(due, latency)
	}
	s.audit(36*time.Second, "confirmed", "", "decide/confirm")
	s.audit(37*time.Second-msec, "move", treeOp, "decide/move")
	s.audit(39*time.Second, "moved", treeOp, "decide/done")
	s.journals(treeOp, "leaf1", "leaf2", 37*time.Second, 39*time.Second)
	for i := range 100 {
		at := zero.Add(time.Duration(i) * time.Second)
		s.Usage = append(s.Usage, Usage{At: at, Node: "leaf1", CPU: time.Duration(i) * 570 * msec, Budget: 0.6})
		s.Usage = append(s.Usage, Usage{At: at, Node: "leaf2", CPU: time.Duration(i) * 300 * msec, Budget: 1})
	}
	return s
}

func (s *story) audit(at time.Duration, what, op, path string) {
	s.Audit = append(s.Audit, Audited{At: zero.Add(at), Replica: "kms-0", What: what, Op: op, Path: path})
}

// journals of both agents about one committed move.
func (s *story) journals(op, from, to string, begin, end time.Duration) {
	rec := func(role journal.Role, step journal.Step, at time.Duration, peer string) journal.Record {
		return journal.Record{Format: journal.Format, Op: op, Role: role, Step: step, At: zero.Add(at),
			Facts: &journal.Facts{Kind: "move", Service: "kms", Mode: "live", Peer: peer}}
	}
	s.Journals = append(s.Journals,
		Journaled{from, []journal.Record{rec(journal.Source, journal.Prepared, begin+msec, to),
			rec(journal.Source, journal.Committed, end-msec, to), rec(journal.Source, journal.Done, end, to)}},
		Journaled{to, []journal.Record{rec(journal.Target, journal.Reserved, begin, from), rec(journal.Target, journal.Committed, end-msec, from)}})
}

func TestAutomatic(t *testing.T) {
	s := overloaded()
	r := Analyse([]Part{s.Part})
	if len(r.Problems) > 0 {
		t.Fatal(r.Problems)
	}
	p := r.Part("live")
	a := p.Automatic
	if a == nil || !a.Automatic || a.Orders != 1 || a.OrdersAfter != 0 || a.Op != treeOp || a.Path != "decide/move" || a.From != "leaf1" || a.To != "leaf2" {
		t.Fatalf("%+v", a)
	}
	if *a.ConfirmedS != 36 || a.BeginS != 37 || a.DoneS != 39 || a.OverloadToDoneS != 9 || a.WatchedS != 61.8 {
		t.Errorf("times: %+v, confirmed %v", a, *a.ConfirmedS)
	}
	if *p.Latency.Before != ms(msec) || *p.Latency.Overloaded != ms(9*msec) || *p.Latency.After != ms(msec) {
		t.Errorf("latency %+v", p.Latency)
	}
	if n := a.Phases.Overloaded.Answers; n != 30 { // from second 31 to the move
		t.Errorf("%d answers while overloaded", n)
	}
	if source, target := a.Compute["source"], a.Compute["target"]; *source.Overloaded != 0.95 || *target.After != 0.3 || source.Node != "leaf1" || target.Budget != 1 {
		t.Errorf("source %+v, target %+v", source, target)
	}
	if len(r.Moves) != 1 || r.Moves[0].Kind != "live" || r.Moves[0].TookMS != ms(2*time.Second) {
		t.Errorf("moves %+v", r.Moves)
	}
	text, err := r.Format()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`  "automatic": true,`, `"overload_to_done_s": 9,`, `"overloaded": 9,`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// Each of these lacks one proof.
func TestNotAutomatic(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(s *story)
		want  string
	}{
		"by an operator": {func(s *story) {
			for _, j := range s.Journals {
				for i := range j.Records {
					j.Records[i].Op = "mpxo6rzh76r7"
				}
			}
		}, "not issued by the tree"},
		"two moves": {func(s *story) {
			s.journals("tree-kms-0-e1-2", "leaf2", "leaf1", 60*time.Second, 61*time.Second)
		}, "2 operations"},
		"an operator moves it back": {func(s *story) {
			s.journals("mpxo6rzh76r7", "leaf2", "leaf1", 60*time.Second, 61*time.Second)
		}, "2 operations"},
		"no move":           {func(s *story) { s.Journals = nil }, "0 operations"},
		"another replica's": {func(s *story) { s.Watch.Replica = "kms-1" }, "0 operations"},
		"an op of another replica": {func(s *story) {
			for _, j := range s.Journals {
				for i := range j.Records {
					j.Records[i].Op = "tree-radius-0-e1-1"
				}
			}
		}, "not issued by the tree"},
		"aborted": {func(s *story) { s.Journals[0].Records[1].Step = journal.Aborted }, "not committed"},
		"confirmed after it began": {func(s *story) {
			s.Audit[0].At = zero.Add(38 * time.Second)
		}, "no confirmed overload"},
		"not in the audit": {func(s *story) { s.Audit = s.Audit[:1] }, "does not name operation"},
		"no leaf": {func(s *story) {
			for i := range s.Audit {
				s.Audit[i].Path = ""
			}
		}, "names no leaf"},
		"from elsewhere": {func(s *story) { s.Watch.Node = "leaf3" }, "not on leaf3"},
	} {
		s := overloaded()
		c.spoil(s)
		r := Analyse([]Part{s.Part})
		a := r.Part("live").Automatic
		if automatic, watched := r.Automatic(); automatic || !watched || a.Automatic {
			t.Errorf("%s: automatic", name)
		}
		if !slices.ContainsFunc(a.Missing, func(m string) bool { return strings.Contains(m, c.want) }) {
			t.Errorf("%s: %q, want %q", name, a.Missing, c.want)
		}
	}
}

// Moves of before the load, and of other services, are in the same journals.
func TestAutomaticLooksAtItsOwnLoad(t *testing.T) {
	s := overloaded()
	s.journals("mpxo6rzh76r7", "leaf2", "leaf1", -9*time.Second, -8*time.Second)
	other := len(s.Journals)
	s.journals("mpxo6rzh76r8", "leaf1", "leaf2", 50*time.Second, 51*time.Second)
	for _, j := range s.Journals[other:] {
		for i := range j.Records {
			j.Records[i].Facts.Service = "radius"
		}
	}
	if a := Analyse([]Part{s.Part}).Part("live").Automatic; !a.Automatic || a.Orders != 1 {
		t.Errorf("%+v", a)
	}
}

func TestWatchedLoadsProblems(t *testing.T) {
	for want, spoil := range map[string]func(s *story){
		"somebody ordered":         func(s *story) { s.move("live", 50*time.Second, 51*time.Second) },
		"1 steps, want 2":          func(s *story) { s.About.Steps = s.About.Steps[:1] },
		"ends 21 s after the move": func(s *story) { s.Records = s.Records[:301] },
	} {
		s := overloaded()
		spoil(s)
		if r := Analyse([]Part{s.Part}); !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.Contains(p, want) }) {
			t.Errorf("%q, want %q", r.Problems, want)
		}
	}
}

// What a demo writes is what the checker reads.
func TestWatchFiles(t *testing.T) {
	dir, host := t.TempDir(), t.TempDir()
	write := func(path, text string) string {
		path = filepath.Join(host, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	audit := write("audit.jsonl", `{"at":"2026-11-21T12:00:36Z","replica":"kms-0","what":"confirmed","text":"compute","path":"decide/confirm","detail":{"seen":5}}
{"at":"2026-11-21T12:00:37Z","replica":"kms-0"}
{"at":"2026-11-21T12:00`)
	write("journal/"+treeOp+".source.jsonl", `{"format":1,"op":"tree-kms-0-e1-1","role":"source","step":"prepared","pid":1,"by":"agent","at":"2026-11-21T12:00:37Z","facts":{"kind":"move","service":"kms","replica":0,"peer":"leaf2"}}
{"format":1,"op":"tree-kms-0-e1-1"`)
	watch := Watch{Replica: "kms-0", Mode: "live", Node: "leaf1", After: time.Minute}
	usage := Usage{At: zero, Node: "leaf1", CPU: time.Second, Budget: 0.5}
	for _, err := range []error{
		watch.Write(dir), AppendUsage(dir, usage), AppendUsage(dir, usage), CopyAudit(dir, audit), CopyJournal(dir, "leaf1", filepath.Join(host, "journal")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := Part{Name: "live"}
	if err := p.readWatch(dir); err != nil {
		t.Fatal(err)
	}
	if *p.Watch != watch || len(p.Usage) != 2 || p.Usage[1] != usage || len(p.Audit) != 1 || p.Audit[0].Path != "decide/confirm" {
		t.Errorf("%+v", p)
	}
	if len(p.Journals) != 1 || p.Journals[0].Node != "leaf1" || len(p.Journals[0].Records) != 1 || p.Journals[0].Records[0].Op != treeOp {
		t.Errorf("journals %+v", p.Journals)
	}
	if len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "audit.jsonl: line 2") {
		t.Errorf("problems %q", p.Problems)
	}
	if err := os.WriteFile(filepath.Join(dir, watchFile), []byte(`{"replica":"kms"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.readWatch(dir); err == nil {
		t.Error("a watch without a replica was read")
	}
}

func FuzzParseAudited(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-21T12:00:36Z","what":"confirmed"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if a, err := ParseAudited(line); err == nil && (a.At.IsZero() || a.What == "") {
			t.Errorf("%+v", a)
		}
	})
}

func FuzzParseUsage(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-21T12:00:36Z","node":"leaf1","cpu":1,"budget":0.5,"throttled":0}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if u, err := ParseUsage(line); err == nil && (u.Node == "" || u.CPU < 0 || u.Budget < 0) {
			t.Errorf("%+v", u)
		}
	})
}

func FuzzParseWatch(f *testing.F) {
	f.Add([]byte(`{"replica":"kms-0","mode":"live","node":"leaf1","after":60000000000}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if w, err := ParseWatch(text); err == nil && w.check() != nil {
			t.Errorf("%+v", w)
		}
	})
}
