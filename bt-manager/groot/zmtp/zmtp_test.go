package zmtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// wire reads what the peer sent and notes what is sent to it.
type wire struct {
	in  io.Reader
	out bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)  { return w.in.Read(p) }
func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

// greetingOfLibzmq is what libzmq 4.3.4 sends: version 3.1.
var greetingOfLibzmq = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL" + strings.Repeat("\x00", 16+32)

const readyOfREQ = "\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ\x08Identity\x00\x00\x00\x00"

func TestGoldenHandshake(t *testing.T) {
	w := &wire{in: strings.NewReader(greetingOfLibzmq + readyOfREQ + "\x01\x00\x01\x02hi\x02\x00\x00\x00\x00\x00\x00\x01\x00" + strings.Repeat("x", 256))}
	c, err := Handshake(w, "REP", []string{"REQ"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL" + strings.Repeat("\x00", 48) +
		"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REP"
	if got := w.out.String(); got != want {
		t.Errorf("sent %q\nwant %q", got, want)
	}
	parts, err := c.Read()
	if err != nil || len(parts) != 3 || len(parts[0]) != 0 || string(parts[1]) != "hi" || len(parts[2]) != 256 {
		t.Errorf("read %.100q, %v", parts, err)
	}
	w.out.Reset()
	if err := c.Write(parts...); err != nil {
		t.Fatal(err)
	}
	if got := w.out.String(); got != "\x01\x00\x01\x02hi\x02\x00\x00\x00\x00\x00\x00\x01\x00"+strings.Repeat("x", 256) {
		t.Errorf("wrote %q", got)
	}
	if _, err := c.Read(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestBadPeers(t *testing.T) {
	plain := strings.Replace(greetingOfLibzmq, "NULL\x00", "PLAIN", 1)
	long := strings.Repeat("\x01\x00", MaxParts)
	for name, c := range map[string]struct{ sent, want string }{
		"HTTP":                  {"GET / HTTP/1.1\r\n\r\n", "byte 0 is 0x47: that is no ZMTP"},
		"ZMTP 1.0":              {"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x03", "byte 9 is 0x00: ZMTP 1.0"},
		"ZMTP 2.0":              {"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01", "ZMTP 1, want 3"},
		"PLAIN":                 {plain, `mechanism "PLAIN", want NULL`},
		"cut off":               {greetingOfLibzmq[:40], "unexpected EOF"},
		"no READY":              {greetingOfLibzmq + "\x00\x02hi", `READY of the peer: got "hi"`},
		"a SUB":                 {greetingOfLibzmq + "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB", `the peer is a "SUB" socket, want one of [REQ]`},
		"no type":               {greetingOfLibzmq + "\x04\x06\x05READY", "no Socket-Type"},
		"property cut":          {greetingOfLibzmq + "\x04\x0a\x05READY\x0bSoc", "a property is cut off"},
		"property beyond":       {greetingOfLibzmq + "\x04\x19\x05READY\x0bSocket-Type\xff\xff\xff\xffREQ", "property \"Socket-Type\" has 4294967295 bytes, 3 are left"},
		"refused":               {greetingOfLibzmq + "\x04\x09\x05ERROR\x02no", `the peer refuses: "no"`},
		"oversize":              {greetingOfLibzmq + readyOfREQ + "\x02\x00\x00\x00\x01\x00\x00\x00\x00", "a frame of 4294967296 bytes, 65536 are allowed"},
		"bad flags":             {greetingOfLibzmq + readyOfREQ + "\x08\x00", "frame flags 0x08"},
		"endless message":       {greetingOfLibzmq + readyOfREQ + long + "\x00\x00", "a message of more than 16 parts"},
		"cut frame":             {greetingOfLibzmq + readyOfREQ + "\x00\x05hi", "unexpected EOF"},
		"command in a message":  {greetingOfLibzmq + readyOfREQ + "\x01\x00\x04\x05\x04PING", "a command inside of a message"},
		"PING without a ttl":    {greetingOfLibzmq + readyOfREQ + "\x04\x05\x04PING", "a PING of 0 bytes"},
		"PING with a long tail": {greetingOfLibzmq + readyOfREQ + "\x04\x18\x04PING" + strings.Repeat("x", 19), "a PING of 19 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := Handshake(&wire{in: strings.NewReader(c.sent)}, "REP", []string{"REQ"}, 0)
			if err == nil {
				_, err = conn.Read()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestHeartbeat(t *testing.T) {
	w := &wire{in: strings.NewReader(greetingOfLibzmq + readyOfREQ + "\x04\x09\x04PING\x00\x0aab" + "\x00\x02hi")}
	c, err := Handshake(w, "REP", []string{"REQ"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.out.Reset()
	if parts, err := c.Read(); err != nil || string(parts[0]) != "hi" {
		t.Fatalf("%q %v", parts, err)
	}
	if got := w.out.String(); got != "\x04\x07\x04PONGab" {
		t.Errorf("answered %q", got)
	}
}

// FuzzZMTP: whatever a peer sends is read or refused; what was read is written and read again the same.
func FuzzZMTP(f *testing.F) {
	for _, s := range []string{"", "\x00\x02hi", "\x01\x00\x00\x06\x02T\x01\x02\x03\x04", "\x04\x09\x04PING\x00\x0aab\x00\x00"} {
		f.Add([]byte(greetingOfLibzmq + readyOfREQ + s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, err := Handshake(&wire{in: bytes.NewReader(sent)}, "REP", []string{"REQ", "DEALER"}, 0)
		if err != nil {
			return
		}
		for {
			parts, err := c.Read()
			if err != nil {
				return
			}
			again := &wire{}
			if err := (&Conn{rw: again}).Write(parts...); err != nil {
				t.Fatal(err)
			}
			back, err := (&Conn{rw: &wire{in: &again.out}, max: MaxFrame}).Read()
			if err != nil || !bytes.Equal(bytes.Join(back, []byte{0}), bytes.Join(parts, []byte{0})) {
				t.Fatalf("%q came back as %q: %v", parts, back, err)
			}
			if len(parts) == 0 {
				t.Fatal(errors.New("a message without a part"))
			}
		}
	})
}
