package n2n

import "net/netip"

// Relay makes of the clear PACKET or REGISTER in buf[at:] what a supernode passes on: the ttl one less, FROM_SUPERNODE set,
// and sock put in (or put in place of the one that is there). An invalid sock leaves the message's own, as it has to be for
// what comes from another supernode.
//
// The payload stays where it is. The front moves, down into buf[:at], which must have MaxSockLen bytes of room, and Relay
// says where the message begins now.
func Relay(buf []byte, at int, sock netip.AddrPort) (int, error) {
	b := buf[at:]
	h, err := ParseHeader(b)
	if err != nil {
		return at, err
	}
	front := HeaderLen + 12 // up to the sock
	switch h.Type {
	case TypePacket:
	case TypeRegister:
		front += 4
	default:
		return at, refuse(ReasonType, FieldFlags)
	}
	if h.TTL == 0 {
		return at, refuse(ReasonTTL, FieldTTL)
	}
	if len(b) < front {
		return at, refuse(ReasonShort, FieldSrcMAC)
	}
	r := reader{rest: b[front:]}
	old := r.sockIf(&h, FieldSock)
	if r.err != nil {
		return at, r.err
	}
	h.TTL--
	h.Flags |= FromSupernode
	if !sock.IsValid() {
		sock = old
	}
	body := len(buf) - len(r.rest)
	start := body - sockLen(sock) - front
	if start < 0 {
		return at, refuse(ReasonShort, FieldHeader)
	}
	copy(buf[start:], buf[at:at+front])
	h.append(buf[start:start], h.Type, sock.IsValid())
	appendSockIf(buf[start+front:start+front], sock)
	return start, nil
}
