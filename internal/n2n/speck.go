package n2n

// speck encrypts by Speck128/256 in counter mode behind an IV in clear.
type speck struct {
	key    speck256
	random Random
}

func newSpeck(passphrase []byte, random Random) Transform {
	return &speck{newSpeck256(hash256(passphrase)), random}
}

func (s *speck) ID() TransformID { return TransformSpeck }

func (s *speck) Overhead() int { return speckBlock }

func (s *speck) Seal(dst, frame []byte) []byte {
	dst, out := extend(dst, speckBlock+len(frame))
	putRandom(out, s.random)
	s.key.xor(out[speckBlock:], frame, (*[speckBlock]byte)(out))
	return dst
}

func (s *speck) Open(dst, payload []byte) ([]byte, error) {
	if len(payload) < speckBlock {
		return dst, refuse(ReasonShort, FieldIV)
	}
	dst, out := extend(dst, len(payload)-speckBlock)
	s.key.xor(out, payload[speckBlock:], (*[speckBlock]byte)(payload))
	return dst, nil
}
