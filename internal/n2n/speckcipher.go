package n2n

import (
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
)

// Speck128 in the byte order of the Linux kernel and of n2n: a block is y, x, a key its first word first, all of them
// little-endian. It is made of additions, rotations and xor alone, so its time tells nothing about key or data.

const (
	speckBlock     = 16
	speck128Rounds = 32
	speck256Rounds = 34
)

// speck128 holds the round keys of Speck128/128, which encrypts headers.
type speck128 [speck128Rounds]uint64

// speck256 holds the round keys of Speck128/256, which encrypts payloads.
type speck256 [speck256Rounds]uint64

func newSpeck128(key [16]byte) (s speck128) {
	expandSpeck(s[:], key[:])
	return s
}

func newSpeck256(key [32]byte) (s speck256) {
	expandSpeck(s[:], key[:])
	return s
}

func expandSpeck(rounds []uint64, key []byte) {
	k := binary.LittleEndian.Uint64(key)
	var l [3]uint64
	words := len(key)/8 - 1
	for i := range words {
		l[i] = binary.LittleEndian.Uint64(key[8*(i+1):])
	}
	for i := range rounds {
		rounds[i] = k
		j := i % words
		l[j] = (bits.RotateLeft64(l[j], -8) + k) ^ uint64(i)
		k = bits.RotateLeft64(k, 3) ^ l[j]
	}
}

// encrypt encrypts a block in place.
func (s *speck128) encrypt(b *[speckBlock]byte) {
	y, x := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	for _, k := range s {
		x = (bits.RotateLeft64(x, -8) + y) ^ k
		y = bits.RotateLeft64(y, 3) ^ x
	}
	binary.LittleEndian.PutUint64(b[:], y)
	binary.LittleEndian.PutUint64(b[8:], x)
}

// decrypt decrypts a block in place.
func (s *speck128) decrypt(b *[speckBlock]byte) {
	y, x := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	for i := len(s) - 1; i >= 0; i-- {
		y = bits.RotateLeft64(y^x, -3)
		x = bits.RotateLeft64((x^s[i])-y, 8)
	}
	binary.LittleEndian.PutUint64(b[:], y)
	binary.LittleEndian.PutUint64(b[8:], x)
}

// xor puts the key stream of iv over src into dst, which may be src. Of the counter only y counts.
func (s *speck128) xor(dst, src []byte, iv *[speckBlock]byte) {
	speckXOR(s[:], dst, src, iv)
}

func (s *speck256) xor(dst, src []byte, iv *[speckBlock]byte) {
	speckXOR(s[:], dst, src, iv)
}

func speckXOR(rounds []uint64, dst, src []byte, iv *[speckBlock]byte) {
	const four = 4 * speckBlock
	y, x := binary.LittleEndian.Uint64(iv[:]), binary.LittleEndian.Uint64(iv[8:])
	dst = dst[:len(src)]
	for ; len(src) > 0; y += 4 {
		y0, x0, y1, x1, y2, x2, y3, x3 := fourSpeck(rounds, y, x)
		if len(src) < four {
			var s [four]byte
			binary.LittleEndian.PutUint64(s[0:], y0)
			binary.LittleEndian.PutUint64(s[8:], x0)
			binary.LittleEndian.PutUint64(s[16:], y1)
			binary.LittleEndian.PutUint64(s[24:], x1)
			binary.LittleEndian.PutUint64(s[32:], y2)
			binary.LittleEndian.PutUint64(s[40:], x2)
			binary.LittleEndian.PutUint64(s[48:], y3)
			binary.LittleEndian.PutUint64(s[56:], x3)
			subtle.XORBytes(dst, src, s[:])
			return
		}
		s, d := (*[four]byte)(src), (*[four]byte)(dst)
		binary.LittleEndian.PutUint64(d[0:], binary.LittleEndian.Uint64(s[0:])^y0)
		binary.LittleEndian.PutUint64(d[8:], binary.LittleEndian.Uint64(s[8:])^x0)
		binary.LittleEndian.PutUint64(d[16:], binary.LittleEndian.Uint64(s[16:])^y1)
		binary.LittleEndian.PutUint64(d[24:], binary.LittleEndian.Uint64(s[24:])^x1)
		binary.LittleEndian.PutUint64(d[32:], binary.LittleEndian.Uint64(s[32:])^y2)
		binary.LittleEndian.PutUint64(d[40:], binary.LittleEndian.Uint64(s[40:])^x2)
		binary.LittleEndian.PutUint64(d[48:], binary.LittleEndian.Uint64(s[48:])^y3)
		binary.LittleEndian.PutUint64(d[56:], binary.LittleEndian.Uint64(s[56:])^x3)
		src, dst = src[four:], dst[four:]
	}
}

// fourSpeck encrypts four counter blocks, from y on, at once: they do not depend on each other, so the processor has
// something to do while it waits for one. It is a function of its own, with its results in registers, because their eight
// words and the round key are just what the registers hold: with the slices of a caller among them half would go by memory.
//
//go:noinline
func fourSpeck(rounds []uint64, y, x uint64) (y0, x0, y1, x1, y2, x2, y3, x3 uint64) {
	y0, y1, y2, y3 = y, y+1, y+2, y+3
	x0, x1, x2, x3 = x, x, x, x
	for _, k := range rounds {
		x0 = (bits.RotateLeft64(x0, -8) + y0) ^ k
		x1 = (bits.RotateLeft64(x1, -8) + y1) ^ k
		x2 = (bits.RotateLeft64(x2, -8) + y2) ^ k
		x3 = (bits.RotateLeft64(x3, -8) + y3) ^ k
		y0 = bits.RotateLeft64(y0, 3) ^ x0
		y1 = bits.RotateLeft64(y1, 3) ^ x1
		y2 = bits.RotateLeft64(y2, 3) ^ x2
		y3 = bits.RotateLeft64(y3, 3) ^ x3
	}
	return
}
