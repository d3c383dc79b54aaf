package n2n

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestPearsonVector(t *testing.T) {
	var b []byte
	for i := range 512 {
		b = append(b, byte(i%16))
	}
	const want = "40095cca286bfb934c4af7c079a8045ab53dcfb3a7ed1856b2d98fa82ea108be"
	if got := fmt.Sprintf("%x", hash256(b)); got != want {
		t.Errorf("256 bits: %s, want %s", got, want)
	}
	if got := fmt.Sprintf("%x", hash128(b)); got != want[32:] {
		t.Errorf("128 bits: %s, want %s", got, want[32:])
	}
	if got := fmt.Sprintf("%x", Hash64(b)); got != want[48:] {
		t.Errorf("64 bits: %s, want %s", got, want[48:])
	}
	if got := fmt.Sprintf("%x", Hash32(b)); got != want[56:] {
		t.Errorf("32 bits: %s, want %s", got, want[56:])
	}
}

// The fast narrow hash is the last lane of the wide one, whatever the length.
func TestPearsonNarrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "input")
		wide := hash256(b)
		if want := binary.BigEndian.Uint64(wide[24:]); Hash64(b) != want {
			t.Fatalf("%x, want %x", Hash64(b), want)
		}
	})
}
