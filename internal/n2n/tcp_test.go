package n2n

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// However TCP cuts a stream of messages, they come out as they went in.
func TestTCP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want [][]byte
		var wire []byte
		for range rapid.IntRange(0, 5).Draw(t, "messages") {
			m := rapid.SliceOfN(rapid.Byte(), HeaderLen, 100).Draw(t, "message")
			want = append(want, m)
			wire = AppendTCP(wire, m)
		}
		var got [][]byte
		var pending []byte
		for len(wire) > 0 {
			n := rapid.IntRange(1, len(wire)).Draw(t, "read")
			pending = append(pending, wire[:n]...)
			wire = wire[n:]
			for {
				m, rest, err := NextTCP(pending)
				if err != nil {
					t.Fatal(err)
				}
				if pending = rest; m == nil {
					break
				}
				got = append(got, bytes.Clone(m))
			}
		}
		if len(got) != len(want) || len(pending) > 0 {
			t.Fatalf("%d of %d messages, %d bytes left", len(got), len(want), len(pending))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("message %d: %x, want %x", i, got[i], want[i])
			}
		}
	})
}

func TestTCPLengths(t *testing.T) {
	if _, _, err := NextTCP([]byte{8, 1}); ReasonOf(err) != ReasonTooLong {
		t.Errorf("2049 bytes: %v", err)
	}
	if _, _, err := NextTCP([]byte{0, 23}); ReasonOf(err) != ReasonShort {
		t.Errorf("23 bytes: %v", err)
	}
}
