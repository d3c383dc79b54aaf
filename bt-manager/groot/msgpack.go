package groot

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"sonic-netservices/bt-manager/bt/board"
)

// msgpack appends a value as BehaviorTree.CPP's JSON library packs it: maps sorted by key, integers and reals in the
// shortest form that loses nothing.
func msgpack(b []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		b = packMap(b, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b = msgpack(packText(b, key), v[key])
		}
		return b
	case board.Value:
		switch v.Kind() {
		case board.Int:
			return packInt(b, v.Any().(int64))
		case board.Real:
			return packReal(b, v.Float())
		case board.Bool:
			if v.Float() != 0 {
				return append(b, 0xc3)
			}
			return append(b, 0xc2)
		case board.Text, board.Opaque:
			return packText(b, short(v.String()))
		}
	}
	return append(b, 0xc0)
}

// short bounds the text of what a blackboard carries, such as a picture of the whole network.
func short(s string) string {
	const most = 1000
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func packMap(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, 0x80|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xde), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdf), uint32(n))
}

func packText(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, s...)
}

func packInt(b []byte, v int64) []byte {
	switch {
	case v >= 0 && v < 128, v < 0 && v >= -32:
		return append(b, byte(v))
	case v > math.MaxUint32:
		return binary.BigEndian.AppendUint64(append(b, 0xcf), uint64(v))
	case v > math.MaxUint16:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	case v > math.MaxUint8:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(v))
	case v >= 0:
		return append(b, 0xcc, byte(v))
	case v >= math.MinInt8:
		return append(b, 0xd0, byte(v))
	case v >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(b, 0xd1), uint16(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(v))
}

func packReal(b []byte, v float64) []byte {
	if v == float64(float32(v)) && !math.IsInf(v, 0) {
		return binary.BigEndian.AppendUint32(append(b, 0xca), math.Float32bits(float32(v)))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(v))
}
