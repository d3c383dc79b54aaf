package chunk

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is written arrives, in pieces of at most Size.
func TestThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		writes := rapid.SliceOfN(rapid.IntRange(0, 3*Size), 0, 5).Draw(t, "writes")
		var want []byte
		var sent [][]byte
		w := Writer(func(b []byte) error {
			if len(b) == 0 || len(b) > Size {
				t.Fatalf("a chunk of %d bytes", len(b))
			}
			sent = append(sent, b)
			return nil
		})
		for i, n := range writes {
			p := bytes.Repeat([]byte{byte(i + 1)}, n)
			want = append(want, p...)
			if _, err := w.Write(p); err != nil {
				t.Fatal(err)
			}
			clear(p) // the stream must have a copy of its own
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(Reader(func() ([]byte, error) {
			if len(sent) == 0 {
				return nil, io.EOF
			}
			b := sent[0]
			sent = sent[1:]
			return b, nil
		}))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes (%v), want %d", len(got), err, len(want))
		}
	})
}

func TestErrorsComeThrough(t *testing.T) {
	broken := errors.New("broken")
	w := Writer(func([]byte) error { return broken })
	w.Write([]byte("x"))
	if err := w.Flush(); !errors.Is(err, broken) {
		t.Errorf("flush: %v", err)
	}
	if _, err := io.ReadAll(Reader(func() ([]byte, error) { return nil, broken })); !errors.Is(err, broken) {
		t.Errorf("read: %v", err)
	}
}
