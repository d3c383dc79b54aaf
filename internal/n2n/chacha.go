package n2n

import (
	"encoding/binary"

	"golang.org/x/crypto/chacha20"
)

// chachaBlock is what one step of the counter gives.
const chachaBlock = 64

// chacha encrypts by ChaCha20 behind an IV in clear, which is the first block counter (4 bytes, little-endian) and the
// nonce (12).
type chacha struct {
	key    [chacha20.KeySize]byte
	random Random
}

func newChaCha(passphrase []byte, random Random) (Transform, error) {
	return &chacha{hash256(passphrase), random}, nil
}

const chachaIV = 16

func (c *chacha) ID() TransformID { return TransformChaCha20 }

func (c *chacha) Overhead() int { return chachaIV }

func (c *chacha) Seal(dst, frame []byte) []byte {
	dst, out := extend(dst, chachaIV+len(frame))
	putRandom(out, c.random)
	binary.LittleEndian.PutUint32(out, 1)
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
	if left := (1<<32 - int64(counter)) * chachaBlock; int64(len(src)) > left {
		c.stream(dst[:left], src[:left], iv[4:], counter)
		dst, src, counter = dst[left:], src[left:], 0
	}
	c.stream(dst, src, iv[4:], counter)
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
