package main

import (
	"bufio"
	"context"
	"net"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"sonic-netservices/examples/ballast/proof"
	"sonic-netservices/spec"
)

// Every answer counts on and proves its page, also while pages are rewritten; a page that is not what was written shows.
func TestAnswers(t *testing.T) {
	b, err := NewBallast(1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * len(b.generations) {
		b.rewriteOne()
		p := b.Count()
		if p.Serial != uint64(i+1) || !p.Holds() {
			t.Fatalf("answer %d: %+v, holds %v", i, p, p.Holds())
		}
	}
	for page, generation := range b.generations {
		if generation != 3 {
			t.Fatalf("page %d was rewritten %d times, want each as often", page, generation)
		}
	}
	if err := b.Verify(); err != nil {
		t.Error(err)
	}
	b.page(7)[100] ^= 1
	if err := b.Verify(); err == nil {
		t.Error("a turned bit is not seen")
	}
}

func TestRewriteKeepsItsRate(t *testing.T) {
	b, err := NewBallast(4)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	b.Rewrite(ctx, 1)
	if most := uint64(len(b.generations)); b.next == 0 || b.next > most {
		t.Errorf("%d pages of %d in 0.3 s at a whole one a second", b.next, most)
	}
}

func TestDoors(t *testing.T) {
	b, err := NewBallast(1)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go answerLines(ln, b)
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("\n\n"))
	in := bufio.NewReader(conn)
	for want := uint64(1); want <= 2; want++ {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if p, err := proof.Parse(line); err != nil || p.Serial != want || !p.Holds() {
			t.Errorf("answer %q: %+v, %v", line, p, err)
		}
	}
	for path, want := range map[string]int{"/healthz": 200, "/verify": 200, "/count": 200, "/": 404} {
		w := httptest.NewRecorder()
		handler(b).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", path, w.Code, want)
		}
	}
}

func TestParse(t *testing.T) {
	env := map[string]string{"BALLAST_MB": "100"}
	c, err := parse([]string{"-rewrite", "5"}, func(k string) string { return env[k] })
	if err != nil || c.MB != 100 || c.Rewrite != 5 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, args := range [][]string{{"-mb", "0"}, {"-rewrite", "-1"}, {"more"}} {
		if _, err := parse(args, func(string) string { return "" }); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

func TestSpec(t *testing.T) {
	text, err := os.ReadFile("ballast.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse("ballast.yaml", text); err != nil {
		t.Error(err)
	}
}
