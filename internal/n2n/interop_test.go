package n2n

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The captures of testdata were made with ntop n2n 3.1.1 (Debian 3.1.1-3): edges alice (02:..:0a, 10.99.0.2) and bob
// (02:..:0b, 10.99.0.3) exchange ARP and some UDP through supernodes 02:..:01 and, in federation.pcap, 02:..:02.

const swordfish = "swordfish"

var captured = []struct {
	name       string
	id         TransformID
	passphrase string
}{
	{"plain", TransformNull, ""},
	{"aes16", TransformAES, swordfish},
	{"aes24", TransformAES, "swordfish-swordfish-swordfish"},
	{"aes32", TransformAES, "swordfish-swordfish-swordfish-swordfish"},
	{"twofish", TransformTwofish, swordfish},
	{"chacha20", TransformChaCha20, swordfish},
	{"speck", TransformSpeck, swordfish},
}

// scripted is chance that has been written down.
type scripted []byte

func (s *scripted) Uint64() uint64 {
	v := binary.LittleEndian.Uint64(*s)
	*s = (*s)[8:]
	return v
}

// Every payload that ntop sealed is opened, and sealed again, with ntop's random bytes, as the same bytes.
func TestPayloadsAsCaptured(t *testing.T) {
	for _, c := range captured {
		t.Run(c.name, func(t *testing.T) {
			packets := 0
			for i, d := range capture(t, c.name) {
				p := Packet{}
				if err := p.Decode(d.data); ReasonOf(err) == ReasonType {
					continue
				} else if err != nil {
					t.Fatal(err)
				}
				packets++
				if p.Transform != c.id || p.Compression != CompressionNone {
					t.Fatalf("packet %d: %v, %v", i, p.Transform, p.Compression)
				}
				wire := bytes.Clone(p.Payload)
				frame, err := newTransform(t, c.id, c.passphrase).Open(nil, bytes.Clone(wire))
				if err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				checkFrame(t, &p, frame)
				chance := scripted(wire[:min(16, len(wire))])
				if tr, ok := newTransform(t, c.id, c.passphrase).(*stealing); ok {
					chance = make([]byte, blockLen)
					tr.block.Decrypt(chance, wire)
				}
				tr, err := NewTransform(c.id, []byte(c.passphrase), &chance)
				if err != nil {
					t.Fatal(err)
				}
				if c, ok := tr.(*chacha); ok { // Seal begins to count at 1, ntop anywhere
					c.xor(frame, frame, wire[:chachaIV])
					frame = append(bytes.Clone(wire[:chachaIV]), frame...)
				} else {
					frame = tr.Seal(nil, frame)
				}
				if !bytes.Equal(frame, wire) {
					t.Fatalf("packet %d: sealed again as\n%x, was\n%x", i, frame, wire)
				}
			}
			if packets < 10 {
				t.Errorf("%d packets", packets)
			}
		})
	}
}

// checkFrame says whether a frame is one that the edges of the captures send: to where the packet goes, and ARP, or IPv4
// with a header whose checksum is right.
func checkFrame(t *testing.T, p *Packet, frame []byte) {
	t.Helper()
	if len(frame) < 42 || MAC(frame) != p.Dst || MAC(frame[6:]) != p.Src {
		t.Fatalf("frame %x in a packet from %v to %v", frame, p.Src, p.Dst)
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0806:
	case 0x0800:
		sum := 0
		for i := 14; i < 34; i += 2 {
			sum += int(binary.BigEndian.Uint16(frame[i:]))
		}
		if sum%0xffff != 0 {
			t.Fatalf("the header of frame %x has another checksum", frame)
		}
	default:
		t.Fatalf("frame %x", frame)
	}
}

// opened is a packet of a capture whose header key has opened.
type opened struct {
	Header
	message
	stamp Stamp
}

// open opens and decodes, and insists that encoding and sealing give the same bytes again.
func open(t *testing.T, key *HeaderKey, wire []byte) (o opened, err error) {
	t.Helper()
	b := bytes.Clone(wire)
	stamp, n, err := key.Open(b)
	if err != nil {
		return o, err
	}
	h, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	o = opened{h, blank[h.Type](), stamp}
	if err := o.Decode(b); err != nil {
		t.Fatalf("%v: %v", h.Type, err)
	}
	if again := o.Append(nil); !bytes.Equal(again, b) {
		t.Fatalf("%v: written again as\n%x, was\n%x", h.Type, again, b)
	}
	iv := [speckBlock]byte(wire)
	key.iv.decrypt(&iv)
	sealed := bytes.Clone(b) // o has parts of b
	if key.Seal(sealed, n, stamp, binary.BigEndian.Uint32(iv[12:])); !bytes.Equal(sealed, wire) {
		t.Fatalf("%v: sealed again as\n%x, was\n%x", h.Type, sealed, wire)
	}
	if p, ok := o.message.(*Packet); ok && n != p.HeaderLen() && n != p.SealedLen() || !ok && n != len(b) {
		t.Errorf("%v of %d bytes: header of %d", h.Type, len(b), n)
	}
	return o, nil
}

// Headers of a community without users, and between supernodes. What one sender sends to one receiver passes for no replay.
func TestHeadersAsCaptured(t *testing.T) {
	for _, name := range []string{"header", "federation"} {
		t.Run(name, func(t *testing.T) {
			community, federation := mustCommunity(t, "n2ncrypt"), mustCommunity(t, "*Federation")
			key, key2 := NewHeaderKey(community), NewHeaderKey(federation)
			counts := map[string]int{}
			type way struct{ from, to netip.AddrPort }
			replay := map[way]*Replay{}
			for i, d := range capture(t, name) {
				if IsClear(d.data) {
					t.Fatalf("packet %d is clear", i)
				}
				o, err := open(t, key, d.data)
				if ReasonOf(err) == ReasonKey {
					o, err = open(t, key2, d.data)
				}
				if err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				w := way{d.from, d.to}
				if replay[w] == nil {
					replay[w] = &Replay{}
				}
				if err := replay[w].Accept(o.stamp, StampAt(d.at), OrderOf(o.Type)); err != nil {
					t.Errorf("packet %d, %v: %v", i, o.Type, err)
				}
				counts[o.Community.String()+" "+o.Type.String()]++
			}
			want := map[string]map[string]int{
				"header": {"n2ncrypt PACKET": 19, "n2ncrypt PEER_INFO": 4, "n2ncrypt QUERY_PEER": 4, "n2ncrypt REGISTER": 4,
					"n2ncrypt REGISTER_ACK": 2, "n2ncrypt REGISTER_SUPER": 6, "n2ncrypt REGISTER_SUPER_ACK": 6},
				"federation": {"*Federation REGISTER_SUPER": 5, "*Federation REGISTER_SUPER_ACK": 5, "n2ncrypt PACKET": 46,
					"n2ncrypt PEER_INFO": 11, "n2ncrypt QUERY_PEER": 11, "n2ncrypt REGISTER_SUPER": 11, "n2ncrypt REGISTER_SUPER_ACK": 6},
			}
			if diff := cmp.Diff(want[name], counts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Alice and bob log in; everything is opened, and what each side says is what we would say. In leave.pcap the supernode
// reads its list again, which makes another dynamic key, and both leave.
func TestLoginAsCaptured(t *testing.T) {
	for name, want := range map[string]map[Type]int{
		"login": {TypeRegister: 4, TypePacket: 21, TypeRegisterAck: 2, TypeRegisterSuper: 6, TypeRegisterSuperAck: 6,
			TypePeerInfo: 4, TypeQueryPeer: 4},
		"leave": {TypeRegister: 4, TypePacket: 15, TypeRegisterAck: 2, TypeRegisterSuper: 9, TypeRegisterSuperAck: 9,
			TypeUnregisterSuper: 2, TypeReRegisterSuper: 2, TypePeerInfo: 5, TypeQueryPeer: 5},
	} {
		t.Run(name, func(t *testing.T) { testLogin(t, name, want) })
	}
}

func testLogin(t *testing.T, name string, want map[Type]int) {
	community, federation := mustCommunity(t, "n2nlogin"), mustCommunity(t, "*Federation")
	pub, err := FederationKey("Federation").Public()
	if err != nil {
		t.Fatal(err)
	}
	users := map[PublicKey]*user{}
	for name, password := range map[string]string{"alice": "wonderland", "bob": "builder"} {
		key := UserKey(name, password)
		secret, err := key.Share(pub)
		if err != nil {
			t.Fatal(err)
		}
		own, err := key.Public()
		if err != nil {
			t.Fatal(err)
		}
		users[own] = &user{Secret: secret}
	}
	list := capture(t, name)
	static := NewHeaderKey(community)
	at := map[netip.AddrPort]*user{} // edges
	var dynamic *HeaderKey
	counts := map[Type]int{}
	for i, d := range list {
		if dynamic != nil {
			if o, err := open(t, dynamic, d.data); err == nil {
				counts[o.Type]++
				switch p := o.message.(type) {
				case *UnregisterSuper:
					name, err := p.Auth.User()
					if last, err2 := at[d.from].login.User(); err != nil || err2 != nil || name != last {
						t.Errorf("packet %d: %v leaves (%v), %v came (%v)", i, name, err, last, err2)
					}
				case *Packet:
					frame, err := newTransform(t, TransformSpeck, swordfish).Open(nil, p.Payload)
					if err != nil {
						t.Fatal(err)
					}
					checkFrame(t, p, frame)
				}
				continue
			}
		}
		sealed, trailer, err := CutTrailer(d.data)
		if err != nil {
			t.Fatal(err)
		}
		o, err := open(t, static, sealed)
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		counts[o.Type]++
		switch m := o.message.(type) {
		case *RegisterSuper:
			name, err := m.Auth.User()
			if err != nil {
				t.Fatal(err)
			}
			u := users[name]
			at[d.from] = u
			u.login = m.Auth
			if again := u.Login(name, u.challenge()); !again.Equal(&m.Auth) {
				t.Errorf("packet %d: login %x, want %x", i, again.Token(), m.Auth.Token())
			}
		case *RegisterSuperAck:
			u := at[d.to]
			key, err := u.DynamicKey(&m.Auth, u.challenge())
			if err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
			if again, err := u.Answer(&u.login, key); err != nil || !again.Equal(&m.Auth) {
				t.Errorf("packet %d: answer %x (%v), want %x", i, again.Token(), err, m.Auth.Token())
			}
			// The supernode made the key of the second in which it read its list, not long before the capture or in it.
			found := false
			for second := list[0].at.Unix() - 10; second <= d.at.Unix(); second++ {
				found = found || key == NewDynamicKey(community, federation, uint32(second))
			}
			if !found {
				t.Errorf("packet %d: dynamic key %x is of no second", i, key)
			}
			dynamic = NewDynamicHeaderKey(community, key)
		default:
			t.Fatalf("packet %d: %v with the static key", i, o.Type)
		}
		u := at[d.from]
		if u == nil {
			u = at[d.to]
		}
		if err := u.Verify(trailer); err != nil {
			t.Errorf("packet %d: %v", i, err)
		}
		if again := u.AppendTrailer(bytes.Clone(sealed)); !bytes.Equal(again, d.data) {
			t.Errorf("packet %d: %x with its trailer, want %x", i, again, d.data)
		}
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Error(diff)
	}
}

// user is who the supernode of a capture knows, with the last login.
type user struct {
	*Secret
	login Auth
}

// challenge takes the challenge out of the user's last login.
func (u *user) challenge() (c Challenge) {
	copy(c[:], u.login.token[32:])
	u.block.decrypt((*[speckBlock]byte)(&c))
	return c
}

func mustCommunity(t testing.TB, name string) Community {
	t.Helper()
	c, err := CommunityOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
