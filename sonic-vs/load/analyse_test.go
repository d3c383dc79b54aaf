package load

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/examples/kms/keylog"
)

const (
	msec = time.Millisecond
	usec = time.Microsecond
)

var (
	signer = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	forger = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	bootA  = keylog.BootID{0xa}
	bootB  = keylog.BootID{0xb}
	zero   = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

// story is a part made by hand, request after request.
type story struct {
	Part
	serial uint64
	boot   keylog.BootID
}

func begin() *story {
	return &story{
		Part: Part{Name: "live", About: About{Start: zero}, Public: signer.Public().(ed25519.PublicKey), Volume: &Volume{}},
		boot: bootA,
	}
}

// entry signs a serial; the key is made from it.
func entry(signer ed25519.PrivateKey, serial uint64, boot keylog.BootID) (keylog.Entry, keylog.Answer) {
	key := bytes.Repeat([]byte{byte(serial)}, keylog.KeySize)
	e := keylog.Sign(signer, serial, boot, key)
	return e, e.Answer(key)
}

// good is a request due at a moment and answered after a latency; its key is on the volume.
func (s *story) good(due, latency time.Duration) *Record {
	s.serial++
	e, answer := entry(signer, s.serial, s.boot)
	s.Volume.Entries = append(s.Volume.Entries, e)
	return s.add(Record{Due: due, Sent: due + 1, Answered: due + latency, Latency: latency, Answer: &answer, Conn: 1, Slot: 1, Status: 200})
}

func (s *story) bad(due, failed time.Duration, text string) *Record {
	return s.add(Record{Due: due, Sent: due + 1, Failed: failed, Error: text, Conn: 1, Slot: 1})
}

func (s *story) add(r Record) *Record {
	r.N = len(s.Records)
	s.Records = append(s.Records, r)
	return &s.Records[r.N]
}

// steady are requests each 10 ms, answered after 1 ms.
func (s *story) steady(from, to time.Duration) {
	for due := from; due < to; due += 10 * msec {
		s.good(due, msec)
	}
}

func (s *story) move(kind string, from, to time.Duration) {
	s.Events = append(s.Events, Event{Kind: kind, Move: len(s.Events) + 1, From: "leaf1", To: "leaf2", Begin: zero.Add(from), End: zero.Add(to)})
}

func TestAnalyse(t *testing.T) {
	type figures struct {
		requests, failed, broken, reconnected, lost, duplicate, boots int
		gap                                                           time.Duration
	}
	for _, tt := range []struct {
		name    string
		tell    func(s *story)
		want    figures
		problem string // "" is none
	}{
		{"nothing wrong", func(s *story) {
			s.steady(0, 100*msec)
		}, figures{requests: 10, boots: 1, gap: msec}, ""},

		{"lost key: answered, and not on the volume", func(s *story) {
			s.steady(0, 100*msec)
			s.Volume.Entries = slices.Delete(s.Volume.Entries, 4, 5)
		}, figures{requests: 10, lost: 1, boots: 1, gap: msec}, ""},

		{"lost key: the volume has the serial from another boot", func(s *story) {
			s.steady(0, 100*msec)
			s.Volume.Entries[9], _ = entry(signer, 10, bootB)
		}, figures{requests: 10, lost: 1, boots: 1, gap: msec}, ""},

		{"not lost: on the volume, but never answered", func(s *story) {
			s.steady(0, 100*msec)
			s.bad(100*msec, 101*msec, "connection ended: EOF")
			e, _ := entry(signer, 11, bootA)
			s.Volume.Entries = append(s.Volume.Entries, e)
		}, figures{requests: 11, failed: 1, boots: 1, gap: msec}, ""},

		{"duplicate: one serial answered twice", func(s *story) {
			s.steady(0, 50*msec)
			s.serial--
			s.boot = bootB
			s.good(50*msec, msec)
		}, figures{requests: 6, duplicate: 1, boots: 2, gap: msec}, ""},

		{"duplicate: a serial twice on the volume", func(s *story) {
			s.steady(0, 50*msec)
			s.Volume.Entries = append(s.Volume.Entries, s.Volume.Entries[4])
		}, figures{requests: 5, duplicate: 1, boots: 1, gap: msec}, ""},

		{"duplicate: serials fall on the volume", func(s *story) {
			s.steady(0, 50*msec)
			v := s.Volume.Entries
			v[1], v[2] = v[2], v[1]
		}, figures{requests: 5, duplicate: 1, boots: 1, gap: msec}, ""},

		{"a late answer is a failure, and its key counts", func(s *story) {
			s.steady(0, 50*msec)
			s.good(50*msec, Patience+msec)
			s.Volume.Entries = s.Volume.Entries[:5]
		}, figures{requests: 6, failed: 1, lost: 1, boots: 1, gap: Patience}, ""},

		{"an answer at the last moment is none", func(s *story) {
			s.good(0, Patience)
		}, figures{requests: 1, boots: 1, gap: Patience}, ""},

		{"no gap while nothing is due", func(s *story) {
			s.steady(0, 100*msec)
			s.steady(10*time.Second, 10*time.Second+100*msec)
		}, figures{requests: 20, boots: 1, gap: msec}, ""},

		{"one answer to anybody ends a gap", func(s *story) {
			s.good(0, 400*msec)        // waits alone for 250 ms
			s.good(200*msec, 50*msec)  // is answered at 250
			s.good(300*msec, 100*msec) // both at 400
		}, figures{requests: 3, boots: 1, gap: 250 * msec}, ""},

		{"a frozen service", func(s *story) {
			s.steady(0, 100*msec)
			for due := 100 * msec; due < 400*msec; due += 10 * msec {
				s.good(due, 405*msec-due)
			}
			s.steady(410*msec, 500*msec)
		}, figures{requests: 49, boots: 1, gap: 305 * msec}, ""},

		{"refused at once, and yet an interruption", func(s *story) {
			s.steady(0, 100*msec)
			for due := 100 * msec; due < 400*msec; due += 10 * msec {
				s.bad(due, due+100*usec, "dial: connection refused")
			}
			s.boot = bootB
			s.steady(400*msec, 500*msec)
		}, figures{requests: 50, failed: 30, boots: 2, gap: 301 * msec}, ""},

		{"the load ends within an outage", func(s *story) {
			s.steady(0, 100*msec)
			s.bad(100*msec, 100*msec+Patience, errNoAnswer.Error())
		}, figures{requests: 11, failed: 1, boots: 1, gap: Patience}, ""},

		{"reset on an open request", func(s *story) {
			s.steady(0, 50*msec)
			s.bad(50*msec, 52*msec, "connection ended: connection reset by peer").Broken = true
			s.good(60*msec, msec).Conn = 2
			s.good(70*msec, msec).Conn = 2
		}, figures{requests: 8, failed: 1, broken: 1, reconnected: 1, boots: 1, gap: 11 * msec}, ""},

		{"a kept connection ended while idle", func(s *story) {
			s.good(0, msec)
			s.good(10*msec, msec).Conn = 2
		}, figures{requests: 2, broken: 1, reconnected: 1, boots: 1, gap: msec}, ""},

		{"forged answer", func(s *story) {
			s.steady(0, 50*msec)
			_, answer := entry(forger, 3, bootA)
			s.Records[2].Answer = &answer
		}, figures{requests: 5, failed: 1, boots: 1, gap: 11 * msec}, "live: request 2: signature of serial 3 does not verify"},

		{"signature of another serial", func(s *story) {
			s.steady(0, 20*msec)
			s.Records[1].Answer.Signature = s.Records[0].Answer.Signature
		}, figures{requests: 2, failed: 1, boots: 1, gap: msec}, "live: request 1: signature of serial 2 does not verify"},

		{"answer that is no key", func(s *story) {
			s.steady(0, 20*msec)
			s.Records[1].Answer.Key = "secret"
		}, figures{requests: 2, failed: 1, boots: 1, gap: msec}, "live: request 1: key: 6 characters"},

		{"forged line on the volume", func(s *story) {
			s.steady(0, 20*msec)
			e, _ := entry(forger, 3, bootA)
			s.Volume.Entries = append(s.Volume.Entries, e)
		}, figures{requests: 2, boots: 1, gap: msec}, "live: volume/keys.log:3: signature of serial 3 does not verify"},

		{"a record is missing", func(s *story) {
			s.steady(0, 50*msec)
			s.Records = slices.Delete(s.Records, 1, 3)
		}, figures{requests: 3, boots: 1, gap: msec}, "live: requests 1 to 2 have no record"},

		{"the last records are missing", func(s *story) {
			s.steady(0, 50*msec)
			s.About.Requests, s.About.Ended = 7, 50*msec
		}, figures{requests: 5, boots: 1, gap: msec}, "live: requests 5 to 6 have no record"},

		{"a record is there twice", func(s *story) {
			s.steady(0, 50*msec)
			s.Records[4].N = 3
			s.Volume.Entries = s.Volume.Entries[:5]
		}, figures{requests: 5, boots: 1, gap: msec}, "live: request 3 is recorded twice"},

		{"records cut by a crash may be missing", func(s *story) {
			s.steady(0, 50*msec)
			s.Records = slices.Delete(s.Records, 1, 3)
			s.Truncated = true
		}, figures{requests: 3, boots: 1, gap: msec}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			tt.tell(s)
			report := Analyse([]Part{s.Part})
			p := report.Parts[0]
			got := figures{p.Requests, p.Failed, p.Broken, p.Reconnected, *p.Lost, *p.Duplicate, len(p.BootIDs), time.Duration(p.GapMS)}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if p.Answered+p.Failed != p.Requests {
				t.Errorf("%d answered and %d failed of %d", p.Answered, p.Failed, p.Requests)
			}
			if p.Truncated != s.Truncated {
				t.Errorf("truncated %v", p.Truncated)
			}
			switch {
			case tt.problem == "" && len(report.Problems) > 0:
				t.Errorf("problems: %q", report.Problems)
			case tt.problem != "" && (len(report.Problems) != 1 || !strings.HasPrefix(report.Problems[0], tt.problem)):
				t.Errorf("problems: %q, want %q", report.Problems, tt.problem)
			}
		})
	}
}

func TestWithoutVolumeNothingIsSaidOfKeys(t *testing.T) {
	s := begin()
	s.steady(0, 50*msec)
	s.Volume = nil
	text, err := Analyse([]Part{s.Part}).Format()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"lost_keys": null`, `"duplicate_keys": null`, `"freeze_ms": null`, `"moves": []`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestMoves(t *testing.T) {
	s := begin()
	s.Sampled = true
	s.steady(0, 1000*msec)
	for due := 1000 * msec; due < 1300*msec; due += 10 * msec { // frozen
		s.good(due, 1305*msec-due)
	}
	s.steady(1310*msec, 3000*msec)
	for due := 3000 * msec; due < 3500*msec; due += 10 * msec { // away
		s.bad(due, due+usec, "dial: connection refused")
	}
	s.Records[len(s.Records)-50].Broken = true
	s.boot = bootB
	s.steady(3500*msec, 4000*msec)
	s.good(4000*msec, 20*msec) // a hiccup of its own
	s.steady(4020*msec, 4100*msec)
	s.move("live", 900*msec, 1400*msec)
	s.move("cold", 2900*msec, 3600*msec)
	s.Freezes = []Freeze{
		{T: 0, Node: "leaf1", Container: "x", State: thawed},
		{T: 1000 * msec, Samples: 200, Longest: 7 * msec},
		{T: 1001 * msec, Prev: 996 * msec, Node: "leaf1", Container: "x", State: freezing},
		{T: 1006 * msec, Prev: 1001 * msec, Node: "leaf1", Container: "x", State: frozen},
		{T: 1200 * msec, Prev: 1195 * msec, Node: "leaf2", Container: "y", State: thawed},
		{T: 1301 * msec, Prev: 1296 * msec, Node: "leaf1", Container: "x", State: gone},
		{T: 2000 * msec, Samples: 200, Longest: 9 * msec},
	}
	report := Analyse([]Part{s.Part})
	if len(report.Problems) > 0 {
		t.Fatal(report.Problems)
	}
	type figures struct {
		kind                     string
		gap, freeze, begin, took time.Duration
		failed, broken           int
		newBoot                  bool
		before, during, after    int
	}
	var got []figures
	for _, m := range report.Moves {
		got = append(got, figures{m.Kind, time.Duration(m.GapMS), time.Duration(*m.FreezeMS), time.Duration(m.BeginMS), time.Duration(m.TookMS),
			m.Failed, m.Broken, m.NewBoot, m.Before.Answers, m.During.Answers, m.After.Answers})
	}
	want := []figures{
		{"live", 305 * msec, 300 * msec, 900 * msec, 500 * msec, 0, 0, false, 90, 49, 150},
		{"cold", 501 * msec, 0, 2900 * msec, 700 * msec, 50, 1, true, 150, 20, 49},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(figures{})); diff != "" {
		t.Error(diff)
	}
	p := report.Parts[0]
	if p.GapMS != ms(501*msec) || p.GapOutsideMS != ms(20*msec) || *p.FreezeMS != ms(300*msec) || *p.SamplingMS != ms(9*msec) {
		t.Errorf("gap %v, outside %v, freeze %v, sampling %v", p.GapMS, p.GapOutsideMS, *p.FreezeMS, *p.SamplingMS)
	}
	if l := report.Moves[0].During; *l.Max != ms(305*msec) || *l.Median != ms(65*msec) {
		t.Errorf("latency during: median %v, max %v", *l.Median, *l.Max)
	}
}

// The volume goes from part to part: what the last copy lacks is lost, whenever it was answered.
func TestParts(t *testing.T) {
	first, second := begin(), begin()
	first.steady(0, 50*msec)
	second.Name, second.serial = "cold", 5
	second.Volume.Entries = slices.Clone(first.Volume.Entries[1:]) // serial 1 is gone
	second.steady(0, 30*msec)
	other := begin() // of another service
	other.Name = "other"
	other.Public = forger.Public().(ed25519.PublicKey)
	other.Volume = &Volume{}

	report := Analyse([]Part{first.Part, second.Part, other.Part})
	if n := *report.Part("live").Lost; n != 1 {
		t.Errorf("live: %d lost, want 1", n)
	}
	if n := *report.Part("cold").Lost; n != 0 {
		t.Errorf("cold: %d lost", n)
	}
	again := *second
	again.Records = append(slices.Clone(second.Records), first.Records[4]) // serial 5 once more
	again.Records[3].N = 3
	report = Analyse([]Part{first.Part, again.Part})
	if n := *report.Part("cold").Duplicate; n != 1 {
		t.Errorf("%d duplicates over two parts, want 1", n)
	}
}

func TestReportIsTheSameAgain(t *testing.T) {
	s := begin()
	s.steady(0, 200*msec)
	for i, text := range []string{"dial: connection refused", "status 500", "connection ended: EOF"} {
		s.bad(200*msec+time.Duration(i), 201*msec, text)
	}
	want, err := Analyse([]Part{s.Part}).Format()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		slices.Reverse(s.Records[i:]) // the order of completion means nothing
		got, err := Analyse([]Part{s.Part}).Format()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatal(cmp.Diff(string(want), string(got)))
		}
	}
	if !strings.Contains(string(want), fmt.Sprintf("%q: 1", "status 500")) {
		t.Errorf("no reasons of failure in %s", want)
	}
}

// Loads of one kind are one part: counts are added, the worst time stays, and what one load does not know nobody knows.
func TestLoadsOfOnePart(t *testing.T) {
	first, cold, second := begin(), begin(), begin()
	first.Name, cold.Name, second.Name = "1-live", "2-cold", "3-live"
	first.steady(0, 50*msec)
	first.bad(50*msec, 51*msec, "status 500").Broken = true
	first.good(80*msec, msec)
	cold.serial, cold.boot = first.serial, bootB
	cold.Volume.Entries = slices.Clone(first.Volume.Entries)
	cold.steady(0, 20*msec)
	second.serial, second.boot = cold.serial, bootB
	second.Volume.Entries = slices.Clone(cold.Volume.Entries)
	second.steady(0, 30*msec)
	second.bad(30*msec, 31*msec, "status 500")

	report := Analyse([]Part{first.Part, cold.Part, second.Part})
	if len(report.Parts) != 2 || report.Parts[0].Name != "live" || report.Parts[1].Name != "cold" {
		t.Fatalf("parts %+v", report.Parts)
	}
	live, a, b := report.Part("live"), report.of("1-live"), report.of("3-live")
	if live.Requests != a.Requests+b.Requests || live.Failed != 2 || live.Broken != 1 || live.Errors["status 500"] != 2 ||
		live.Latency.Answers != a.Answered+b.Answered || *live.Lost != 0 || *live.Duplicate != 0 {
		t.Errorf("live %+v", live)
	}
	if live.GapMS != a.GapMS || a.GapMS <= b.GapMS {
		t.Errorf("gaps %v and %v give %v", a.GapMS, b.GapMS, live.GapMS)
	}
	if want := [2]uint64{1, second.serial}; live.Serials != want {
		t.Errorf("serials %v, want %v", live.Serials, want)
	}
	if diff := cmp.Diff([]string{bootA.String(), bootB.String()}, live.BootIDs); diff != "" {
		t.Error(diff)
	}
	if len(a.Errors) != 1 || a.Errors["status 500"] != 1 || len(a.BootIDs) != 1 {
		t.Errorf("the sum has changed its first load: %+v", a)
	}
	if p := report.of("2-cold"); p.Loads != nil || p.Requests != len(cold.Records) {
		t.Errorf("cold %+v", p)
	}

	second.Volume = nil
	report = Analyse([]Part{first.Part, second.Part})
	if live := report.Part("live"); live.Lost != nil || live.Duplicate != nil {
		t.Errorf("lost %v, duplicate %v of a part with a load without a copy of the volume", live.Lost, live.Duplicate)
	}
}

// A kept connection is broken once, whether a request was open or not, and however often its client is refused after it.
func TestEndings(t *testing.T) {
	at := func(slot, conn, n int) Record { // answered
		due := time.Duration(n) * 10 * msec
		return Record{N: n, Slot: slot, Conn: conn, Due: due, Sent: due + usec, Answered: due + msec}
	}
	refused := func(slot, n int) Record {
		due := time.Duration(n) * 10 * msec
		return Record{N: n, Slot: slot, Due: due, Failed: due + usec, Error: "dial: connection refused"}
	}
	cut := at(2, 2, 3)
	cut.Answered, cut.Failed, cut.Broken, cut.Error = 0, 31*msec, true, "connection ended: EOF"
	passing := cut
	passing.N, passing.Slot, passing.Conn, passing.Due = 4, 0, 9, 40*msec
	passing.Failed = 41 * msec
	got := endings([]Record{
		at(1, 1, 0), at(2, 2, 1), at(1, 1, 2), cut, passing, refused(1, 5), refused(2, 6), refused(1, 7), at(1, 10, 8), at(2, 11, 9), at(1, 10, 10),
	})
	want := []ending{
		{span{30 * msec, 31 * msec}, true},
		{span{40 * msec, 41 * msec}, true},
		{span{21 * msec, 50*msec + usec}, false},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(ending{}, span{})); diff != "" {
		t.Error(diff)
	}
}
