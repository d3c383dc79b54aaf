package n2n

// Version is the first byte of every message.
const Version = 3

// HeaderLen is the length of the header that every message begins with.
const HeaderLen = 24

// MaxPacket is the longest message: both sides of ntop receive into a buffer of this size.
const MaxPacket = 2048

// DefaultPort is where a supernode listens, by UDP and by TCP.
const DefaultPort = 7654

// DefaultTTL is what a message begins with. Each supernode takes one.
const DefaultTTL = 2

// Type says which message a packet is.
type Type uint8

// The types that are sent. DEREGISTER (2) and FEDERATION (9) have numbers, but nobody sends them.
const (
	TypeRegister         Type = 1
	TypePacket           Type = 3
	TypeRegisterAck      Type = 4
	TypeRegisterSuper    Type = 5
	TypeUnregisterSuper  Type = 6
	TypeRegisterSuperAck Type = 7
	TypeRegisterSuperNak Type = 8
	TypePeerInfo         Type = 10
	TypeQueryPeer        Type = 11
	TypeReRegisterSuper  Type = 12 // legal in an encrypted header only
	typeMask                  = 0x1f
)

var typeNames = [...]string{TypeRegister: "REGISTER", TypePacket: "PACKET", TypeRegisterAck: "REGISTER_ACK",
	TypeRegisterSuper: "REGISTER_SUPER", TypeUnregisterSuper: "UNREGISTER_SUPER", TypeRegisterSuperAck: "REGISTER_SUPER_ACK",
	TypeRegisterSuperNak: "REGISTER_SUPER_NAK", TypePeerInfo: "PEER_INFO", TypeQueryPeer: "QUERY_PEER",
	TypeReRegisterSuper: "RE_REGISTER_SUPER"}

// known says whether t is a message that somebody sends.
func (t Type) known() bool { return int(t) < len(typeNames) && typeNames[t] != "" }

func (t Type) String() string {
	if t.known() {
		return typeNames[t]
	}
	return "unknown"
}

// Flags say how a message came and what it carries.
type Flags uint16

const (
	// FromSupernode is set by a supernode on all it sends. Receivers take it from addresses of supernodes only.
	FromSupernode Flags = 0x20
	// HasSock says that a sock field is there. Append sets it as the message needs.
	HasSock Flags = 0x40

	knownFlags = FromSupernode | HasSock
)

// Header is what every message begins with.
type Header struct {
	TTL       uint8
	Type      Type
	Flags     Flags
	Community Community
}

// ParseHeader reads and checks the header of a clear packet (one that came clear, or that a HeaderKey has opened).
func ParseHeader(b []byte) (h Header, err error) {
	if len(b) < HeaderLen {
		return h, refuse(ReasonShort, FieldHeader)
	}
	if b[0] != Version {
		return h, refuse(ReasonVersion, FieldVersion)
	}
	word := uint16(b[2])<<8 | uint16(b[3])
	h.TTL, h.Type, h.Flags = b[1], Type(word&typeMask), Flags(word&^typeMask)
	if h.Flags&^knownFlags != 0 {
		return h, refuse(ReasonFlags, FieldFlags)
	}
	if !h.Type.known() {
		return h, refuse(ReasonType, FieldFlags)
	}
	h.Community = Community(b[4:HeaderLen])
	if h.Community[len(h.Community)-1] != 0 {
		return h, refuse(ReasonCommunity, FieldCommunity)
	}
	return h, nil
}

// expect parses the header and insists on a type.
func (h *Header) expect(b []byte, t Type) (err error) {
	if *h, err = ParseHeader(b); err == nil && h.Type != t {
		err = refuse(ReasonType, FieldFlags)
	}
	return err
}

// append writes the header of a message of type t, with or without a sock.
func (h *Header) append(b []byte, t Type, sock bool) []byte {
	flags := h.Flags &^ HasSock
	if sock {
		flags |= HasSock
	}
	word := uint16(flags)&^typeMask | uint16(t)
	b = append(b, Version, h.TTL, byte(word>>8), byte(word))
	return append(b, h.Community[:]...)
}

// IsClear says whether a packet has a clear header, by the test of ntop's supernode: what fails it can only be an encrypted
// one. Passing it means no more than that; ParseHeader is to check the rest.
func IsClear(b []byte) bool {
	return len(b) >= HeaderLen && b[HeaderLen-1] == 0 && b[0] == Version && b[2] == 0 && b[3] < 0x80 &&
		Type(b[3]&typeMask) <= TypeQueryPeer
}
