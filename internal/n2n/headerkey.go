package n2n

import "encoding/binary"

// HeaderKey encrypts the headers of a community. It does not change and may be used by many at once.
//
// An encrypted header is IV (16 bytes), magic and length of the header (4), version, ttl and flags (4), and what follows
// the community in the clear one; the community itself is not sent: it is the key. The IV is a block that holds checksum,
// stamp and 4 random bytes, encrypted by a key of its own.
type HeaderKey struct {
	community Community
	stream    speck128
	iv        speck128
}

const headerMagic = 0x6e320000

// NewHeaderKey makes the static key of a community: all its messages where there are no users, and REGISTER_SUPER, its ACK
// and its NAK where there are, are encrypted with it.
func NewHeaderKey(c Community) *HeaderKey { return headerKeyOf(c, c[:]) }

func headerKeyOf(c Community, secret []byte) *HeaderKey {
	key := hash128(secret)
	return &HeaderKey{c, newSpeck128(key), newSpeck128(hash128(key[:]))}
}

// NewHeaderKeyOf makes the key of a community out of another's name. ntop's supernodes have one such by mistake: with the
// option -F their federation keeps the key of the usual name.
func NewHeaderKeyOf(c, secret Community) *HeaderKey { return headerKeyOf(c, secret[:]) }

// Community is whose key this is.
func (k *HeaderKey) Community() Community { return k.community }

// Seal encrypts, in place, the first headerLen bytes of a finished clear packet. That is all of it, but for a PACKET, where
// it is Packet.HeaderLen (and up to 16 bytes of payload more in communities with users).
//
// nonce is random. Every copy of a packet that goes to another hop has a stamp of its own.
func (k *HeaderKey) Seal(packet []byte, headerLen int, stamp Stamp, nonce uint32) {
	sum := Hash64(packet)
	b := packet[:headerLen]
	copy(b[20:24], b[:4])
	binary.BigEndian.PutUint32(b, uint32(sum>>32))
	binary.BigEndian.PutUint64(b[4:], uint64(stamp)^sum<<32)
	binary.BigEndian.PutUint32(b[12:], nonce)
	iv := (*[speckBlock]byte)(b)
	k.iv.encrypt(iv)
	binary.BigEndian.PutUint32(b[16:], headerMagic+uint32(headerLen))
	k.stream.xor(b[16:], b[16:], iv)
}

// Open decrypts, in place, a packet that may be of this community, and gives the stamp for Replay and the header's length.
// A packet that it refuses is left as it was, for the next key to be tried. ReasonKey, at the price of one block, is the
// answer to almost all packets of another community.
func (k *HeaderKey) Open(packet []byte) (stamp Stamp, headerLen int, err error) {
	if len(packet) < HeaderLen {
		return 0, 0, refuse(ReasonShort, FieldHeader)
	}
	was := [HeaderLen]byte(packet)
	iv := (*[speckBlock]byte)(was[:])
	first := *iv // becomes the first block of the stream
	k.stream.encrypt(&first)
	n := binary.BigEndian.Uint32(first[:]) ^ binary.BigEndian.Uint32(was[16:]) - headerMagic
	if n > 0xffff {
		return 0, 0, refuse(ReasonKey, FieldHeader)
	}
	if n < HeaderLen || int(n) > len(packet) {
		return 0, 0, refuse(ReasonKey, FieldHeaderLength)
	}
	b := packet[:n]
	k.stream.xor(b[16:], b[16:], iv)
	block := *iv
	k.iv.decrypt(&block)
	copy(b, b[20:24])
	copy(b[4:], k.community[:])
	sum := Hash64(packet)
	if uint32(sum>>32) != binary.BigEndian.Uint32(block[:]) {
		k.stream.xor(b[16:], b[16:], iv)
		copy(b, was[:])
		return 0, 0, refuse(ReasonChecksum, FieldHeader)
	}
	return Stamp(binary.BigEndian.Uint64(block[4:]) ^ sum<<32), int(n), nil
}
