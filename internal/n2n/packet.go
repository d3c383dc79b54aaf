package n2n

import "net/netip"

// Compression says how the payload of a PACKET was made smaller, before it was encrypted.
type Compression uint8

const (
	CompressionNone Compression = 1
	CompressionLZO  Compression = 2
	CompressionZstd Compression = 3
)

func (c Compression) String() string {
	switch c {
	case CompressionNone:
		return "none"
	case CompressionLZO:
		return "lzo"
	case CompressionZstd:
		return "zstd"
	}
	return "unknown"
}

// PacketHeaderLen is what a PACKET has before its payload when no sock is in it.
const PacketHeaderLen = HeaderLen + 12 + 2

// Packet carries an Ethernet frame: Payload is the frame, compressed, then encrypted.
//
// Src is the device of the edge that sent it, which need not be the source of the frame (there may be a bridge behind it).
type Packet struct {
	Header
	Src, Dst    MAC
	Sock        netip.AddrPort // where the supernode had it from; invalid when it came directly
	Compression Compression
	Transform   TransformID
	Payload     []byte
}

// Decode reads a clear PACKET. Payload is a part of b.
func (p *Packet) Decode(b []byte) error {
	if err := p.expect(b, TypePacket); err != nil {
		return err
	}
	r := reader{rest: b[HeaderLen:]}
	p.Src, p.Dst = r.mac(FieldSrcMAC), r.mac(FieldDstMAC)
	p.Sock = r.sockIf(&p.Header, FieldSock)
	p.Compression = Compression(r.u8(FieldCompression))
	p.Transform = TransformID(r.u8(FieldTransform))
	p.Payload = r.rest
	return r.err
}

// HeaderLen is how many bytes AppendHeader writes, and the header length that HeaderKey.Seal wants to know.
func (p *Packet) HeaderLen() int { return PacketHeaderLen + sockLen(p.Sock) }

// SealedLen is what HeaderKey.Seal wants to know in a community with users, where it covers the IV at the front of the
// payload, too.
func (p *Packet) SealedLen() int { return p.HeaderLen() + min(16, len(p.Payload)) }

// AppendHeader writes all but the payload.
func (p *Packet) AppendHeader(b []byte) []byte {
	b = p.append(b, TypePacket, p.Sock.IsValid())
	b = append(b, p.Src[:]...)
	b = append(b, p.Dst[:]...)
	b = appendSockIf(b, p.Sock)
	return append(b, byte(p.Compression), byte(p.Transform))
}

// Append writes the PACKET with its payload.
func (p *Packet) Append(b []byte) []byte { return append(p.AppendHeader(b), p.Payload...) }
