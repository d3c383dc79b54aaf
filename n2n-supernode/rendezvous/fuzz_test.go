package rendezvous

import (
	"reflect"
	"slices"
	"testing"

	"sonic-netservices/internal/n2n"
)

// FuzzPacket: whatever comes, from an edge, a stranger or another supernode, breaks nothing, and what was refused has left no
// trace in the tables.
func FuzzPacket(f *testing.F) {
	a, b := numbered(0), numbered(1)
	f.Add(uint8(0), a.registration(1))
	f.Add(uint8(0), a.frame(b.mac, []byte("frame")))
	f.Add(uint8(1), (&n2n.Register{Header: n2n.Header{TTL: 2, Community: a.community}, Src: b.mac, Dst: a.mac}).Append(nil))
	f.Add(uint8(2), (&n2n.QueryPeer{Header: n2n.Header{TTL: 2, Community: a.community}, Rest: (&n2n.Ours{OtherPort: true}).Append(nil)}).Append(nil))
	from := n2n.Header{TTL: 1, Flags: n2n.FromSupernode, Community: a.community}
	f.Add(uint8(3), (&n2n.RegisterSuper{Header: from, MAC: a.mac, Auth: a.auth}).Append(nil))
	f.Add(uint8(7), a.frame(b.mac, nil))
	f.Add(uint8(7), (&n2n.RegisterSuper{Header: from, MAC: a.mac, Auth: a.auth}).Append(nil))
	f.Add(uint8(3), (&n2n.PeerInfo{Header: from, Src: a.mac, MAC: b.mac}).Append(nil))
	f.Add(uint8(3), (&n2n.RegisterSuperNak{Header: from, MAC: a.mac}).Append(nil))
	f.Add(uint8(3), (&n2n.RegisterSuperAck{Header: from, MAC: a.mac}).Append(nil))
	f.Fuzz(func(t *testing.T, who uint8, packet []byte) {
		c := newCrowd(t, 2, Config{Federation: "x", Rate: 1_000_000})
		c.registerAll(t)
		peer := numbered(99)
		c.m.federal.add(peer.at.Addr, c.now).heard(c.now)
		before := c.state(t)
		packet = slices.Clone(packet)
		if who&4 != 0 && len(packet) >= n2n.HeaderLen { // of the supernodes' own community
			c.m.federal.key.Seal(packet, len(packet), n2n.StampAt(c.now), 1)
		}
		at := []Path{c.edges[0].at, c.edges[1].at, numbered(7).at, peer.at}[who%4]
		var out Out
		why := c.w.Packet(c.now, at, packet, &out)
		for _, s := range out.Sends {
			if s.Start < 0 || s.End <= s.Start || s.End > len(out.Bytes) || !s.To.Addr.IsValid() {
				t.Fatalf("%+v of %d bytes", s, len(out.Bytes))
			}
		}
		if why != accepted && why != Taken && len(out.Sends) > 0 {
			t.Fatalf("%v is answered", why)
		}
		if after := c.state(t); why != accepted && after != before {
			t.Fatalf("%v changed\n%s\nto\n%s", why, before, after)
		}
	})
}

// FuzzParseList: a list is refused or makes sense.
func FuzzParseList(f *testing.F) {
	f.Add("office\nlab 10.20.0.0/24 encrypted\nbranch[0-9]+ # many\nstaff\n* alice 6wSAUofwI7AnM5mHTK31o6Ai9sdUcBZ6-cn70v2f1dq\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseList(text)
		if err != nil {
			return
		}
		for _, e := range l.Named {
			if got, ok := l.entry(e.Community); !ok || !reflect.DeepEqual(got, e) {
				t.Errorf("%q is not found, or as %v", e.Community, got)
			}
			if len(e.Users) > 0 && e.Header != EncryptedHeader {
				t.Errorf("%q has users and %v headers", e.Community, e.Header)
			}
		}
	})
}
