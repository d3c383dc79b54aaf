package rendezvous

import "net/netip"

// Path is a way to somebody: a UDP address, or a TCP connection from there.
type Path struct {
	Addr netip.AddrPort // never IPv4 in IPv6 clothes
	Conn uint32         // number of the connection; 0: UDP
}

func (p Path) String() string {
	if p.Conn != 0 {
		return "tcp:" + p.Addr.String()
	}
	return p.Addr.String()
}

// Out is what is to be sent, in order. A caller keeps one for each reader, and empties it when all is sent.
type Out struct {
	// Bytes holds the messages, one behind the other as far as they are built here, so that those of one way and one
	// length may leave in one system call.
	Bytes []byte
	Sends []Send
}

// Send is one message on one way. Many may have the same bytes.
type Send struct {
	To         Path
	Start, End int  // in Bytes
	OtherPort  bool // by UDP, from another port than edges send to: it comes through a full cone NAT only
}

// Reset empties it and keeps its memory.
func (o *Out) Reset() { o.Bytes, o.Sends = o.Bytes[:0], o.Sends[:0] }

// Message gives the bytes of a send.
func (o *Out) Message(s Send) []byte { return o.Bytes[s.Start:s.End] }

func (o *Out) send(to Path, start int) {
	o.Sends = append(o.Sends, Send{To: to, Start: start, End: len(o.Bytes)})
}
