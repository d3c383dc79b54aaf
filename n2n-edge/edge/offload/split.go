package offload

import "encoding/binary"

// Splitter cuts one frame from the kernel into the frames that go over the wire. It is used again for the next frame.
type Splitter struct {
	frame []byte
	h     Header
	tcp   tcpFrame
	size  int // payload of each segment but the last; 0: the frame is not cut
	next  int // where the payload of the next segment begins
	index int
}

// Start takes a frame and what the kernel says about it. The frame must stay as it is until the last segment was made.
func (s *Splitter) Start(h Header, frame []byte) error {
	*s = Splitter{frame: frame, h: h}
	if len(frame) < ethernetLen {
		return ErrShort
	}
	gso := h.GSO &^ gsoECN
	if gso == gsoNone {
		if h.Flags&needsChecksum != 0 && int(h.ChecksumStart)+int(h.ChecksumOffset)+2 > len(frame) {
			return ErrShort
		}
		return nil
	}
	f, ok := parseTCP(frame)
	if !ok || f.v6 != (gso == gsoTCPv6) || gso != gsoTCPv4 && gso != gsoTCPv6 || h.SegmentSize == 0 {
		return ErrGSO
	}
	s.tcp, s.size, s.next = f, int(h.SegmentSize), f.payload
	return nil
}

// Count is how many segments there will be.
func (s *Splitter) Count() int {
	if s.size == 0 {
		return 1
	}
	return max(1, (s.tcp.end-s.tcp.payload+s.size-1)/s.size)
}

// Size is the length of every segment but the last, which may be shorter.
func (s *Splitter) Size() int {
	if s.size == 0 {
		return len(s.frame)
	}
	return min(s.tcp.payload+s.size, s.tcp.end)
}

// Next writes the next segment to dst, which has room for Size bytes, and says how long it is; 0 after the last one.
func (s *Splitter) Next(dst []byte) int {
	if s.size == 0 {
		return s.whole(dst)
	}
	if s.next >= s.tcp.end && s.index > 0 {
		return 0
	}
	n := min(s.size, s.tcp.end-s.next)
	last := s.next+n == s.tcp.end
	dst = dst[:s.tcp.payload+n]
	copy(dst, s.frame[:s.tcp.payload])
	copy(dst[s.tcp.payload:], s.frame[s.next:s.next+n])
	offset := s.next - s.tcp.payload
	s.fixIP(dst)
	tcp := dst[s.tcp.tcp:]
	binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+uint32(offset))
	if !last {
		tcp[13] &^= tcpFIN | tcpPSH
	}
	if s.index > 0 {
		tcp[13] &^= tcpCWR
	}
	tcp[16], tcp[17] = 0, 0
	put(tcp[16:], sum(tcp, pseudo(dst[s.tcp.ip:], s.tcp.v6, protoTCP, len(tcp))))
	s.next += n
	s.index++
	return len(dst)
}

// whole gives a frame that is not cut, its checksum completed.
func (s *Splitter) whole(dst []byte) int {
	if s.index > 0 {
		return 0
	}
	s.index++
	n := copy(dst, s.frame)
	if s.h.Flags&needsChecksum != 0 && int(s.h.ChecksumStart)+int(s.h.ChecksumOffset)+2 <= n {
		at := int(s.h.ChecksumStart) + int(s.h.ChecksumOffset)
		// What stands there is the sum of the pseudo header, part of what is summed up.
		put(dst[at:], sum(dst[s.h.ChecksumStart:n], 0))
		if dst[at] == 0 && dst[at+1] == 0 && s.h.ChecksumOffset == 6 {
			dst[at], dst[at+1] = 0xff, 0xff // UDP: 0 would mean none
		}
	}
	return n
}

// fixIP sets length, and in IPv4 identification and checksum, of a segment.
func (s *Splitter) fixIP(dst []byte) {
	ip := dst[s.tcp.ip:]
	if s.tcp.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Len))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(s.index))
	ip[10], ip[11] = 0, 0
	put(ip[10:], sum(ip[:ipv4Len], 0))
}
