// Package n2n is the language of ntop n2n v3.1: what its edges and supernodes put on the wire, read and written.
//
// It reads and writes byte slices of its caller and nothing else: it has no socket and no clock, chance and time come in
// as values. It is told by n2n-supernode and n2n-edge, and tells them what a packet says or why it is refused.
//
// # A packet that arrives
//
//	clear := n2n.IsClear(b)          // else HeaderKey.Open of the communities that encrypt, in place
//	h, err := n2n.ParseHeader(b)     // version, type, flags, community
//	switch h.Type {
//	case n2n.TypePacket:
//		var p n2n.Packet
//		err = p.Decode(b)            // p.Payload is part of b
//		frame, err := transform.Open(dst, p.Payload)
//
// Decode copies no payload: tokens, lists and payloads are slices of the packet, valid as long as it is. Every length is
// checked. A packet that is refused gives an *Error, which names the Reason (to count) and the Field (to read); the errors
// are made once, so that a flood of bad packets costs no memory.
//
// # A packet that leaves
//
//	b := p.AppendHeader(buf[:0])     // every message has Append; a Packet also its header alone
//	b = transform.Seal(b, frame)     // in place when frame lies transform.Overhead() bytes behind the header
//	key.Seal(b, p.HeaderLen(), stamp, nonce)
//
// No call allocates when the buffer has room.
//
// # Who may share what
//
// Values (messages, stamps) belong to who holds them. A HeaderKey is immutable and may be used by all at once. A Transform
// keeps scratch and a random source: one for each goroutine, made from the same passphrase.
//
// The transforms and the header encryption are ntop's, for compatibility: they hide, they do not authenticate. Who needs
// integrity brings it along inside.
package n2n
