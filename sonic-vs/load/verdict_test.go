package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/mig-agent/journal"
)

// proven is a watched load that shows all it has to, with the calibration before it.
func proven() *story {
	s := overloaded()
	s.About.Ended = 101 * time.Second
	s.Calibration = &Calibration{Node: "leaf1", Rate: 500, Cores: 0.576, Rounds: []Round{{Cores: 0.576}}}
	return s
}

func TestVerdict(t *testing.T) {
	r := Analyse([]Part{proven().Part})
	if err := r.broken(); err != nil || len(r.Verdict) < 16 {
		t.Errorf("%v, %+v", err, r.Verdict)
	}
	text, err := r.Format()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"holds": true,`, `"name": "live.would_use.source",`, `"source": 0.96,`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// Each of these breaks a promise, some others with it. A figure in want is what was got.
func TestBrokenPromises(t *testing.T) {
	slow := func(from, to, latency time.Duration) func(s *story) {
		return func(s *story) {
			for i := range s.Records {
				if r := &s.Records[i]; from <= r.Due && r.Due < to {
					r.Latency, r.Answered = latency, r.Due+latency
				}
			}
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(s *story)
		want  string // "NAME: GOT"
	}{
		{"an operator moves it", func(s *story) {
			for _, j := range s.Journals {
				for i := range j.Records {
					j.Records[i].Op = "mpxo6rzh76r7"
				}
			}
		}, "live.automatic: not proved: operation mpxo6rzh76r7 was not issued by the tree"},
		{"no audit", func(s *story) { s.Audit = nil }, "live.automatic: not proved: the audit has no confirmed overload"},
		{"a second move begins before the first ends", func(s *story) {
			s.journals("tree-kms-0-e1-2", "leaf2", "leaf1", 38*time.Second, 39*time.Second)
			s.Journals[len(s.Journals)-1].Records = s.Journals[len(s.Journals)-1].Records[:1]
			s.Journals[len(s.Journals)-2].Records[1].Step = journal.Aborted
		}, "live.moves: 2"},
		{"a second move later", func(s *story) {
			s.journals("tree-kms-0-e1-2", "leaf2", "leaf1", 60*time.Second, 61*time.Second)
		}, "live.moves after the first: 1"},
		{"not watched for long", func(s *story) {
			s.Records = s.Records[:len(s.Records)-10]
		}, "live.watched_after_s: 59.800"},
		{"more was promised", func(s *story) { s.Watch.After = 90 * time.Second }, "live.watched_after_s: 61.800"},
		{"the load never ended", func(s *story) { s.About.Ended = 0 }, "live.the load ended in order: false"},
		{"the records are cut", func(s *story) { s.Truncated = true }, "live.the load ended in order: false"},
		{"a lost key", func(s *story) {
			s.Volume.Entries = slices.Delete(s.Volume.Entries, 100, 101)
		}, "live.lost_keys: 1"},
		{"no volume", func(s *story) { s.Volume = nil }, "live.lost_keys: unknown"},
		{"a serial twice", func(s *story) {
			s.Volume.Entries = append(s.Volume.Entries, s.Volume.Entries[100])
		}, "live.duplicate_keys: 1"},
		{"too large a budget", func(s *story) { s.Calibration.Cores = 0.55 }, "live.would_use.source: 0.917"},
		{"too small a budget", func(s *story) { s.Calibration.Cores = 0.583 }, "live.would_use.source: 0.972"},
		{"no calibration", func(s *story) { s.Calibration = nil }, "live.would_use.source: unknown"},
		{"no room on the target", func(s *story) {
			for i := range s.Usage {
				if u := &s.Usage[i]; u.Node == "leaf2" {
					u.Budget = 0.7
				}
			}
		}, "live.would_use.target: 0.823"},
		{"the target is used up", func(s *story) {
			for i := range s.Usage {
				if u := &s.Usage[i]; u.Node == "leaf2" {
					u.CPU = u.CPU * 7 / 3
				}
			}
		}, "live.compute.target.after: 0.700"},
		{"no samples", func(s *story) { s.Usage = nil }, "live.compute.target.after: unknown"},
		{"a failed request", func(s *story) { s.bad(101*time.Second, 101*time.Second+msec, "status 503") }, "live.failed_requests: 1"},
		{"a broken connection", func(s *story) {
			s.bad(101*time.Second, 101*time.Second+msec, "connection ended: EOF").Broken = true
		}, "live.broken_connections: 1"},
		{"a connection dialled again", func(s *story) { s.Records[len(s.Records)-1].Conn = 2 }, "live.reconnections: 1"},
		{"lost memory", func(s *story) {
			s.boot = bootB
			s.good(101*time.Second, msec)
		}, "live.boot ids: 2"},
		{"no overload to see", slow(30*time.Second, 37*time.Second, 2900*usec), "live.latency_ms: overloaded / before: 2.900"},
		{"slow after it", slow(70*time.Second, 102*time.Second, 1600*usec), "live.latency_ms: after / before: 1.600"},
		{"nobody asked before", func(s *story) {
			for i := range s.Records {
				if r := &s.Records[i]; r.Due < 30*time.Second {
					*r = Record{N: i, Due: r.Due, Failed: r.Due + 1, Error: "status 503"}
				}
			}
		}, "live.latency_ms: after / before: unknown"},
		{"a cold move that keeps the memory", func(s *story) { s.Watch.Mode = "cold" }, "live.new_boots: 0"},
	} {
		s := proven()
		tt.spoil(s)
		r := Analyse([]Part{s.Part})
		err := r.broken()
		if !errors.Is(err, ErrVerdict) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if text, err := r.Format(); err != nil || !strings.Contains(string(text), `"holds": false`) {
			t.Errorf("%s: the report says it holds (%v)", tt.name, err)
		}
	}
}

// A ratio at its limit holds.
func TestLimitsHold(t *testing.T) {
	s := proven()
	for i := range s.Records {
		r := &s.Records[i]
		switch {
		case r.Due >= 70*time.Second:
			r.Latency = 1500 * usec
		case r.Due >= 30*time.Second && r.Due < 37*time.Second:
			r.Latency = 3 * msec
		}
		r.Answered = r.Due + r.Latency
	}
	for _, cores := range []float64{0.552, 0.582} {
		s.Calibration.Cores = cores
		if err := Analyse([]Part{s.Part}).broken(); err != nil {
			t.Error(err)
		}
	}
}

// round is a load of a calibration: even requests that cost so much each, and samples around them.
func round(name string, rate, requests int, ms float64) Part {
	s := begin()
	s.Name, s.About.Steps = name, []Step{{0, rate}}
	sample := func(at, cpu time.Duration) {
		for _, node := range []string{"leaf1", "leaf2"} {
			s.Usage = append(s.Usage, Usage{At: zero.Add(at), Node: node, CPU: time.Second + cpu, Budget: 0.4})
			cpu = 0
		}
	}
	sample(0, 0)
	for range requests {
		s.add(Record{Due: msec, Answered: 2 * msec, Latency: msec})
	}
	sample(time.Second, time.Duration(float64(requests)*ms*float64(msec)))
	s.bad(0, msec, "status 503") // no answer, no cost
	return s.Part
}

func TestCalibrate(t *testing.T) {
	c, err := calibrate([]Part{round("1", 500, 1000, 9), round("2", 500, 1000, 0.6), round("3", 500, 2000, 0.62)}, "leaf1")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Round{0.4, 2000, 0.62, 0.31}); c.Rate != 500 || len(c.Rounds) != 3 || c.Rounds[2] != want || c.Cores != 0.3 || c.Apart != 0.0333 {
		t.Errorf("%+v", c)
	}
	unsampled := round("1", 500, 1000, 1)
	unsampled.Usage = unsampled.Usage[:2]
	for name, parts := range map[string][]Part{
		"no round":       nil,
		"another rate":   {round("1", 500, 1000, 1), round("2", 100, 1000, 1)},
		"too short":      {round("1", 500, 999, 1)},
		"one sample":     {unsampled},
		"no load at all": {{Name: "1"}},
	} {
		if c, err := calibrate(parts, "leaf1"); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// A calibration is read beside the load it belongs to, in the order of its rounds.
func TestReadCalibration(t *testing.T) {
	top := t.TempDir()
	if c, err := ReadCalibration(filepath.Join(top, "none"), "leaf1"); c != nil || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
	for n, cost := range map[int]float64{2: 0.6, 9: 0.6, 10: 0.62} {
		dir := filepath.Join(top, fmt.Sprint(n))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		p := begin().Part
		p.About.Steps = []Step{{0, 500}}
		made := round("", 500, 1000, cost)
		p.Usage, p.About.PublicKey = made.Usage, "-"
		_, answer := entry(signer, 1, bootA)
		for _, r := range made.Records[:1000] {
			r.Answer = &answer
			p.Records = append(p.Records, r)
		}
		writer, err := createRecords(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			writer.records <- r
		}
		p.About.Format = aboutFormat
		if err := errors.Join(writer.close(), p.About.write(dir), AppendUsage(dir, p.Usage...)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := ReadCalibration(top, "leaf1")
	if err != nil || len(c.Rounds) != 3 || c.Cores != 0.3 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.WriteFile(filepath.Join(top, "10", usageFile), []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadCalibration(top, "leaf1"); !errors.Is(err, ErrVerify) {
		t.Errorf("%+v, %v", c, err)
	}
}
