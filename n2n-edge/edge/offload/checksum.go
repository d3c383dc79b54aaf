package offload

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b to a ones' complement sum, in the machine's own byte order: the sum comes out in the same order, whatever it
// is (RFC 1071, 2 B).
func sum(b []byte, initial uint64) uint64 {
	var carry uint64
	s := initial
	for len(b) >= 64 {
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[0:8]), 0)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[8:16]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[16:24]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[24:32]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[32:40]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[40:48]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[48:56]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b[56:64]), carry)
		s += carry
		b = b[64:]
	}
	for len(b) >= 8 {
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(b), 0)
		s += carry
		b = b[8:]
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(tail[:]), 0)
		s += carry
	}
	return s
}

// fold makes 16 bits of a sum, still in the machine's order.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// native puts two bytes of the wire into the machine's order, and back.
func native(v uint16) uint64 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return uint64(binary.NativeEndian.Uint16(b[:]))
}

// put writes the complement of a sum as a checksum.
func put(b []byte, s uint64) { binary.NativeEndian.PutUint16(b, ^fold(s)) }

// pseudo is the sum of the addresses, the protocol and the length of what an IP packet carries.
func pseudo(ip []byte, v6 bool, protocol uint8, length int) uint64 {
	addrs := ip[12:20]
	if v6 {
		addrs = ip[8:40]
	}
	return sum(addrs, native(uint16(protocol))+native(uint16(length)))
}
