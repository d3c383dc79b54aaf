// Package offload does for frames what a network card does: it completes checksums, cuts one large TCP segment into many,
// and joins many into one.
//
// It reads and writes byte slices of its caller and nothing else. It is told by n2n-edge/edge: frames that come from the
// kernel through a TAP with a virtio header are cut on their way out, frames that come from peers are joined on their way
// in, so that kernel and program meet once for some fifty packets and the wire is none the wiser.
package offload

import (
	"encoding/binary"
	"errors"
)

// HeaderLen is the length of the virtio header before each frame.
const HeaderLen = 10

// The values of virtio_net.h that are in use here.
const (
	needsChecksum = 1 // Flags: the checksum covers the pseudo header only, so far

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoECN   = 0x80 // with TCP: CWR stands in the first segment only
)

// Header says what is left to be done with a frame.
type Header struct {
	Flags          uint8
	GSO            uint8
	HeaderLen      uint16 // Ethernet, IP and TCP header; a hint, not trusted
	SegmentSize    uint16 // payload of each segment
	ChecksumStart  uint16
	ChecksumOffset uint16 // from ChecksumStart
}

// Decode reads the header; b has at least HeaderLen bytes. The kernel writes it in the machine's own order.
func (h *Header) Decode(b []byte) {
	_ = b[HeaderLen-1]
	h.Flags, h.GSO = b[0], b[1]
	h.HeaderLen = binary.NativeEndian.Uint16(b[2:])
	h.SegmentSize = binary.NativeEndian.Uint16(b[4:])
	h.ChecksumStart = binary.NativeEndian.Uint16(b[6:])
	h.ChecksumOffset = binary.NativeEndian.Uint16(b[8:])
}

// Encode writes the header.
func (h *Header) Encode(b []byte) {
	_ = b[HeaderLen-1]
	b[0], b[1] = h.Flags, h.GSO
	binary.NativeEndian.PutUint16(b[2:], h.HeaderLen)
	binary.NativeEndian.PutUint16(b[4:], h.SegmentSize)
	binary.NativeEndian.PutUint16(b[6:], h.ChecksumStart)
	binary.NativeEndian.PutUint16(b[8:], h.ChecksumOffset)
}

// What a frame from the kernel can be refused for.
var (
	ErrShort = errors.New("offload: the frame ends inside a header")
	ErrGSO   = errors.New("offload: a way of cutting frames that was not asked for")
)
