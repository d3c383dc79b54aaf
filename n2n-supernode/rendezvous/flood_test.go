package rendezvous

import (
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
)

// crowd is a supernode with edges, some of which encrypt.
type crowd struct {
	m     *Machine
	w     *Worker
	now   time.Time
	edges []*actor
}

func newCrowd(t testing.TB, edges int, config Config) *crowd {
	t.Helper()
	c := &crowd{now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	config.MAC = n2n.MAC{2, 0, 0, 0, 0, 1}
	c.m = New(config, c.now)
	c.w = c.m.Worker(rand.NewChaCha8([32]byte{}))
	for i := range edges {
		c.edges = append(c.edges, numbered(i))
	}
	return c
}

// numbered makes the i-th edge: each has an address of its own, as from everywhere.
func numbered(i int) *actor {
	a := &actor{name: "edge", mac: n2n.MAC{2, 1}, at: Path{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 5000)}}
	binary.BigEndian.PutUint32(a.mac[2:], uint32(i))
	a.subnet = n2n.Subnet{Addr: [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i + 1)}, Bits: 8}
	a.community, _ = n2n.CommunityOf("office")
	var token [16]byte
	binary.BigEndian.PutUint32(token[:], uint32(i))
	a.auth, _ = n2n.AuthOf(n2n.AuthID, token[:])
	return a
}

func (a *actor) registration(cookie uint32) []byte {
	return (&n2n.RegisterSuper{Header: n2n.Header{TTL: 2, Community: a.community}, Cookie: cookie, MAC: a.mac, Subnet: a.subnet,
		Desc: n2n.DescOf(a.name), Auth: a.auth}).Append(nil)
}

func (a *actor) frame(to n2n.MAC, payload []byte) []byte {
	return (&n2n.Packet{Header: n2n.Header{TTL: 2, Community: a.community}, Src: a.mac, Dst: to, Compression: n2n.CompressionNone,
		Transform: n2n.TransformNull, Payload: payload}).Append(nil)
}

func (c *crowd) registerAll(t testing.TB) {
	t.Helper()
	var out Out
	for i, a := range c.edges {
		out.Reset()
		if why := c.w.Packet(c.now, a.at, a.registration(uint32(i)), &out); why != accepted {
			t.Fatalf("edge %d: %v", i, why)
		}
	}
}

// state is all that can be told of the tables, as text.
func (c *crowd) state(t testing.TB) string {
	t.Helper()
	s, edges, _ := c.m.State()
	s.Edges = slices.Collect(edges)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A flood of packets that are cut, changed, random, spoofed or heard before changes no table, and is not answered but where
// a registration is refused; all of it is counted by its reason.
func TestFloodChangesNothing(t *testing.T) {
	list, err := ParseList("office\nsecret encrypted\n")
	if err != nil {
		t.Fatal(err)
	}
	c := newCrowd(t, 20, Config{Communities: list, Rate: 1_000_000})
	secret, _ := n2n.CommunityOf("secret")
	key := n2n.NewHeaderKey(secret)
	var stamper n2n.Stamper
	seal := func(b []byte) []byte {
		key.Seal(b, len(b), stamper.Next(c.now), 1)
		return b
	}
	var heard [][]byte // registrations of encrypted edges
	for i, a := range c.edges {
		if i%2 == 1 {
			a.community = secret
		}
		b := a.registration(uint32(i))
		if a.community == secret {
			heard = append(heard, append([]byte{}, seal(b)...))
		}
		var out Out
		if why := c.w.Packet(c.now, a.at, b, &out); why != accepted {
			t.Fatal(why)
		}
	}
	before := c.state(t)
	random := rand.New(rand.NewPCG(1, 2))
	stranger := Path{Addr: netip.MustParseAddrPort("203.0.113.66:6666")}
	var sent, answered uint64
	flood := func(from Path, b []byte) Refusal {
		var out Out
		sent++
		why := c.w.Packet(c.now, from, b, &out)
		for _, s := range out.Sends {
			answered++
			if h, err := n2n.ParseHeader(out.Message(s)); err != nil || h.Type != n2n.TypeRegisterSuperNak && h.Type != n2n.TypePeerInfo {
				// of an encrypted community: has to be a NAK, too
				if _, _, err := key.Open(out.Message(s)); err != nil {
					t.Fatalf("answered with %x", out.Message(s))
				}
			}
			if s.To != from {
				t.Fatalf("a packet from %v made one to %v", from, s.To)
			}
		}
		return why
	}
	refused := func(why Refusal, from Path, b []byte) {
		t.Helper()
		if got := flood(from, b); got != why {
			t.Fatalf("%x: %v, want %v", b, got, why)
		}
	}
	alice, bob := c.edges[0], c.edges[2]
	for i := range 20_000 {
		// random bytes, of all lengths
		junk := make([]byte, random.IntN(200))
		for j := range junk {
			junk[j] = byte(random.Uint32())
		}
		flood(stranger, junk)
		// a good packet that is cut, or has a byte changed, in its header; from where it may come from
		for _, good := range [][]byte{alice.frame(bob.mac, nil), (&n2n.QueryPeer{Header: n2n.Header{TTL: 2, Community: alice.community}, Src: alice.mac, Target: bob.mac}).Append(nil)} {
			flood(stranger, good[:random.IntN(len(good))])
		}
		// in the name of another
		refused(WrongAddress, stranger, alice.frame(bob.mac, junk))
		refused(WrongAddress, bob.at, alice.frame(bob.mac, junk))
		refused(Unregistered, stranger, numbered(1000+i).frame(bob.mac, junk))
		thief := *alice
		thief.auth = bob.auth
		refused(Taken, stranger, thief.registration(7))
		refused(WrongToken, stranger, (&n2n.UnregisterSuper{Header: n2n.Header{TTL: 2, Community: alice.community}, Auth: bob.auth, MAC: alice.mac}).Append(nil))
		refused(NotSupernode, stranger, (&n2n.RegisterSuper{Header: n2n.Header{TTL: 2, Flags: n2n.FromSupernode, Community: alice.community}, MAC: alice.mac, Auth: alice.auth}).Append(nil))
		refused(NotSupernode, stranger, (&n2n.RegisterSuperNak{Header: n2n.Header{TTL: 2, Flags: n2n.FromSupernode, Community: alice.community}, MAC: alice.mac}).Append(nil))
		// heard before, from where it came from and from elsewhere
		again := heard[i%len(heard)]
		refused(Refusal(n2n.ReasonReplay), c.edges[2*(i%len(heard))+1].at, append([]byte{}, again...))
		refused(Refusal(n2n.ReasonReplay), stranger, append([]byte{}, again...))
		bad := append([]byte{}, again...)
		bad[20+i%(len(bad)-20)] ^= 1 << (i % 8)
		if why := flood(stranger, bad); why != Refusal(n2n.ReasonChecksum) {
			t.Fatalf("a changed bit: %v", why)
		}
	}
	if after := c.state(t); after != before {
		t.Errorf("the flood changed the state:\n%s\nwas\n%s", after, before)
	}
	sum := c.m.Counters()
	var counted uint64
	for _, n := range sum.Refused {
		counted += n
	}
	if sum.Received != sent+uint64(len(c.edges)) || counted != sent {
		t.Errorf("%d packets came, %d were counted as refused, of %d", sum.Received, counted, sent)
	}
	if want := uint64(20_000); answered != want {
		t.Errorf("%d answers, want a NAK for each of %d thieves", answered, want)
	}
}

// What an answer may have that its question had not: nothing, but where the protocol leaves no choice.
func TestAnswersAreNoLonger(t *testing.T) {
	c := newCrowd(t, 3, Config{Federation: "x"})
	var out Out
	for i := range 30 { // other supernodes, to make lists long
		p := numbered(500 + i)
		b := (&n2n.RegisterSuper{Header: n2n.Header{TTL: 2, Flags: n2n.FromSupernode, Community: c.m.federal.community}, MAC: p.mac, Auth: p.auth}).Append(nil)
		c.m.federal.key.Seal(b, len(b), n2n.StampAt(c.now)+n2n.Stamp(i)<<12, 1)
		if why := c.w.Packet(c.now, p.at, b, &out); why != accepted {
			t.Fatal(why)
		}
	}
	a := c.edges[0]
	back := func(b []byte) (n int) {
		out.Reset()
		c.w.Packet(c.now, a.at, b, &out)
		for _, s := range out.Sends {
			if s.To == a.at {
				n += s.End - s.Start
			}
		}
		return n
	}
	first := a.registration(1)
	if n := back(first); n == 0 || n > len(first) {
		t.Errorf("a first registration of %d bytes is answered by %d", len(first), n)
	}
	if n := back(a.registration(2)); n < len(first)+20*26 {
		t.Errorf("the second is answered by %d bytes: where is the list?", n)
	}
	ping := (&n2n.QueryPeer{Header: n2n.Header{TTL: 2, Community: a.community}, Src: a.mac}).Append(nil)
	if n := back(ping); n != 74 {
		t.Errorf("a ping is answered by %d bytes", n)
	}
	ping = (&n2n.QueryPeer{Header: n2n.Header{TTL: 2, Community: a.community}, Src: a.mac, Rest: make([]byte, 500)}).Append(nil)
	if n := back(ping); n != 74 {
		t.Errorf("a ping is answered by %d bytes", n)
	}
}

// Who knows the federation's name, as everybody knows the usual one, can say nothing with it but that he is a supernode.
func TestFederationSaysNothingElse(t *testing.T) {
	c := newCrowd(t, 2, Config{Federation: usualFederation})
	c.registerAll(t)
	of := func(flags n2n.Flags) n2n.Header {
		return n2n.Header{TTL: 2, Flags: flags, Community: c.m.federal.community}
	}
	a, b := c.edges[0], c.edges[1]
	before := c.state(t)
	for i, m := range []message{
		&n2n.Packet{Header: of(0), Src: a.mac, Dst: b.mac}, &n2n.Register{Header: of(0), Src: a.mac, Dst: b.mac},
		&n2n.RegisterSuper{Header: of(0), MAC: a.mac, Auth: a.auth}, &n2n.UnregisterSuper{Header: of(0), MAC: a.mac, Auth: a.auth},
		&n2n.QueryPeer{Header: of(0), Src: a.mac, Target: b.mac}, &n2n.QueryPeer{Header: of(0)}, &n2n.PeerInfo{Header: of(n2n.FromSupernode), Src: a.mac},
		&n2n.RegisterSuperAck{Header: of(n2n.FromSupernode)}, &n2n.RegisterSuperNak{Header: of(n2n.FromSupernode), MAC: a.mac}, &n2n.ReRegisterSuper{Header: of(0)},
	} {
		p := m.Append(nil)
		c.m.federal.key.Seal(p, len(p), n2n.StampAt(c.now)+n2n.Stamp(i)<<12, 1)
		var out Out
		if why := c.w.Packet(c.now, a.at, p, &out); why == accepted || len(out.Sends) > 0 {
			t.Errorf("%T: %v, %d answers", m, why, len(out.Sends))
		}
	}
	if after := c.state(t); after != before {
		t.Errorf("the state changed:\n%s\nwas\n%s", after, before)
	}
}
