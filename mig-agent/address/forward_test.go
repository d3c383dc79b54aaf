package address

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestForward moves the address to a second instance: the connection that began at the first stays its, also after the release; new ones are
// the second's, which keeps them when the time is over.
func TestForward(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	f.listen("h2", "h2")
	old, err := f.dial("c", service, "", 5*time.Second)
	must(t, err)
	defer old.Close()
	expect := func(c net.Conn, want string) {
		t.Helper()
		must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("client got %q, %v, want %q", got, err, want)
		}
	}
	say := func(c net.Conn, text string) {
		t.Helper()
		_, err := io.WriteString(c, text)
		must(t, err)
	}
	expect(old, "h1 ")

	const lasts = 2 * time.Second
	held, err := Hold(f.ns("h2"))
	must(t, err)
	must(t, Forward(f.ns("h2"), MAC("leaf1", "kms-0"), lasts))
	ends := time.Now().Add(lasts)
	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddr))
	say(old, "held? ")
	expect(old, "held? ")
	fresh := make(chan net.Conn)
	go func() {
		c, err := f.dial("c", service, "", 5*time.Second)
		if err != nil {
			t.Error(err)
		}
		fresh <- c
	}()
	eventually(t, "a held packet", func() bool { return held.Counts().In > 0 })
	if n := held.Counts().In; n != 1 {
		t.Errorf("%d packets are held, want one SYN", n)
	}
	_, err = held.Release()
	must(t, err)
	second := <-fresh
	if second == nil {
		t.FailNow()
	}
	defer second.Close()
	expect(second, "h2 ")
	for range 3 {
		say(old, "first ")
		expect(old, "first ")
		say(second, "second ")
		expect(second, "second ")
	}

	time.Sleep(time.Until(ends) + 100*time.Millisecond)
	say(second, "still ")
	expect(second, "still ")
	say(old, "late")
	must(t, old.SetDeadline(time.Now().Add(5*time.Second)))
	if n, err := old.Read(make([]byte, 10)); err == nil {
		t.Errorf("after the time the first instance answered %d bytes", n)
	}
	must(t, EndForward(f.ns("h2")))
	must(t, EndForward(f.ns("h2")))
	say(second, "end")
	expect(second, "end")
}
