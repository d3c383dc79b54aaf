package bench

import (
	"strings"
	"testing"
	"time"

	"sonic-netservices/examples/ballast/proof"
)

// answered makes the records of a client that is answered 2 ms after each due time, each answer the next serial.
func answered(client string, boot, serial uint64, from, to time.Duration) []record {
	var list []record
	for due := from; due < to; due += 10 * time.Millisecond {
		list = append(list, record{Client: client, N: int(due / (10 * time.Millisecond)), Due: due, Conn: 1,
			Answered: due + 2*time.Millisecond, Answer: answer(boot, serial)})
		serial++
	}
	return list
}

func answer(boot, serial uint64) string {
	var page [proof.PageSize]byte
	proof.Fill(page[:], boot, 3, 7)
	return string(proof.Proof{Boot: boot, Serial: serial, Page: 3, Generation: 7, Sum: proof.Sum(page[:])}.Append(nil))
}

const second = time.Second

func TestLook(t *testing.T) {
	held := answered(rawClient, 1, 1, 0, 2*second) // a move holds what is due from 1 s on until 1.3 s
	for i, r := range held {
		if r.Due >= second && r.Due < 1300*time.Millisecond {
			held[i].Answered = 1300*time.Millisecond + time.Duration(i)
		}
	}
	if s := look(held); s.Gap != 1300*time.Millisecond+100-second || s.GapAt != second || s.Failed != 0 || s.Broken != 0 || s.Boots != 1 || s.Lost != 0 || s.Repeated != 0 || s.Requests != 200 {
		t.Errorf("a move that holds: %+v", s)
	}

	// Another client that is answered in between halves the gap: it is the service that is away, not one connection.
	between := append([]record{{Client: newClient, Due: 1100 * time.Millisecond, Conn: 2, Answered: 1150 * time.Millisecond, Answer: answer(1, 201)}}, held...)
	if s := look(between); s.Gap != 150*time.Millisecond+100 && s.Gap != 150*time.Millisecond {
		t.Errorf("with an answer in between: %+v", s)
	}

	// A cold move: requests of one connection fail, another process answers afterwards.
	cut := append(answered(keptClient, 1, 1, 0, second), answered(keptClient, 2, 1, 1200*time.Millisecond, 2*second)...)
	for due := second; due < 1200*time.Millisecond; due += 10 * time.Millisecond {
		r := record{Client: keptClient, Due: due, Failed: due + time.Millisecond, Error: "refused"}
		if due == second {
			r.Conn, r.Broken, r.Error = 1, true, "EOF"
		}
		cut = append(cut, r)
	}
	if s := look(cut); s.Failed != 20 || s.Broken != 1 || s.Boots != 2 || s.Gap < 200*time.Millisecond || s.Gap > 210*time.Millisecond || s.First != "kept 0: EOF" {
		t.Errorf("a cold move: %+v", s)
	}

	// The end of one connection breaks it once, however many requests were open.
	for i := range cut {
		if cut[i].Failed > 0 {
			cut[i].Broken, cut[i].Conn = true, 1
		}
	}
	if s := look(cut); s.Broken != 1 || s.Failed != 20 {
		t.Errorf("many requests on a broken connection: %+v", s)
	}

	lost := append(answered(rawClient, 1, 1, 0, second)[:50], answered(rawClient, 1, 53, 600*time.Millisecond, second)...)
	if s := look(append(lost, lost[0])); s.Lost != 2 || s.Repeated != 1 {
		t.Errorf("two answers that nobody has, one that came twice: %+v", s)
	}
	if s := look(nil); s != (seen{}) {
		t.Errorf("nothing: %+v", s)
	}
}

func TestVerify(t *testing.T) {
	good := record{Client: rawClient, Due: second, Answered: 2 * second, Answer: answer(5, 9)}
	if p, err := verify(good); err != nil || p.Boot != 5 || p.Serial != 9 {
		t.Errorf("%+v, %v", p, err)
	}
	for want, r := range map[string]record{
		"answered after 5.1s":  {Due: second, Answered: 6100 * time.Millisecond, Answer: good.Answer},
		"holds something else": {Due: second, Answered: 2 * second, Answer: strings.Replace(good.Answer, " 9 3 7 ", " 9 3 8 ", 1)},
		"want boot":            {Due: second, Answered: 2 * second, Answer: "ok"},
		"EOF":                  {Due: second, Failed: 2 * second, Error: "EOF"},
	} {
		if _, err := verify(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
}

func TestRecordsOnDisk(t *testing.T) {
	dir := t.TempDir()
	list := answered(newClient, 1, 1, 0, second)
	list = append(list, record{Client: rawClient, N: 7, Due: second, Conn: 3, Failed: 2 * second, Broken: true, Error: "EOF"})
	if err := writeRecords(dir, list); err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(dir)
	if err != nil || len(got) != len(list) || got[len(got)-1] != list[len(list)-1] {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for _, bad := range []record{
		{Client: "x", Answered: 1, Answer: "a"},
		{Client: rawClient},
		{Client: rawClient, Answered: 1, Failed: 1, Error: "both"},
		{Client: rawClient, Failed: 1},
		{Client: rawClient, Answered: 1, Broken: true},
		{Client: rawClient, Due: -1, Answered: 1},
	} {
		if err := writeRecords(dir, []record{list[0], bad}); err != nil {
			t.Fatal(err)
		}
		if _, err := readRecords(dir); err == nil || !strings.Contains(err.Error(), "record 2") {
			t.Errorf("%+v was read: %v", bad, err)
		}
	}
}
