package n2n

import "encoding/binary"

// The hash that n2n calls Pearson's has no secret and 1, 2 or 4 lanes of 64 bits: lane i takes in a word v as
// mix((h xor v) - (i+1)). A wider hash ends in the narrower ones.

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Hash64 is what headers carry as their checksum, and management its passwords as.
func Hash64(b []byte) uint64 {
	n := uint64(len(b))
	var h uint64
	for ; len(b) >= 8; b = b[8:] {
		h = mix((h ^ binary.LittleEndian.Uint64(b)) - 1)
	}
	h = ^h
	for _, c := range b {
		h = mix((h ^ uint64(c)) - 1)
	}
	return mix((^h ^ n) - 1)
}

// Hash32 is the low half of Hash64: ntop's supernode chooses subnets and addresses by it.
func Hash32(b []byte) uint32 { return uint32(Hash64(b)) }

// hash128 is what keys are made of.
func hash128(b []byte) (sum [16]byte) {
	wide := hash256(b)
	return [16]byte(wide[16:])
}

func hash256(b []byte) (sum [32]byte) {
	n := uint64(len(b))
	var h [4]uint64
	absorb := func(v uint64) {
		for i := range h {
			h[i] = mix((h[i] ^ v) - uint64(i+1))
		}
	}
	invert := func() {
		for i := range h {
			h[i] = ^h[i]
		}
	}
	for ; len(b) >= 8; b = b[8:] {
		absorb(binary.LittleEndian.Uint64(b))
	}
	invert()
	for _, c := range b {
		absorb(uint64(c))
	}
	invert()
	absorb(n)
	for i := range h {
		binary.BigEndian.PutUint64(sum[8*(3-i):], h[i])
	}
	return sum
}
