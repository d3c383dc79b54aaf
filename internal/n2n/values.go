package n2n

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Community is the name of a network of edges as it stands in the header: padded with zeros, the last byte always zero.
// All 20 bytes count, for keys and checksums, also those behind the first zero.
type Community [20]byte

// CommunityOf makes a community of its name.
func CommunityOf(name string) (c Community, err error) {
	if name == "" || len(name) >= len(c) || strings.IndexByte(name, 0) >= 0 {
		return c, fmt.Errorf("n2n: community %q: want 1 to %d bytes, none of them zero", name, len(c)-1)
	}
	copy(c[:], name)
	return c, nil
}

func (c Community) String() string { return text(c[:]) }

// text is a field up to its first zero.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string {
	const digits = "0123456789abcdef"
	var s [17]byte
	for i, b := range m {
		if i > 0 {
			s[3*i-1] = ':'
		}
		s[3*i], s[3*i+1] = digits[b>>4], digits[b&15]
	}
	return string(s[:])
}

// IsBroadcast says whether a supernode gives a packet for m to the whole community: broadcast, and the multicast of IPv4
// and IPv6. Other groups (01:80:c2:...) are for it as if they were one station.
func (m MAC) IsBroadcast() bool {
	switch m[0] {
	case 0xff:
		return m == MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case 0x01:
		return m[1] == 0x00 && m[2] == 0x5e && m[3]&0x80 == 0
	case 0x33:
		return m[1] == 0x33
	}
	return false
}

// IsZero says whether m stands for nobody: in a query, the supernode itself.
func (m MAC) IsZero() bool { return m == MAC{} }

// Desc is what an edge calls itself: its host's name, or what its operator chose; at most 15 bytes.
type Desc [16]byte

// DescOf makes a description, cut where it is too long.
func DescOf(s string) (d Desc) {
	copy(d[:len(d)-1], s)
	return d
}

func (d Desc) String() string { return text(d[:]) }

// VersionText is what a supernode says about its software; at most 19 bytes. ntop leaves what was in memory behind it.
type VersionText [20]byte

// VersionTextOf makes a version text, cut where it is too long.
func VersionTextOf(s string) (v VersionText) {
	copy(v[:len(v)-1], s)
	return v
}

func (v VersionText) String() string { return text(v[:]) }

// Subnet is the address of an edge inside the overlay. The zero value asks a supernode for one.
type Subnet struct {
	Addr [4]byte
	Bits uint8 // at most 32
}

// SubnetOf takes address and length of an IPv4 prefix, the host part with it.
func SubnetOf(p netip.Prefix) (Subnet, error) {
	if !p.IsValid() || !p.Addr().Is4() {
		return Subnet{}, fmt.Errorf("n2n: subnet %v: want an IPv4 prefix", p)
	}
	return Subnet{p.Addr().As4(), uint8(p.Bits())}, nil
}

// Prefix gives the address and its length.
func (s Subnet) Prefix() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4(s.Addr), int(s.Bits)) }

// WantsAddress says whether a supernode has to assign an address to who registers with s.
func (s Subnet) WantsAddress() bool {
	a := s.Addr
	return s.Bits == 0 || a == [4]byte{} || a == [4]byte{255, 255, 255, 255} || a[0] == 169 && a[1] == 254
}

func (s Subnet) append(b []byte) []byte { return append(append(b, s.Addr[:]...), s.Bits) }

// AuthScheme says what a token is.
type AuthScheme uint16

const (
	AuthNone  AuthScheme = 0
	AuthID    AuthScheme = 1 // 16 random bytes that an edge keeps
	AuthLogin AuthScheme = 2 // user and password: 48 bytes, see Login
)

// MaxToken is the longest token. ntop copies what is longer over what lies behind its buffer.
const MaxToken = 48

// Auth is who somebody claims to be. It holds the token itself, so that it may be kept.
type Auth struct {
	Scheme AuthScheme
	size   uint8
	token  [MaxToken]byte
}

// AuthOf makes an Auth of a token of at most MaxToken bytes.
func AuthOf(scheme AuthScheme, token []byte) (a Auth, err error) {
	if len(token) > MaxToken {
		return a, refuse(ReasonTooLong, FieldAuthToken)
	}
	a.Scheme, a.size = scheme, uint8(len(token))
	copy(a.token[:], token)
	return a, nil
}

// Token is what was sent as proof.
func (a *Auth) Token() []byte { return a.token[:a.size] }

// Equal compares in a time that does not depend on where the tokens differ.
func (a *Auth) Equal(b *Auth) bool {
	return a.Scheme == b.Scheme && a.size == b.size && subtle.ConstantTimeCompare(a.token[:], b.token[:]) == 1
}

// String hides the token: it ends in logs.
func (a Auth) String() string { return fmt.Sprintf("scheme %d, %d bytes", a.Scheme, a.size) }

func (a *Auth) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(a.Scheme))
	b = binary.BigEndian.AppendUint16(b, uint16(a.size))
	return append(b, a.Token()...)
}
