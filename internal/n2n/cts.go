package n2n

import (
	"crypto/aes"
	"crypto/cipher"

	"golang.org/x/crypto/twofish"
)

// blockLen is the block of both AES and Twofish.
const blockLen = 16

// stealing encrypts by AES or Twofish in CBC mode over a random block and the frame. A last block that is not full is
// filled with zeros; the last two cipher blocks then change places and what is too long is cut off ("ciphertext stealing",
// CS2), so that a payload is always 16 bytes longer than its frame.
//
//	frame      R  P1 P2 .. Pm p       p: r < 16 bytes
//	in CBC     C0 C1 C2 .. Cm C       C: of p and zeros
//	payload    C0 C1 C2 .. C  c       c: the first r bytes of Cm
//
// The IV of ntop is zero and R makes up for it. Here it is whatever the mode ends with, which is as good: it only says which
// random block was R, and nobody reads R.
type stealing struct {
	id     TransformID
	block  cipher.Block
	enc    cipher.BlockMode
	dec    cipher.BlockMode
	random Random

	last, before [blockLen]byte // scratch
}

func newStealing(id TransformID, block cipher.Block, random Random) *stealing {
	iv := make([]byte, blockLen)
	return &stealing{id: id, block: block, random: random,
		enc: cipher.NewCBCEncrypter(block, iv), dec: cipher.NewCBCDecrypter(block, iv)}
}

// newAES takes from the hash of the passphrase as much as ntop thinks the passphrase is worth.
func newAES(passphrase []byte, random Random) (Transform, error) {
	key := hash256(passphrase)
	n := 32
	switch {
	case len(passphrase) < 23:
		n = 16
	case len(passphrase) < 33:
		n = 24
	}
	block, err := aes.NewCipher(key[len(key)-n:])
	if err != nil {
		return nil, err
	}
	return newStealing(TransformAES, block, random), nil
}

func newTwofish(passphrase []byte, random Random) (Transform, error) {
	key := hash256(passphrase)
	block, err := twofish.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return newStealing(TransformTwofish, block, random), nil
}

func (s *stealing) ID() TransformID { return s.id }

func (s *stealing) Overhead() int { return blockLen }

func (s *stealing) Seal(dst, frame []byte) []byte {
	dst, out := extend(dst, blockLen+len(frame))
	if len(frame) > 0 && &out[blockLen] != &frame[0] {
		copy(out[blockLen:], frame)
	}
	putRandom(out, s.random)
	r := len(frame) % blockLen
	full := out[:len(out)-r]
	s.enc.CryptBlocks(full, full)
	if r == 0 {
		return dst
	}
	// The last full cipher block is cut and moves behind the one that is made of the rest.
	end := full[len(full)-blockLen:]
	tail := out[len(full):]
	clear(s.last[copy(s.last[:], tail):])
	copy(tail, end)
	s.enc.CryptBlocks(s.last[:], s.last[:])
	copy(end, s.last[:])
	return dst
}

func (s *stealing) Open(dst, payload []byte) ([]byte, error) {
	if len(payload) < blockLen {
		return dst, refuse(ReasonShort, FieldIV)
	}
	dst, out := extend(dst, len(payload)-blockLen)
	r := len(payload) % blockLen
	if r == 0 {
		s.cbc(out, payload[blockLen:], payload[:blockLen])
		return dst, nil
	}
	// Undo the theft: the block before the tail is C, its plain text xor Cm is p and zeros, and so has the end of Cm.
	q := len(payload) - r - blockLen
	tail := payload[q+blockLen:]
	s.block.Decrypt(s.last[:], payload[q:q+blockLen])
	copy(s.before[:], tail)
	copy(s.before[r:], s.last[r:])
	for i, c := range tail {
		s.last[i] ^= c
	}
	if q == 0 { // C0 alone was robbed, and nobody reads its plain text
		copy(out, s.last[:r])
		return dst, nil
	}
	// Cm stands where C was, so that all that is whole is decrypted at once.
	whole := payload[:q+blockLen]
	copy(whole[q:], s.before[:])
	s.cbc(out[:q], whole[blockLen:], whole[:blockLen])
	copy(out[q:], s.last[:r])
	return dst, nil
}

// cbc decrypts src, whose first block follows the cipher block iv.
func (s *stealing) cbc(dst, src, iv []byte) {
	s.dec.CryptBlocks(s.before[:], iv) // what comes out is not wanted, but the mode goes on from iv
	s.dec.CryptBlocks(dst, src)
}
