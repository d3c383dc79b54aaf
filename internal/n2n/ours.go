package n2n

import "net/netip"

// Ours is what our programs tell each other behind the fields of a message, in its Rest: ntop reads no further than its own
// fields. It is "nsv", the version, flags, NAT, and a list of addresses. Newer versions append to it.
//
// It is in REGISTER_SUPER, REGISTER and REGISTER_ACK (Fast, NAT, Addrs, Draws, Fan), in the QUERY_PEER that pings a supernode (OtherPort),
// and in the PEER_INFO that answers it (Fast).
type Ours struct {
	Fast      bool // takes bursts: has a large buffer and reads many packets at a time
	OtherPort bool // asks a supernode to send its PEER_INFO twice, the second time from a port of its own: who gets it is behind a full cone
	Draws     bool // tries ports by chance when it is told of a fan
	Fan       bool // has opened many ports towards the receiver: one of them can be found by chance
	NAT       NAT
	addrs     [MaxAddrs]netip.AddrPort
	n         int
}

// MaxAddrs is how many addresses Ours carries.
const MaxAddrs = 8

// NAT says what is between an edge and its supernodes.
type NAT uint8

const (
	NATUnknown    NAT = iota
	NATNone           // it is seen with the address it has
	NATFull           // one address towards everybody, and everybody is let in
	NATRestricted     // one address towards everybody; in comes who was sent to
	NATSymmetric      // another address towards each
	nats
)

var natNames = [nats]string{"unknown", "none", "full cone", "restricted cone", "symmetric"}

func (n NAT) String() string {
	if n < nats {
		return natNames[n]
	}
	return "unknown"
}

const (
	oursVersion   = 1
	oursFast      = 1
	oursOtherPort = 2
	oursDraws     = 4
	oursFan       = 8
)

// Addrs are where else the sender may be reached: its addresses in its own network, and IPv6.
func (o *Ours) Addrs() []netip.AddrPort { return o.addrs[:o.n] }

// AddAddr adds an address, as long as there is room.
func (o *Ours) AddAddr(a netip.AddrPort) {
	if o.n < MaxAddrs && a.IsValid() {
		o.addrs[o.n] = a
		o.n++
	}
}

// Append writes o behind the fields of a message.
func (o *Ours) Append(b []byte) []byte {
	var flags byte
	if o.Fast {
		flags |= oursFast
	}
	if o.OtherPort {
		flags |= oursOtherPort
	}
	if o.Draws {
		flags |= oursDraws
	}
	if o.Fan {
		flags |= oursFan
	}
	b = append(b, 'n', 's', 'v', oursVersion, flags, byte(o.NAT), byte(o.n))
	for _, a := range o.Addrs() {
		b = appendSock(b, a)
	}
	return b
}

// ParseOurs reads the Rest of a message. It is not ok when none of our programs wrote it.
func ParseOurs(rest []byte) (o Ours, ok bool) {
	r := reader{rest: rest}
	magic := r.take(3, FieldOurs)
	if string(magic) != "nsv" || r.u8(FieldOurs) < oursVersion {
		return o, false
	}
	flags := r.u8(FieldOurs)
	o.Fast, o.OtherPort = flags&oursFast != 0, flags&oursOtherPort != 0
	o.Draws, o.Fan = flags&oursDraws != 0, flags&oursFan != 0
	if o.NAT = NAT(r.u8(FieldOurs)); o.NAT >= nats {
		o.NAT = NATUnknown
	}
	for n := r.u8(FieldOurs); n > 0 && r.err == nil; n-- {
		if a := r.sock(FieldOurs); r.err == nil {
			o.AddAddr(a)
		}
	}
	if r.err != nil {
		return Ours{}, false
	}
	return o, true
}
