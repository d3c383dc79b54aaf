package n2n

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/twofish"
	"pgregory.net/rapid"
)

var allTransforms = []TransformID{TransformNull, TransformTwofish, TransformAES, TransformChaCha20, TransformSpeck}

func newTransform(t testing.TB, id TransformID, passphrase string) Transform {
	t.Helper()
	tr, err := NewTransform(id, []byte(passphrase), rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func eachTransform(t *testing.T, f func(*testing.T, Transform)) {
	for _, id := range allTransforms {
		t.Run(id.String(), func(t *testing.T) { f(t, newTransform(t, id, "correct horse")) })
	}
}

// A frame of any length comes back, in place or not, with as many bytes more as Overhead says, and with nothing else in the
// buffers touched.
func TestTransforms(t *testing.T) {
	eachTransform(t, func(t *testing.T, tr Transform) {
		rapid.Check(t, func(t *rapid.T) {
			frame := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "frame")
			front := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "what is in front")
			behind := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "what is behind")
			over, n, f := tr.Overhead(), len(frame), len(front)

			// buf is front, a gap for the IV, the frame, and what is behind.
			buf := append(append(append(bytes.Clone(front), make([]byte, over)...), frame...), behind...)
			sealed := buf[:f]
			if rapid.Bool().Draw(t, "seal in place") {
				sealed = tr.Seal(sealed, buf[f+over:][:n])
			} else {
				sealed = tr.Seal(sealed, frame)
			}
			if len(sealed) != f+over+n || &sealed[:1][0] != &buf[:1][0] {
				t.Fatalf("sealed %d bytes to %d, behind %d, in another buffer: %v", n, len(sealed), f, &sealed[:1][0] != &buf[:1][0])
			}
			if !bytes.Equal(buf[:f], front) || !bytes.Equal(buf[f+over+n:], behind) {
				t.Fatal("Seal wrote beyond the payload")
			}
			payload := sealed[f:]
			dst := make([]byte, f, f+n+len(behind))
			copy(dst, front)
			copy(dst[f+n:cap(dst)], behind)
			if rapid.Bool().Draw(t, "open in place") {
				dst = buf[:f+over]
				front = append(front, payload[:over]...)
			}
			opened, err := tr.Open(dst, payload)
			if err != nil {
				t.Fatal(err)
			}
			if got := opened[len(dst):]; !bytes.Equal(got, frame) {
				t.Fatalf("opened %x, want %x", got, frame)
			}
			if !bytes.Equal(opened[:f], front[:f]) || !bytes.Equal(opened[len(opened):][:len(behind)], behind) {
				t.Fatal("Open wrote beyond the frame")
			}
		})
	})
}

// A payload that is too short for its IV is refused; nothing else can be.
func TestOpenShort(t *testing.T) {
	eachTransform(t, func(t *testing.T, tr Transform) {
		for n := range 40 {
			_, err := tr.Open(nil, make([]byte, n))
			if want := n < tr.Overhead(); (ReasonOf(err) == ReasonShort) != want || err != nil && !want {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	})
}

func TestTransformsDoNotAllocate(t *testing.T) {
	eachTransform(t, func(t *testing.T, tr Transform) {
		buf := make([]byte, MaxPacket)
		for _, n := range []int{64, 1400, 1401} {
			var err error
			noAllocs(t, fmt.Sprintf("%d bytes", n), func() {
				sealed := tr.Seal(buf[:0], buf[tr.Overhead():][:n])
				_, err = tr.Open(sealed[:tr.Overhead()], sealed)
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestUnknownTransform(t *testing.T) {
	for _, id := range []TransformID{0, 6, 255} {
		if _, err := NewTransform(id, nil, nil); ReasonOf(err) != ReasonTransform {
			t.Errorf("transform %d: %v", id, err)
		}
	}
}

// The lengths at which ntop takes a longer AES key. What is sealed with a key is opened by the cipher that the key makes.
func TestStealing(t *testing.T) {
	for _, c := range []struct {
		id         TransformID
		passphrase string
		key        int // bytes at the end of the hash
	}{
		{TransformAES, "", 16}, {TransformAES, "1234567890123456789012", 16}, {TransformAES, "12345678901234567890123", 24},
		{TransformAES, "12345678901234567890123456789012", 24}, {TransformAES, "123456789012345678901234567890123", 32},
		{TransformTwofish, "short", 32},
	} {
		hash := hash256([]byte(c.passphrase))
		block := cipher.Block(nil)
		var err error
		if key := hash[32-c.key:]; c.id == TransformAES {
			block, err = aes.NewCipher(key)
		} else {
			block, err = twofish.NewCipher(key)
		}
		if err != nil {
			t.Fatal(err)
		}
		tr := newTransform(t, c.id, c.passphrase)
		for n := range 100 {
			frame := make([]byte, n)
			for i := range frame {
				frame[i] = byte(i + 1)
			}
			payload := tr.Seal(nil, frame)
			if got := openStealing(block, payload); !bytes.Equal(got, frame) {
				t.Fatalf("%v, passphrase of %d, frame of %d: opened as %x", c.id, len(c.passphrase), n, got)
			}
		}
	}
}

// openStealing follows n2n-wire.md 7 to the letter, block for block.
func openStealing(block cipher.Block, payload []byte) []byte {
	c := bytes.Clone(payload)
	n, r := len(c), len(c)%16
	if r > 0 {
		q := (n/16 - 1) * 16
		d := make([]byte, 16)
		block.Decrypt(d, c[q:q+16])
		last := bytes.Clone(c[q : q+16])
		c = append(append(c[:q:q], append(bytes.Clone(payload[q+16:]), d[r:]...)...), last...)
	}
	iv := make([]byte, 16)
	for i := 0; i < len(c); i += 16 {
		next := bytes.Clone(c[i : i+16])
		block.Decrypt(c[i:], next)
		for j := range 16 {
			c[i+j] ^= iv[j]
		}
		iv = next
	}
	return c[16:n]
}

// RFC 8439, 2.4.2.
func TestChaChaVector(t *testing.T) {
	c := &chacha{}
	for i := range c.key {
		c.key[i] = byte(i)
	}
	payload, _ := hex.DecodeString("01000000" + "000000000000004a00000000" +
		"6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8" +
		"07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af90bbf74a35be6b40b8eedf2785e42874d")
	frame, err := c.Open(nil, payload)
	if want := "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."; string(frame) != want {
		t.Errorf("%v: %q", err, frame)
	}
}

// ntop begins with any counter, and after the last one it goes on with 0.
func TestChaChaCounter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &chacha{key: [32]byte{7}}
		counter := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(1<<32-40, 1<<32-1), rapid.Uint32Range(0, 2)).Draw(t, "counter")
		payload := binary.LittleEndian.AppendUint32(nil, counter)
		payload = append(payload, drawBytes(t, 12, "nonce")...)
		payload = append(payload, drawBytes(t, rapid.IntRange(0, 2000).Draw(t, "length"), "frame")...)
		want := bytes.Clone(payload[16:])
		for i := 0; i < len(want); i += 64 { // block by block
			s, err := chacha20.NewUnauthenticatedCipher(c.key[:], payload[4:16])
			if err != nil {
				t.Fatal(err)
			}
			s.SetCounter(counter)
			counter++
			block := want[i:min(i+64, len(want))]
			s.XORKeyStream(block, block)
		}
		got, err := c.Open(nil, payload)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v\n%x, want\n%x", err, got, want)
		}
	})
}
