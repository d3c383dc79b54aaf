package peering

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
)

// FuzzMessage lets an edge that has a supernode and a peer hear whatever there is, from each of them and from a stranger, while time
// passes. It must not fall, not remember more peers than it may, and send nothing that it would refuse itself, or to itself.
func FuzzMessage(f *testing.F) {
	supernode, straight, stranger := netip.MustParseAddrPort("192.0.2.1:7654"), netip.MustParseAddrPort("203.0.113.2:5000"), netip.MustParseAddrPort("203.0.113.9:9")
	own := n2n.MAC{2, 0, 0, 0, 0, 1}
	h := n2n.Header{TTL: 2, Community: must(n2n.CommunityOf("net"))}
	sn := h
	sn.Flags = n2n.FromSupernode
	ours := (&n2n.Ours{Fast: true, Draws: true, Fan: true, NAT: n2n.NATSymmetric}).Append(nil)
	for i, b := range [][]byte{
		(&n2n.RegisterSuperAck{Header: sn, Cookie: 1, Sock: netip.MustParseAddrPort("203.0.113.1:4000")}).Append(nil),
		(&n2n.RegisterSuperNak{Header: sn, Cookie: 1, MAC: own}).Append(nil),
		(&n2n.PeerInfo{Header: sn, Src: n2n.MAC{0xaa}, Sock: straight}).Append(nil),
		(&n2n.PeerInfo{Header: sn, Src: own, MAC: n2n.MAC{2, 0, 0, 0, 0, 2}, Sock: straight}).Append(nil),
		(&n2n.Register{Header: sn, Rank: n2n.RankForwarded, Src: n2n.MAC{2, 0, 0, 0, 0, 3}, Dst: own, Sock: straight, Rest: ours}).Append(nil),
		(&n2n.Register{Header: h, Rank: n2n.RankRegular, Src: n2n.MAC{2, 0, 0, 0, 0, 2}, Dst: own, Rest: ours}).Append(nil),
		(&n2n.RegisterAck{Header: h, Rank: n2n.RankRegular, Dst: own, Src: n2n.MAC{2, 0, 0, 0, 0, 2}}).Append(nil),
		(&n2n.ReRegisterSuper{Header: sn}).Append(nil),
	} {
		f.Add(byte(i), b, b)
	}
	f.Fuzz(func(t *testing.T, from byte, first, second []byte) {
		m := New(Config{Community: h.Community, MAC: own, Subnet: must(n2n.SubnetOf(netip.MustParsePrefix("10.99.0.1/24"))), Interval: 20 * time.Second,
			Ports: 20, Fan: 4, Draws: 8, Rate: 40}, []string{"a:7654"}, new(counter))
		now := epoch
		m.Start(now)
		m.Resolved(now, "a:7654", []netip.AddrPort{supernode})
		m.Local(now, netip.MustParseAddr("172.16.0.1"), []netip.Addr{netip.MustParseAddr("172.16.0.1")}, 4000)
		m.Wanted(now, n2n.MAC{2, 0, 0, 0, 0, 2})
		m.Relayed(now, n2n.MAC{2, 0, 0, 0, 0, 2}, straight)
		for _, b := range [][]byte{first, second} {
			if from&4 != 0 && len(b) > 28 && b[3]&0x1f == byte(n2n.TypeRegisterSuperAck) { // the cookie as if it had been seen
				binary.BigEndian.PutUint32(b[24:], m.cookie)
			}
			at := [...]netip.AddrPort{supernode, straight, stranger}[from%3]
			m.Message(now, at, b)
			m.Message(now, supernode, b)
			for range 8 {
				now = now.Add(500 * time.Millisecond)
				m.Tick(now)
			}
			m.Wanted(now, n2n.MAC{2, 0, 0, 0, 0, 2})
		}
		if len(m.peers) > 8 || m.strangers > len(m.peers) || m.strangers < 0 {
			t.Errorf("%d peers, %d of them not direct, after two messages", len(m.peers), m.strangers)
		}
		for _, a := range m.Take() {
			s, ok := a.(Send)
			if !ok {
				continue
			}
			if _, err := n2n.ParseHeader(s.Message); err != nil || m.inside(s.To) {
				t.Errorf("to %v: %x: %v", s.To, s.Message, err)
			}
		}
		m.Status(now)
		m.Stop(now)
	})
}
