package n2n

import (
	"encoding/binary"
	"slices"
)

// TransformID says how the payload of a PACKET is encrypted.
type TransformID uint8

const (
	TransformNull     TransformID = 1
	TransformTwofish  TransformID = 2
	TransformAES      TransformID = 3
	TransformChaCha20 TransformID = 4
	TransformSpeck    TransformID = 5
)

var transformNames = [...]string{TransformNull: "null", TransformTwofish: "twofish", TransformAES: "aes",
	TransformChaCha20: "chacha20", TransformSpeck: "speck"}

func (id TransformID) String() string {
	if int(id) < len(transformNames) && id != 0 {
		return transformNames[id]
	}
	return "unknown"
}

// Transform encrypts the payloads of a community. It keeps scratch: one for each goroutine.
type Transform interface {
	ID() TransformID

	// Overhead is by how many bytes a payload is longer than its frame: always as many, so that frames of equal size
	// become packets of equal size.
	Overhead() int

	// Seal appends the payload made of frame to dst. Nothing is copied when the frame already lies where it belongs,
	// Overhead() bytes behind the end of dst; else the two may not overlap.
	Seal(dst, frame []byte) []byte

	// Open appends the frame in payload to dst. Nothing is copied when dst ends where the frame begins, Overhead() bytes
	// into payload; else the two may not overlap. Afterwards nothing may be expected of payload, in place or not.
	Open(dst, payload []byte) ([]byte, error)
}

// Random is where IVs come from. math/rand/v2.ChaCha8, seeded by the system, is fit for it.
type Random interface{ Uint64() uint64 }

// NewTransform makes a transform of a passphrase, which the null transform does not need.
func NewTransform(id TransformID, passphrase []byte, random Random) (Transform, error) {
	switch id {
	case TransformNull:
		return null{}, nil
	case TransformTwofish:
		return newTwofish(passphrase, random)
	case TransformAES:
		return newAES(passphrase, random)
	case TransformChaCha20:
		return newChaCha(passphrase, random)
	case TransformSpeck:
		return newSpeck(passphrase, random), nil
	}
	return nil, refuse(ReasonTransform, FieldTransform)
}

// extend makes room for n bytes behind b, and gives b with them and them alone.
func extend(b []byte, n int) (all, room []byte) {
	all = slices.Grow(b, n)[:len(b)+n]
	return all, all[len(b):]
}

// putRandom fills the first 16 bytes of b.
func putRandom(b []byte, random Random) {
	binary.LittleEndian.PutUint64(b, random.Uint64())
	binary.LittleEndian.PutUint64(b[8:], random.Uint64())
}
