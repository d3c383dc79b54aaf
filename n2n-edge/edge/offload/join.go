package offload

import (
	"bytes"
	"encoding/binary"
)

const (
	maxFlows  = 8     // joined at the same time
	maxPieces = 64    // payloads in one frame
	maxIP     = 65535 // bytes of an IP packet
)

// Writer takes finished frames: the header, then the frame in pieces. They are valid for the call only.
type Writer interface {
	WriteFrame(h *Header, pieces [][]byte) error
}

// Joiner joins consecutive TCP segments of a flow into one large frame, as a network card does on reception. Frames of one
// flow keep their order; those of different flows need not.
//
// A segment is joined only when its checksum is right: the kernel does not look again at what a joined frame holds.
type Joiner struct {
	w     Writer
	flows [maxFlows]flow
	used  int
	h     Header
	one   [1][]byte
}

// flow is what has been joined so far.
type flow struct {
	tcpFrame
	head   []byte // the first frame
	size   int    // payload of its first segment
	total  int    // payload of all
	seq    uint32 // that comes next
	closed bool   // a shorter segment or PSH was the last one
	pieces [][]byte
	room   [maxPieces + 1][]byte
}

// NewJoiner makes a joiner that gives its frames to w.
func NewJoiner(w Writer) *Joiner { return &Joiner{w: w} }

// Add takes a frame. It must stay as it is until Flush.
func (j *Joiner) Add(frame []byte) error {
	f, ok := parseTCP(frame)
	if !ok {
		return j.alone(frame)
	}
	flags := frame[f.tcp+13]
	n := f.end - f.payload
	can := n > 0 && flags&^tcpPSH == tcpACK && f.checksumsHold(frame)
	at := j.find(frame, f)
	if at >= 0 {
		g := &j.flows[at]
		if can && g.takes(frame, f, n) {
			g.add(frame, f, n, flags)
			if g.closed {
				return j.write(at)
			}
			return nil
		}
		if err := j.write(at); err != nil {
			return err
		}
	}
	if !can || flags&tcpPSH != 0 {
		return j.alone(frame)
	}
	if j.used == maxFlows {
		if err := j.write(0); err != nil {
			return err
		}
	}
	j.flows[j.used].open(frame, f, n)
	j.used++
	return nil
}

// Flush writes what was held back.
func (j *Joiner) Flush() error {
	var first error
	for j.used > 0 {
		if err := j.write(0); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (j *Joiner) alone(frame []byte) error {
	j.h, j.one[0] = Header{}, frame
	return j.w.WriteFrame(&j.h, j.one[:])
}

// find gives the flow that a frame is of, -1 for none.
func (j *Joiner) find(b []byte, f tcpFrame) int {
	for i := range j.flows[:j.used] {
		g := &j.flows[i]
		// Addresses and, in IPv4, what is beside them; Ethernet; ports.
		from := 12
		if f.v6 {
			from = 8
		}
		if g.v6 == f.v6 && bytes.Equal(g.head[:ethernetLen], b[:ethernetLen]) &&
			bytes.Equal(g.head[g.ip+from:g.tcp+4], b[f.ip+from:f.tcp+4]) {
			return i
		}
	}
	return -1
}

// write ends a flow and gives its frame away. The oldest flows go first where order is asked for.
func (j *Joiner) write(at int) error {
	g := &j.flows[at]
	var err error
	if len(g.pieces) == 2 {
		err = j.alone(g.head)
	} else {
		g.finish(&j.h)
		err = j.w.WriteFrame(&j.h, g.pieces)
	}
	j.used--
	if at != j.used {
		g.copyFrom(&j.flows[j.used])
	}
	return err
}

// copyFrom moves a flow; its pieces point into the room it has itself.
func (g *flow) copyFrom(from *flow) {
	g.tcpFrame, g.head, g.size, g.total, g.seq, g.closed = from.tcpFrame, from.head, from.size, from.total, from.seq, from.closed
	g.pieces = append(g.room[:0], from.pieces...)
}

func (g *flow) open(b []byte, f tcpFrame, n int) {
	g.tcpFrame, g.head, g.size, g.total, g.closed = f, b, n, n, false
	g.seq = binary.BigEndian.Uint32(b[f.tcp+4:]) + uint32(n)
	g.pieces = append(g.room[:0], b[:f.payload], b[f.payload:f.end])
}

// takes says whether a segment is the next one of the flow.
func (g *flow) takes(b []byte, f tcpFrame, n int) bool {
	if g.closed || n > g.size || len(g.pieces) == len(g.room) || f.payload != g.payload ||
		g.payload-g.ip+g.total+n > maxIP || binary.BigEndian.Uint32(b[f.tcp+4:]) != g.seq {
		return false
	}
	h, t := g.head, b
	if f.v6 {
		if !bytes.Equal(h[g.ip:g.ip+4], t[f.ip:f.ip+4]) || h[g.ip+7] != t[f.ip+7] { // class, flow label, hop limit
			return false
		}
	} else if h[g.ip+1] != t[f.ip+1] || h[g.ip+8] != t[f.ip+8] || h[g.ip+6] != t[f.ip+6] { // service, time to live, DF
		return false
	}
	return bytes.Equal(h[g.tcp+8:g.tcp+13], t[f.tcp+8:f.tcp+13]) && // acknowledgement, header length
		bytes.Equal(h[g.tcp+14:g.tcp+16], t[f.tcp+14:f.tcp+16]) && // window
		bytes.Equal(h[g.tcp+tcpLen:g.payload], t[f.tcp+tcpLen:f.payload]) // options
}

func (g *flow) add(b []byte, f tcpFrame, n int, flags byte) {
	g.pieces = append(g.pieces, b[f.payload:f.end])
	g.total += n
	g.seq += uint32(n)
	if flags&tcpPSH != 0 {
		g.head[g.tcp+13] |= tcpPSH
	}
	g.closed = n < g.size || flags&tcpPSH != 0
}

// finish makes the headers of the first segment those of the whole, and says what the kernel has to know of it.
func (g *flow) finish(h *Header) {
	length := g.payload - g.tcp + g.total
	ip := g.head[g.ip:g.tcp]
	*h = Header{Flags: needsChecksum, GSO: gsoTCPv4, HeaderLen: uint16(g.payload), SegmentSize: uint16(g.size),
		ChecksumStart: uint16(g.tcp), ChecksumOffset: 16}
	if g.v6 {
		h.GSO = gsoTCPv6
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+length))
		ip[10], ip[11] = 0, 0
		put(ip[10:], sum(ip, 0))
	}
	binary.NativeEndian.PutUint16(g.head[g.tcp+16:], fold(pseudo(ip, g.v6, protoTCP, length)))
}

// checksumsHold verifies the checksums of TCP and, in IPv4, of the IP header.
func (f *tcpFrame) checksumsHold(b []byte) bool {
	if !f.v6 && fold(sum(b[f.ip:f.tcp], 0)) != 0xffff {
		return false
	}
	return fold(sum(b[f.tcp:f.end], pseudo(b[f.ip:], f.v6, protoTCP, f.end-f.tcp))) == 0xffff
}
