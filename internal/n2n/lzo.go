package n2n

import "encoding/binary"

// Decompress appends to dst what payload was before it was compressed; the two may not overlap. What is longer than
// MaxPacket is refused, so that a few bytes cannot become many.
func Decompress(dst []byte, c Compression, payload []byte) ([]byte, error) {
	switch c {
	case CompressionNone:
		return append(dst, payload...), nil
	case CompressionLZO:
		return decompressLZO(dst, payload)
	}
	return dst, refuse(ReasonCompression, FieldCompression)
}

// decompressLZO reads one LZO1X block, which is a series of instructions to copy literals (from the input) and matches (from
// what has come out already). Those of a match end in up to three literals that follow it:
//
//	0000LLLL                         literals: L + 3; a longer run when L is 0
//	0000DDSS H   after 1-3 literals  match of 2 at H<<2 + D + 1
//	0000DDSS H   after a run         match of 3 at H<<2 + D + 2049
//	0001HLLL DDDDDDSS DDDDDDDD       match of L + 2 at H<<14 + D + 16384; the end where that is 16384
//	001LLLLL DDDDDDSS DDDDDDDD       match of L + 2 at D + 1
//	LLLDDDSS H   from 010            match of L + 1 at H<<3 + D + 1
//
// L that is 0 is what its bits could hold, and 255 for each zero byte that follows, and the first that is not zero.
func decompressLZO(dst, src []byte) ([]byte, error) {
	in := lzoInput{src: src}
	out := dst
	const run = 4 // what counts as a run of literals
	literals := 0 // copied by the last instruction
	if len(src) > 0 && src[0] > 17 {
		in.src = src[1:]
		n := int(src[0]) - 17
		if out = in.literals(out, n, len(dst)); n < run {
			literals = n
		} else {
			literals = run
		}
	}
	for in.err == nil {
		t := in.u8()
		var length, distance, low int
		switch {
		case t < 16 && literals == 0:
			out = in.literals(out, in.length(t, 15)+3, len(dst))
			literals = run
			continue
		case t < 16:
			low = t
			length, distance = 2, t>>2+in.u8()<<2+1
			if literals == run {
				length, distance = 3, distance+2048
			}
		case t < 32:
			length = in.length(t&7, 7) + 2
			low = in.u16()
			distance = t>>3&1<<14 + low>>2 + 16384
			if distance == 16384 {
				if len(in.src) > 0 {
					in.refuse(FieldEnd)
				}
				if in.err != nil {
					return dst, in.err
				}
				return out, nil
			}
		case t < 64:
			length = in.length(t&31, 31) + 2
			low = in.u16()
			distance = low>>2 + 1
		default:
			low = t
			length, distance = t>>5+1, t>>2&7+in.u8()<<3+1
		}
		out = in.match(out, length, distance, len(dst))
		literals = low & 3
		out = in.literals(out, literals, len(dst))
	}
	return dst, in.err
}

// lzoInput is what is left to read. After the first refusal it gives zeros.
type lzoInput struct {
	src []byte
	err error
}

func (in *lzoInput) refuse(f Field) {
	if in.err == nil {
		in.err = refuse(ReasonCorrupt, f)
	}
}

func (in *lzoInput) u8() int {
	if len(in.src) < 1 {
		in.refuse(FieldEnd)
		return 0
	}
	b := in.src[0]
	in.src = in.src[1:]
	return int(b)
}

func (in *lzoInput) u16() int {
	if len(in.src) < 2 {
		in.refuse(FieldEnd)
		return 0
	}
	v := binary.LittleEndian.Uint16(in.src)
	in.src = in.src[2:]
	return int(v)
}

// length gives a length that its bits could hold up to most, or that goes on in bytes of its own.
func (in *lzoInput) length(bits, most int) int {
	if bits > 0 {
		return bits
	}
	n := most
	for len(in.src) > 0 && in.src[0] == 0 && n <= MaxPacket {
		n += 255
		in.src = in.src[1:]
	}
	return n + in.u8()
}

// room refuses what would make more than MaxPacket bytes behind the first from bytes of out.
func (in *lzoInput) room(out []byte, n, from int, f Field) bool {
	if len(out)-from+n > MaxPacket {
		in.refuse(f)
	}
	return in.err == nil
}

func (in *lzoInput) literals(out []byte, n, from int) []byte {
	if n > len(in.src) {
		in.refuse(FieldLiteral)
	}
	if !in.room(out, n, from, FieldLiteral) {
		return out
	}
	out = append(out, in.src[:n]...)
	in.src = in.src[n:]
	return out
}

func (in *lzoInput) match(out []byte, n, distance, from int) []byte {
	if distance > len(out)-from {
		in.refuse(FieldMatch)
	}
	if !in.room(out, n, from, FieldMatch) {
		return out
	}
	// A match may reach into what it makes, and then repeats itself.
	for n > 0 {
		at := len(out) - distance
		piece := out[at:min(at+n, len(out))]
		out = append(out, piece...)
		n -= len(piece)
	}
	return out
}
