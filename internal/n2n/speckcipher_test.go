package n2n

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// The vectors of the Speck paper (Beaulieu et al., The Simon and Speck Families of Lightweight Block Ciphers, appendix C).
func TestSpeckVectors(t *testing.T) {
	var key [32]byte
	for i := range key {
		key[i] = byte(i)
	}
	block := func(x, y uint64) (b [speckBlock]byte) {
		binary.LittleEndian.PutUint64(b[:], y)
		binary.LittleEndian.PutUint64(b[8:], x)
		return b
	}
	s := newSpeck128([16]byte(key[:16]))
	b, want := block(0x6c61766975716520, 0x7469206564616d20), block(0xa65d985179783265, 0x7860fedf5c570d18)
	plain := b
	if s.encrypt(&b); b != want {
		t.Errorf("Speck128/128 encrypts to %x, want %x", b, want)
	}
	if s.decrypt(&b); b != plain {
		t.Errorf("Speck128/128 decrypts to %x, want %x", b, plain)
	}
	// The counter block is the plain text, so that the stream over zeros is its cipher text.
	s256 := newSpeck256(key)
	iv, want := block(0x65736f6874206e49, 0x202e72656e6f6f70), block(0x4109010405c0f53e, 0x4eeeb48d9c188f43)
	var got [speckBlock]byte
	if s256.xor(got[:], got[:], &iv); got != want {
		t.Errorf("Speck128/256 encrypts to %x, want %x", got, want)
	}
}

// Four blocks at a time give what one at a time gives, also where the counter wraps (it does not carry).
func TestSpeckLanes(t *testing.T) {
	s := newSpeck128([16]byte{1, 2, 3})
	rapid.Check(t, func(t *rapid.T) {
		iv := [speckBlock]byte(drawBytes(t, speckBlock, "iv"))
		if rapid.Bool().Draw(t, "near the end") {
			copy(iv[1:8], bytes.Repeat([]byte{0xff}, 7))
		}
		src := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "src")
		var want []byte
		counter := iv
		for i, c := range src {
			stream := counter
			s.encrypt(&stream)
			want = append(want, c^stream[i%speckBlock])
			if i%speckBlock == speckBlock-1 {
				binary.LittleEndian.PutUint64(counter[:], binary.LittleEndian.Uint64(counter[:])+1)
			}
		}
		got := make([]byte, len(src))
		s.xor(got, src, &iv)
		if !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
		s.xor(src, src, &iv)
		if !bytes.Equal(src, want) {
			t.Fatalf("in place %x, want %x", src, want)
		}
	})
}
