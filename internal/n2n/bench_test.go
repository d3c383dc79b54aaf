package n2n

import (
	"fmt"
	"testing"
	"time"
)

// The frame of a full packet, and of a small one.
var benchSizes = []int{64, 1400}

func benchPackets(b *testing.B, f func(*testing.B, int)) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			f(b, n)
		})
	}
}

func BenchmarkPacketAppendHeader(b *testing.B) {
	p := Packet{Header: Header{TTL: 2}, Compression: CompressionNone, Transform: TransformNull}
	buf := make([]byte, 0, MaxPacket)
	b.ReportAllocs()
	for b.Loop() {
		p.AppendHeader(buf)
	}
}

func BenchmarkPacketDecode(b *testing.B) {
	wire := (&Packet{Payload: make([]byte, 1400)}).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		var p Packet
		if err := p.Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, id := range allTransforms {
		b.Run(id.String(), func(b *testing.B) {
			tr := newTransform(b, id, "correct horse")
			benchPackets(b, func(b *testing.B, n int) {
				buf := make([]byte, MaxPacket)
				for b.Loop() {
					tr.Seal(buf[:0], buf[tr.Overhead():][:n])
				}
			})
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, id := range allTransforms {
		b.Run(id.String(), func(b *testing.B) {
			tr := newTransform(b, id, "correct horse")
			benchPackets(b, func(b *testing.B, n int) {
				payload := tr.Seal(nil, make([]byte, n))
				for b.Loop() {
					if _, err := tr.Open(payload[:tr.Overhead()], payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkHeaderKeySeal(b *testing.B) {
	benchPackets(b, func(b *testing.B, n int) {
		key := NewHeaderKey(Community{'c'})
		p := Packet{Header: Header{Community: Community{'c'}}, Payload: make([]byte, n)}
		wire := p.Append(nil)
		for b.Loop() {
			key.Seal(wire, p.HeaderLen(), 1, 2)
		}
	})
}

func BenchmarkHeaderKeyOpen(b *testing.B) {
	benchPackets(b, func(b *testing.B, n int) {
		key := NewHeaderKey(Community{'c'})
		p := Packet{Header: Header{Community: Community{'c'}}, Payload: make([]byte, n)}
		wire := p.Append(nil)
		key.Seal(wire, p.HeaderLen(), 1, 2)
		buf := make([]byte, len(wire))
		for b.Loop() {
			if _, _, err := key.Open(buf[:copy(buf, wire)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A packet of another community, as a supernode meets it when it tries one key after the other.
func BenchmarkHeaderKeyRefuse(b *testing.B) {
	wire := (&QueryPeer{}).Append(nil)
	NewHeaderKey(Community{'c'}).Seal(wire, len(wire), StampAt(time.Unix(1_800_000_000, 0)), 2)
	other := NewHeaderKey(Community{'d'})
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := other.Open(wire); err == nil {
			b.Fatal("opened")
		}
	}
}
