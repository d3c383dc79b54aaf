package n2n

import (
	"crypto/cipher"
	"encoding/binary"
	"runtime"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/cpu"
)

// chachaBlock is what one step of the counter gives.
const chachaBlock = 64

const chachaIV = 16

// chacha encrypts by ChaCha20 behind an IV in clear, which is the first block counter (4 bytes, little-endian) and the
// nonce (12).
//
// Seal begins to count at 1, where ChaCha20-Poly1305 begins. That cipher the library has in vector assembly on amd64, and
// ChaCha20 alone it has not: the AEAD's Seal, with its tag thrown away, is the faster stream, in both directions. Other
// counters, which come from ntop, and other machines take the plain way.
type chacha struct {
	key    [chacha20.KeySize]byte
	random Random
	aead   cipher.AEAD // nil where it would not be faster
}

func newChaCha(passphrase []byte, random Random) (Transform, error) {
	c := &chacha{key: hash256(passphrase), random: random}
	if runtime.GOARCH == "amd64" && cpu.X86.HasAVX2 {
		var err error
		if c.aead, err = chacha20poly1305.New(c.key[:]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *chacha) ID() TransformID { return TransformChaCha20 }

func (c *chacha) Overhead() int { return chachaIV }

// chachaStart is the counter of an AEAD's first block.
const chachaStart = 1

func (c *chacha) Seal(dst, frame []byte) []byte {
	dst, out := extend(dst, chachaIV+len(frame))
	putRandom(out, c.random)
	binary.LittleEndian.PutUint32(out, chachaStart)
	c.xor(out[chachaIV:], frame, out[:chachaIV])
	return dst
}

func (c *chacha) Open(dst, payload []byte) ([]byte, error) {
	if len(payload) < chachaIV {
		return dst, refuse(ReasonShort, FieldIV)
	}
	dst, out := extend(dst, len(payload)-chachaIV)
	c.xor(out, payload[chachaIV:], payload[:chachaIV])
	return dst, nil
}

// xor puts the key stream of iv over src. ntop begins anywhere and lets the counter wrap to 0, which the library takes for
// a mistake: what comes behind the wrap is a stream of its own.
func (c *chacha) xor(dst, src, iv []byte) {
	counter := binary.LittleEndian.Uint32(iv)
	if counter == chachaStart && c.aead != nil {
		n := c.fast(dst, src, iv[4:])
		dst, src, counter = dst[n:], src[n:], counter+uint32(n/chachaBlock)
	}
	if left := (1<<32 - int64(counter)) * chachaBlock; int64(len(src)) > left {
		c.stream(dst[:left], src[:left], iv[4:], counter)
		dst, src, counter = dst[left:], src[left:], 0
	}
	c.stream(dst, src, iv[4:], counter)
}

// fast does as many whole blocks as leave room, inside the frame, for the tag that nobody wants, and says how many bytes
// that is. The tag may touch nothing behind the frame: another goroutine may be at work there.
func (c *chacha) fast(dst, src, nonce []byte) int {
	n := (len(src) - chacha20poly1305.Overhead) / chachaBlock * chachaBlock
	if n <= chachaBlock {
		return 0
	}
	var under [chacha20poly1305.Overhead]byte // what the tag will lie on, which is src still to come when dst is src
	tag := dst[n : n+len(under)]
	copy(under[:], tag)
	c.aead.Seal(dst[:0:n+len(under)], nonce, src[:n], nil)
	copy(tag, under[:])
	return n
}

func (c *chacha) stream(dst, src, nonce []byte, counter uint32) {
	if len(src) == 0 {
		return
	}
	s, err := chacha20.NewUnauthenticatedCipher(c.key[:], nonce)
	if err != nil {
		panic("n2n: " + err.Error()) // the lengths of key and nonce are constants
	}
	s.SetCounter(counter)
	s.XORKeyStream(dst, src)
}
