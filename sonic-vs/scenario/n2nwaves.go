package scenario

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/sonic-vs/overlay"
)

// What an attacker sends who knows the community's name, the addresses, MACs and ports of all, but no token and no password, and
// who has heard what went over the cables.

// append is a message that the codec writes.
type message interface{ Append([]byte) []byte }

// ahead is how far the attacker stamps in the future: as far as will be taken, so that true stamps would look old.
const ahead = 12 * time.Second

// seal makes a message look like one of the community, as far as its name is enough.
func (c *floodCouple) seal(r *rand.Rand, b []byte) []byte {
	if c.key == nil || len(b) < n2n.HeaderLen {
		return b
	}
	header := len(b)
	if b[3]&0x1f == byte(n2n.TypePacket) {
		header = min(header, n2n.PacketHeaderLen)
	}
	c.key.Seal(b, header, n2n.StampAt(time.Now().Add(ahead)), r.Uint32())
	return b
}

// own is a port of the attacker.
func (f *flood) own(r *rand.Rand) netip.AddrPort {
	return netip.AddrPortFrom(f.attacker.Addr, uint16(1024+r.IntN(60000)))
}

func (c *floodCouple) header(flags n2n.Flags) n2n.Header {
	return n2n.Header{TTL: n2n.DefaultTTL, Flags: flags, Community: c.name}
}

// chance is some bytes.
func chance(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// pair gives one of the edges and the other.
func (c *floodCouple) pair(r *rand.Rand) (one, other *overlay.Edge) {
	i := r.IntN(2)
	return c.edges[i], c.edges[1-i]
}

// registration is an edge's, but for the token.
func (c *floodCouple) registration(r *rand.Rand, e *overlay.Edge) *n2n.RegisterSuper {
	auth, _ := n2n.AuthOf(n2n.AuthID, chance(r, 16)) // both fit
	if c.Mode == overlay.Login {
		auth, _ = n2n.AuthOf(n2n.AuthLogin, chance(r, n2n.MaxToken))
	}
	m := &n2n.RegisterSuper{Header: c.header(0), Cookie: r.Uint32(), MAC: e.MAC, Subnet: n2n.Subnet{Addr: e.Address.As4(), Bits: 24},
		Desc: n2n.DescOf("attacker"), Auth: auth}
	if r.IntN(2) == 0 {
		m.MAC = n2n.MAC{2, 0x66, byte(r.Uint32()), byte(r.Uint32()), 1, 1} // another one, with the edge's address
	}
	return m
}

// frames is what an edge sends to another or about it.
func (c *floodCouple) frames(r *rand.Rand, flags n2n.Flags) message {
	e, other := c.pair(r)
	switch r.IntN(3) {
	case 0:
		return &n2n.Packet{Header: c.header(flags), Src: e.MAC, Dst: other.MAC, Compression: n2n.CompressionNone, Transform: c.Transform, Payload: chance(r, 100)}
	case 1:
		return &n2n.Register{Header: c.header(flags), Rank: n2n.RankRegular, Src: e.MAC, Dst: other.MAC, Desc: n2n.DescOf("attacker"),
			Rest: (&n2n.Ours{NAT: n2n.NATSymmetric, Fan: true}).Append(nil)}
	}
	return &n2n.QueryPeer{Header: c.header(flags), Src: e.MAC, Target: other.MAC}
}

// answers is what a supernode says to an edge, with cookies and addresses of the attacker's choice.
func (c *floodCouple) answers(r *rand.Rand, evil netip.AddrPort) message {
	h := c.header(n2n.FromSupernode)
	e, other := c.edges[1], c.edges[0]
	switch r.IntN(4) {
	case 0:
		return &n2n.RegisterSuperAck{Header: h, Cookie: r.Uint32(), Sock: evil, Subnet: n2n.Subnet{Addr: [4]byte{10, 1, 2, 3}, Bits: 24}}
	case 1:
		return &n2n.RegisterSuperNak{Header: h, Cookie: r.Uint32(), MAC: e.MAC}
	case 2:
		return &n2n.PeerInfo{Header: h, Src: e.MAC, MAC: other.MAC, Sock: evil}
	}
	return &n2n.ReRegisterSuper{Header: h}
}

// lie is a message whose own numbers cannot be true.
func (c *floodCouple) lie(r *rand.Rand) []byte {
	e, _ := c.pair(r)
	b := c.registration(r, e).Append(nil)
	size := n2n.HeaderLen + 4 + 6 + 5 + 16 + 2 // of the token: where it stands
	switch r.IntN(5) {
	case 0:
		binary.BigEndian.PutUint16(b[size:], uint16(n2n.MaxToken+1+r.IntN(60000)))
	case 1:
		binary.BigEndian.PutUint16(b[size:], uint16(60+r.IntN(1000)))
	case 2:
		b[0] = byte(4 + r.IntN(250)) // version
	case 3:
		b[3] = byte(13 + r.IntN(18)) // type
	default:
		b[3] |= 0x40 // an address, which is not there
		b[n2n.HeaderLen+10] = 0x7f
	}
	return b
}

// cut is the beginning of a message.
func (c *floodCouple) cut(r *rand.Rand, least int) []byte {
	e, other := c.pair(r)
	var b []byte
	switch r.IntN(4) {
	case 0:
		b = c.registration(r, e).Append(nil)
	case 1:
		b = (&n2n.Register{Header: c.header(0), Src: e.MAC, Dst: other.MAC}).Append(nil)
	case 2:
		b = (&n2n.RegisterAck{Header: c.header(0), Src: e.MAC, Dst: other.MAC}).Append(nil)
	default:
		b = (&n2n.Packet{Header: c.header(0), Src: e.MAC, Dst: other.MAC}).Append(nil)
	}
	return b[:least+r.IntN(len(b)-least)]
}

// heard gives what went to a program, older than what its sender has said since: all of it is a replay.
func (f *flood) heard(to netip.AddrPort) func(*rand.Rand) (netip.AddrPort, []byte) {
	var list []overlay.Heard
	return func(r *rand.Rand) (netip.AddrPort, []byte) {
		if list == nil {
			list = []overlay.Heard{}
			for _, ear := range f.ears {
				list = append(list, ear.Heard()...)
			}
			newest := map[netip.AddrPort]time.Time{}
			for _, h := range list {
				if h.To == to && h.From.Addr() != f.attacker.Addr && h.At.After(newest[h.From]) {
					newest[h.From] = h.At
				}
			}
			list = slices.DeleteFunc(list, func(h overlay.Heard) bool { return h.To != to || newest[h.From].Sub(h.At) < 500*time.Millisecond })
		}
		if len(list) == 0 {
			return netip.AddrPort{}, nil
		}
		h := list[r.IntN(len(list))]
		return h.From, slices.Clone(h.Payload)
	}
}

// changed flips some bits of what was heard.
func changed(heard func(*rand.Rand) (netip.AddrPort, []byte)) func(*rand.Rand) (netip.AddrPort, []byte) {
	return func(r *rand.Rand) (netip.AddrPort, []byte) {
		from, b := heard(r)
		for range min(1+r.IntN(3), len(b)) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return from, b
	}
}

// atSupernode is what is sent at the supernode in the name of a couple.
func (f *flood) atSupernode(c *floodCouple) (waves []*wave) {
	add := func(kind string, packets func(*rand.Rand) (netip.AddrPort, []byte), reasons ...string) {
		waves = append(waves, &wave{Target: "supernode", Kind: kind, Mode: c.Mode, to: f.sn.Addr, reasons: reasons, any: reasons == nil, packets: packets,
			counters: f.atSupernodeCounted})
	}
	mine := func(build func(*rand.Rand) []byte) func(*rand.Rand) (netip.AddrPort, []byte) {
		return func(r *rand.Rand) (netip.AddrPort, []byte) { return f.own(r), c.seal(r, build(r)) }
	}
	if c.Mode == overlay.Plain {
		add("noise", func(r *rand.Rand) (netip.AddrPort, []byte) { return f.own(r), chance(r, 1+r.IntN(1400)) })
		add("of a community that is not on the list", func(r *rand.Rand) (netip.AddrPort, []byte) {
			m := c.registration(r, c.edges[0])
			m.Community, _ = n2n.CommunityOf("nowhere") // it fits
			return f.own(r), m.Append(nil)
		}, "unknown_community", "too_many")
	} else {
		heard := of(f.heard(f.sn.Addr), c)
		add("replayed", heard, "replay", "clock", pinged)
		add("changed on the way", changed(heard))
		add("clear", func(r *rand.Rand) (netip.AddrPort, []byte) { return f.own(r), c.frames(r, 0).Append(nil) }, "wrong_header")
	}
	if c.quiet {
		add("a registration with a wrong password", func(r *rand.Rand) (netip.AddrPort, []byte) {
			return f.own(r), append(c.seal(r, c.registration(r, c.edges[0]).Append(nil)), chance(r, n2n.TrailerLen)...)
		}, "login", "too_many")
		return waves
	}
	least := 1
	if c.key != nil {
		least = n2n.HeaderLen
	}
	add("cut", mine(func(r *rand.Rand) []byte { return c.cut(r, least) }))
	add("with lengths and numbers that lie", mine(c.lie))
	add("another's registration", mine(func(r *rand.Rand) []byte { e, _ := c.pair(r); return c.registration(r, e).Append(nil) }), "taken", "too_many")
	add("another's farewell", mine(func(r *rand.Rand) []byte {
		e, _ := c.pair(r)
		m := c.registration(r, e)
		return (&n2n.UnregisterSuper{Header: m.Header, Auth: m.Auth, MAC: e.MAC}).Append(nil)
	}), "wrong_token")
	add("another's frames and questions", mine(func(r *rand.Rand) []byte { return c.frames(r, 0).Append(nil) }), "wrong_address")
	add("a supernode's word", mine(func(r *rand.Rand) []byte {
		if r.IntN(2) == 0 {
			return c.frames(r, n2n.FromSupernode).Append(nil)
		}
		m := c.registration(r, c.edges[0])
		m.Flags = n2n.FromSupernode
		return m.Append(nil)
	}), "not_supernode")
	return waves
}

// pinged is a ping that was answered. Who pings need not be registered, so that within 16 s its stamp says nothing; nothing comes of it.
const pinged = "ping answered"

func (f *flood) atSupernodeCounted(ctx context.Context) (map[string]uint64, error) {
	counted, err := f.bed.Counters(ctx, f.sn, "n2n_supernode_refused_total")
	if err != nil {
		return nil, err
	}
	answered, err := f.bed.Counters(ctx, f.sn, "n2n_supernode_answered_total")
	if err != nil {
		return nil, err
	}
	counted[pinged] = answered["ping"]
	return counted, nil
}

// of leaves out what was heard of other communities: their edges are at the same sites, on other ports.
func of(heard func(*rand.Rand) (netip.AddrPort, []byte), c *floodCouple) func(*rand.Rand) (netip.AddrPort, []byte) {
	return func(r *rand.Rand) (netip.AddrPort, []byte) {
		for range 10_000 {
			from, b := heard(r)
			if b == nil || from.Port() == c.edges[0].Port || from.Port() == c.edges[1].Port {
				return from, b
			}
		}
		return netip.AddrPort{}, nil
	}
}

// atEdge is what is sent at the right edge of a couple.
func (f *flood) atEdge(c *floodCouple) (waves []*wave) {
	e, peer := c.edges[1], c.edges[0]
	at := netip.AddrPortFrom(e.Public(), e.Port)
	add := func(kind string, packets func(*rand.Rand) (netip.AddrPort, []byte), reasons ...string) *wave {
		w := &wave{Target: "edge", Kind: kind, Mode: c.Mode, to: at, reasons: reasons, any: reasons == nil, packets: packets,
			counters: func(ctx context.Context) (map[string]uint64, error) { s, err := e.Ask(ctx); return s.Drops, err }}
		waves = append(waves, w)
		return w
	}
	mine := func(build func(*rand.Rand) []byte) func(*rand.Rand) (netip.AddrPort, []byte) {
		return func(r *rand.Rand) (netip.AddrPort, []byte) { return f.own(r), c.seal(r, build(r)) }
	}
	add("noise", func(r *rand.Rand) (netip.AddrPort, []byte) { return f.own(r), chance(r, 1+r.IntN(1400)) })
	if c.key != nil {
		heard := f.heard(at)
		add("replayed", heard, "replay", "control_stranger") // a supernode's second answer to a ping comes from a port that is strange later
		add("changed on the way", changed(heard), "key")
		add("clear", func(r *rand.Rand) (netip.AddrPort, []byte) { return f.own(r), c.frames(r, 0).Append(nil) }, "key")
	}
	if c.quiet {
		return waves
	}
	least := 1
	if c.key != nil {
		least = n2n.HeaderLen
	}
	packet := n2n.Packet{Header: c.header(0), Src: peer.MAC, Dst: e.MAC, Compression: n2n.CompressionNone, Transform: c.Transform}
	with := func(change func(*rand.Rand, *n2n.Packet)) func(*rand.Rand) []byte {
		return func(r *rand.Rand) []byte {
			p := packet
			p.Payload = chance(r, 100)
			change(r, &p)
			return p.Append(nil)
		}
	}
	add("cut", mine(func(r *rand.Rand) []byte { return c.cut(r, least) }))
	add("with lengths and numbers that lie", mine(c.lie))
	add("a supernode's word", mine(func(r *rand.Rand) []byte {
		if r.IntN(2) == 0 {
			return c.frames(r, n2n.FromSupernode).Append(nil)
		}
		return c.answers(r, f.own(r)).Append(nil)
	}), "stranger", "control_stranger", "mac")
	add("acknowledged by nobody", mine(func(r *rand.Rand) []byte {
		return (&n2n.RegisterAck{Header: c.header(0), Rank: n2n.RankLocal, Dst: e.MAC, Src: peer.MAC}).Append(nil)
	}), "control_cookie")
	add("for another edge", mine(with(func(r *rand.Rand, p *n2n.Packet) { p.Dst = n2n.MAC{2, 0x66, 1, 1, 1, byte(r.Uint32())} })), "mac")
	add("encrypted in another way", mine(with(func(r *rand.Rand, p *n2n.Packet) { p.Transform = n2n.TransformAES })), "transform")
	add("too short to be a frame", mine(with(func(r *rand.Rand, p *n2n.Packet) { p.Payload = p.Payload[:r.IntN(30)] })), "payload")
	add("in the peer's name, from elsewhere", mine(func(r *rand.Rand) []byte {
		if r.IntN(2) == 0 {
			return with(func(*rand.Rand, *n2n.Packet) {})(r)
		}
		return (&n2n.Register{Header: c.header(0), Rank: n2n.RankLocal, Src: peer.MAC, Dst: e.MAC, Desc: n2n.DescOf("attacker"),
			Rest: (&n2n.Ours{NAT: n2n.NATSymmetric, Fan: true}).Append(nil)}).Append(nil)
	})).any = false
	if c.key == nil {
		add("a supernode's answers, with its address", func(r *rand.Rand) (netip.AddrPort, []byte) { return f.sn.Addr, c.answers(r, f.own(r)).Append(nil) },
			"control_cookie", "control_not_for_us")
		add("of another community", mine(with(func(r *rand.Rand, p *n2n.Packet) { p.Community[0] = 'X' })), "community")
	}
	return waves
}
