package n2n

import (
	"crypto/ecdh"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// A community may have users. Edge and supernode then share a secret, by X25519 with keys that are made of passwords: the
// user's and the federation's. Under it the edge proves who it is, and learns the dynamic key that encrypts all headers but
// those of registering itself.
//
//	edge                                                supernode
//	REGISTER_SUPER: public key, {challenge}   ────────▶ knows the user by the public key
//	    sealed by the static key, with a trailer        checks the trailer
//	                                          ◀──────── ACK: {{challenge}}, half the public key, {challenge ^ dynamic ^ secret}
//	checks the trailer and {{challenge}}                    sealed by the static key, with a trailer
//
// {x} is x encrypted by Speck128/128 with the first half of the secret. A trailer is {hash of the sealed packet}.
//
// Every registration has a challenge of its own, and so has UNREGISTER_SUPER, which nobody answers and which is sealed by the
// dynamic key: two tokens of a user are never Equal, only their User is the same.

// PrivateKey is what a password makes.
type PrivateKey [32]byte

// PublicKey stands for a user, or a federation, in configurations and on the wire.
type PublicKey [32]byte

// Secret is what a user and a federation share. It does not change and may be used by many at once.
type Secret struct {
	bytes [32]byte
	block speck128
}

// DynamicKey encrypts the headers of a community with users for as long as the supernode says.
type DynamicKey [16]byte

// UserKey makes the key of a user.
func UserKey(user, password string) PrivateKey {
	key := twice([]byte(password))
	name := hash256([]byte(user))
	subtle.XORBytes(key[:], key[:], name[:])
	return key
}

// FederationKey makes the key of a federation, whose name is given without the asterisk.
func FederationKey(name string) PrivateKey { return twice([]byte(name)) }

func twice(b []byte) PrivateKey {
	once := hash256(b)
	return hash256(once[:])
}

// ntop's base point is the usual one with its bytes the wrong way round.
var basePoint = func() *ecdh.PublicKey {
	p, err := ecdh.X25519().NewPublicKey(append(make([]byte, 31), 9))
	if err != nil {
		panic(err)
	}
	return p
}()

// Public gives the public key.
func (k PrivateKey) Public() (PublicKey, error) {
	b, err := k.exchange(basePoint)
	return PublicKey(b), err
}

// Share gives what this key shares with the holder of another.
func (k PrivateKey) Share(with PublicKey) (*Secret, error) {
	p, err := ecdh.X25519().NewPublicKey(with[:])
	if err != nil {
		return nil, fmt.Errorf("n2n: public key: %w", err)
	}
	b, err := k.exchange(p)
	if err != nil {
		return nil, err
	}
	s := &Secret{bytes: hash256(b[:])}
	s.block = newSpeck128(s.half())
	return s, nil
}

func (k PrivateKey) exchange(with *ecdh.PublicKey) (b [32]byte, err error) {
	own, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		return b, fmt.Errorf("n2n: private key: %w", err)
	}
	x, err := own.ECDH(with)
	if err != nil {
		return b, fmt.Errorf("n2n: public key: %w", err)
	}
	copy(b[:], x)
	return b, nil
}

// half is the part of the secret that encrypts.
func (s *Secret) half() [16]byte { return [16]byte(s.bytes[:16]) }

// Challenge is random and chosen by the edge.
type Challenge [16]byte

// Login is the token of a REGISTER_SUPER or UNREGISTER_SUPER, with a challenge that was not used before.
func (s *Secret) Login(user PublicKey, c Challenge) (a Auth) {
	s.block.encrypt((*[speckBlock]byte)(&c))
	a.Scheme, a.size = AuthLogin, uint8(copy(a.token[:], user[:])+copy(a.token[32:], c[:]))
	return a
}

// User gives the public key of who logs in; the supernode then takes the secret that it shares with that user.
func (a *Auth) User() (PublicKey, error) {
	if err := a.isLogin(); err != nil {
		return PublicKey{}, err
	}
	return PublicKey(a.token[:]), nil
}

func (a *Auth) isLogin() error {
	if a.Scheme != AuthLogin {
		return refuse(ReasonLogin, FieldAuthScheme)
	}
	if a.size != MaxToken {
		return refuse(ReasonLogin, FieldAuthSize)
	}
	return nil
}

// Answer is the token of the ACK to a login: it proves that the supernode knows the secret, and brings the dynamic key.
func (s *Secret) Answer(login *Auth, key DynamicKey) (Auth, error) {
	if err := login.isLogin(); err != nil {
		return Auth{}, err
	}
	a := *login // of the public key the second half stays
	c := [speckBlock]byte(login.token[32:])
	double := c
	s.block.encrypt(&double)
	copy(a.token[:], double[:])
	s.block.decrypt(&c)
	half := s.half()
	subtle.XORBytes(c[:], c[:], key[:])
	subtle.XORBytes(c[:], c[:], half[:])
	s.block.encrypt(&c)
	copy(a.token[32:], c[:])
	return a, nil
}

// DynamicKey takes the key out of an answer to a login with this challenge.
func (s *Secret) DynamicKey(answer *Auth, c Challenge) (key DynamicKey, err error) {
	if err := answer.isLogin(); err != nil {
		return key, err
	}
	double := c
	s.block.encrypt((*[speckBlock]byte)(&double))
	s.block.encrypt((*[speckBlock]byte)(&double))
	if subtle.ConstantTimeCompare(double[:], answer.token[:16]) == 0 {
		return key, refuse(ReasonLogin, FieldChallenge)
	}
	b := [speckBlock]byte(answer.token[32:])
	s.block.decrypt(&b)
	half := s.half()
	subtle.XORBytes(b[:], b[:], half[:])
	subtle.XORBytes(key[:], b[:], c[:])
	return key, nil
}

// TrailerLen is how much longer registering is than its message, in a community with users. (A NAK is as much longer, but
// by bytes that mean nothing.)
const TrailerLen = 16

// AppendTrailer adds the trailer to a sealed REGISTER_SUPER or ACK.
func (s *Secret) AppendTrailer(sealed []byte) []byte {
	t := s.trailer(sealed)
	return append(sealed, t[:]...)
}

func (s *Secret) trailer(sealed []byte) [TrailerLen]byte {
	t := hash128(sealed)
	s.block.encrypt(&t)
	return t
}

// Trailer is a trailer that came with a packet, and what it is to prove. It is taken before the header is opened, since only
// an open header says who the user is.
type Trailer struct{ came, hash [TrailerLen]byte }

// CutTrailer takes the trailer off a sealed packet.
func CutTrailer(packet []byte) (sealed []byte, t Trailer, err error) {
	n := len(packet) - TrailerLen
	if n < HeaderLen {
		return nil, t, refuse(ReasonShort, FieldTrailer)
	}
	sealed = packet[:n:n]
	return sealed, Trailer{[TrailerLen]byte(packet[n:]), hash128(sealed)}, nil
}

// Verify says whether who made the trailer has the secret.
func (s *Secret) Verify(t Trailer) error {
	s.block.encrypt(&t.hash)
	if subtle.ConstantTimeCompare(t.hash[:], t.came[:]) == 0 {
		return refuse(ReasonLogin, FieldTrailer)
	}
	return nil
}

// NewDynamicKey makes the dynamic key of a community, for the supernodes of a federation that agree on a second. federation
// is its name as a community, with the asterisk.
func NewDynamicKey(c, federation Community, keyTime uint32) DynamicKey {
	key, of := thrice(c[:]), thrice(federation[:])
	subtle.XORBytes(key[:], key[:], of[:])
	cipher := newSpeck128(key)
	// The second is hashed as it lies in ntop's memory.
	block := thrice(binary.LittleEndian.AppendUint32(nil, keyTime))
	cipher.encrypt(&block)
	return block
}

func thrice(b []byte) [16]byte {
	sum := hash128(b)
	sum = hash128(sum[:])
	return hash128(sum[:])
}

// NewDynamicHeaderKey makes the key of the headers that are encrypted dynamically.
func NewDynamicHeaderKey(c Community, key DynamicKey) *HeaderKey { return headerKeyOf(c, key[:]) }
