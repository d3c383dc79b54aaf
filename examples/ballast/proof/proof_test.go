package proof

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Proof{rapid.Uint64().Draw(t, "boot"), rapid.Uint64().Draw(t, "serial"), rapid.Uint32().Draw(t, "page"),
			rapid.Uint32().Draw(t, "generation"), rapid.Uint64().Draw(t, "sum")}
		text := string(p.Append(nil))
		got, err := Parse(text)
		if err != nil || got != p {
			t.Fatalf("%q gave %+v, %v", text, got, err)
		}
		if _, err := Parse(strings.TrimSuffix(text, "\n")); err != nil {
			t.Fatalf("without its end: %v", err)
		}
	})
}

// A page of another process, place or generation, or with one bit turned, is not the page asked for.
func TestOtherPages(t *testing.T) {
	var page [PageSize]byte
	Fill(page[:], 1, 2, 3)
	p := Proof{Boot: 1, Page: 2, Generation: 3, Sum: Sum(page[:])}
	if !p.Holds() {
		t.Fatal("the page itself does not hold")
	}
	for _, q := range []Proof{{2, 0, 2, 3, p.Sum}, {1, 0, 3, 3, p.Sum}, {1, 0, 2, 4, p.Sum}} {
		if q.Holds() {
			t.Errorf("%+v holds", q)
		}
	}
	page[PageSize-1] ^= 1
	if p.Sum = Sum(page[:]); p.Holds() {
		t.Error("a turned bit is not seen")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0000000000000001 2 3 4 00000000000000ff\n")
	f.Add("1 2 3 4")
	f.Add("1 2 3 4 5 6")
	f.Fuzz(func(t *testing.T, line string) {
		p, err := Parse(line)
		if err != nil {
			return
		}
		if q, err := Parse(string(p.Append(nil))); err != nil || q != p {
			t.Errorf("%q: %+v became %+v, %v", line, p, q, err)
		}
	})
}
