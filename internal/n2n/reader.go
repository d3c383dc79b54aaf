package n2n

import (
	"encoding/binary"
	"net/netip"
)

// reader takes fields off the front of a message. After the first refusal it gives zeros, and err says which field it was:
// messages are read without a branch for each field.
type reader struct {
	rest []byte
	err  error
}

// take gives the next n bytes, nil when they are not there.
func (r *reader) take(n int, f Field) []byte {
	if r.err == nil && len(r.rest) < n {
		r.err = refuse(ReasonShort, f)
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8(f Field) uint8 {
	if b := r.take(1, f); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16(f Field) uint16 {
	if b := r.take(2, f); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32(f Field) uint32 {
	if b := r.take(4, f); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) mac(f Field) (m MAC) {
	copy(m[:], r.take(len(m), f))
	return m
}

func (r *reader) desc() (d Desc) {
	copy(d[:], r.take(len(d), FieldDesc))
	return d
}

func (r *reader) subnet() (s Subnet) {
	copy(s.Addr[:], r.take(len(s.Addr), FieldSubnet))
	if s.Bits = r.u8(FieldSubnet); s.Bits > 32 && r.err == nil {
		r.err = refuse(ReasonValue, FieldSubnet)
	}
	return s
}

func (r *reader) auth() (a Auth) {
	a.Scheme = AuthScheme(r.u16(FieldAuthScheme))
	n := int(r.u16(FieldAuthSize))
	if n > MaxToken && r.err == nil {
		r.err = refuse(ReasonTooLong, FieldAuthSize)
	}
	if b := r.take(n, FieldAuthToken); b != nil {
		a.size = uint8(copy(a.token[:], b))
	}
	return a
}

// sock reads an address of either family.
func (r *reader) sock(f Field) netip.AddrPort {
	family, port := r.u16(f), r.u16(f)
	switch family {
	case 0:
		if b := r.take(4, f); b != nil {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), port)
		}
	case 0x8000:
		if b := r.take(16, f); b != nil {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), port)
		}
	default:
		if r.err == nil {
			r.err = refuse(ReasonValue, FieldSockFamily)
		}
	}
	return netip.AddrPort{}
}

// sockIf reads a sock where the flags say that there is one.
func (r *reader) sockIf(h *Header, f Field) netip.AddrPort {
	if h.Flags&HasSock == 0 {
		return netip.AddrPort{}
	}
	return r.sock(f)
}
